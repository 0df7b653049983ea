"""Loading: from a checkpoint to a `Subject`. One file a format; torch is imported when something is loaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from audit.loading.facts import ModelFacts, look
from audit.loading.sniffing import Format, sniff

if TYPE_CHECKING:
    from torch import nn

    from audit.subject import Subject

__all__ = ["Format", "ModelFacts", "load", "look", "sniff"]


def load(
    path: str | Path,
    *,
    factory: str | Callable[[], nn.Module] | None = None,
    classes: Sequence[str] | None = None,
    task: str = "classification",
    modality: str | None = None,
    output: str = "logits",
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    device: str = "auto",
    precision: str = "float32",
    trust_pickle: bool = False,
    name: str | None = None,
    root: Path | None = None,
    batch_size: int = 256,
) -> Subject:
    """Load a checkpoint for an audit; nothing in it is unpickled unasked.

    Args:
        path: a safetensors, `.pt`, `.pt2` or TorchScript file, a `transformers` folder, or a post-processor, which needs
            no other argument; told apart by content.
        factory: for bare weights, what builds the network: `package.module:name`, or the function itself.
        classes: class names, in the order of the outputs. None: those in the checkpoint, else "0", "1", ...
        task: what the model is for.
        modality: "tabular", "image" or "text"; None: as the checkpoint shows.
        output: "logits", "probabilities" or "log_probabilities"; held against the first batch.
        mean: subtracted from the inputs, one number or one a channel; the audit then works in input units.
        std: divided by, as many numbers.
        device: "auto" (CUDA, else MPS, else the CPU) or a torch device.
        precision: "float32", or "bfloat16" / "float16" for mixed precision in `predict`.
        trust_pickle: run whatever code a pickle in the checkpoint asks for.
        name: a short name for people; None: the file's.
        root: folder where the factory's module is looked for first.
        batch_size: rows at a time; halved where memory runs out.

    Raises:
        ModelError: the checkpoint or its factory cannot be used.
        PlanError: an option is none of those above.
    """
    from audit.loading.assembly import Request, assemble

    request = Request(
        path=Path(path),
        factory=factory,
        classes=None if classes is None else tuple(str(c) for c in classes),
        task=task,
        modality=modality,
        output=output,
        mean=mean,
        std=std,
        device=device,
        precision=precision,
        trust_pickle=trust_pickle,
        name=name,
        root=root,
        batch_size=batch_size,
    )
    if sniff(path) is Format.POST_PROCESSOR:
        from audit.loading.processed import assemble_processed

        return assemble_processed(request)
    return assemble(request)
