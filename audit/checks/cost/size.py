"""How large the model is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from audit import statistics
from audit.check import Check
from reports.record import Bar, Bars, Estimate, Measured, Table

if TYPE_CHECKING:
    from torch import Tensor, nn

    from audit.datasets import Dataset
    from audit.subject import Subject


@dataclass(frozen=True)
class Size(Check):
    """Size of the model.

    What it measures:
        The number of parameters and in which modules they sit, the share of them in the largest module, the bytes of
        parameters and buffers in memory, and the size of the checkpoint on disk. A tensor shared by several modules
        counts once.
    Why it matters:
        Size decides where a model can run, how long it takes to ship and start, and how much it can memorise. A
        checkpoint much larger than its weights carries something else (optimiser state, code, duplicates).
    How to read it:
        Multiply the parameters by 4 bytes for float32, 2 for half precision, 1 for int8. If most parameters sit in
        one module (often an embedding or the first dense layer), that is where pruning, sharing or quantising pays.

    References:
        None; all figures are exact counts.
    """

    modules: int = 12

    def run(self, subject: Subject, data: Dataset, rng: np.random.Generator) -> Measured:
        """See the class."""
        model = subject.model
        parameters = dict(model.named_parameters())
        total = sum(p.numel() for p in parameters.values())
        held = sum(_bytes(tensor) for tensor in [*parameters.values(), *model.buffers()])
        estimates = {
            "parameters": statistics.exact(total, 1, "parameters"),
            "memory": statistics.exact(held / 1e6, 1, "MB"),
            "checkpoint": _checkpoint(subject.source),
        }
        by_module = Counter({name: sum(p.numel() for p in ps) for name, ps in _by_module(parameters).items()})
        top = by_module.most_common(self.modules)
        if total:
            estimates["largest_module_share"] = statistics.exact(top[0][1] / total, 1, "fraction")
        else:
            estimates["largest_module_share"] = statistics.undefined("the model has no parameters", unit="fraction")
        kinds = {str(tensor.dtype).removeprefix("torch.") for tensor in parameters.values()}
        shown = sum(count for _, count in top)
        return Measured(
            estimates=estimates,
            headline=("parameters", "memory", "checkpoint"),
            tables=(
                Table(
                    title="Parameters by module",
                    columns=("module", "type", "parameters", "share"),
                    rows=tuple((name, _kind(model, name), n, f"{n / total:.1%}") for name, n in top),
                    note=f"The {len(top)} largest of {len(by_module)} modules; they hold {shown / max(total, 1):.1%}.",
                ),
            ),
            figures=(
                Bars(
                    title="Where the parameters sit",
                    x_title="share of all parameters",
                    bars=tuple(Bar(label=name, value=n / total) for name, n in top),
                    percent=True,
                ),
            )
            if top
            else (),
            notes=(f"Number formats of the parameters: {', '.join(sorted(kinds)) or 'none'}.",),
        )


def _by_module(parameters: Mapping[str, Tensor]) -> dict[str, list[Tensor]]:
    modules: dict[str, list[Tensor]] = {}
    for name, parameter in parameters.items():
        modules.setdefault(name.rpartition(".")[0] or "(top level)", []).append(parameter)
    return modules


def _kind(model: nn.Module, name: str) -> str:
    try:
        return type(model if name == "(top level)" else model.get_submodule(name)).__name__
    except AttributeError:  # an exported program keeps parameters without their modules
        return ""


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _checkpoint(source: str) -> Estimate:
    path = Path(source)
    if not source or not path.exists():
        return statistics.undefined("the checkpoint was not read from a file", unit="MB")
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return statistics.exact(sum(file.stat().st_size for file in files) / 1e6, len(files), "MB", "size of the files")
