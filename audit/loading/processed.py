"""From a post-processor and the checkpoint beside it to a `Subject`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch

from audit.errors import ModelError
from audit.loading import post_processor
from audit.loading.assembly import Request, assemble
from audit.loading.digest import digest
from audit.loading.pickles import first_line
from audit.loading.prediction import Predictor, choose_precision
from audit.loading.sniffing import Format
from audit.loading.text import Text
from audit.loading.transformers_folder import text_capabilities
from audit.loading.wrapping import Wrapped

if TYPE_CHECKING:
    from torch import nn

    from audit.loading.post_processor import Base
    from audit.subject import Subject


def assemble_processed(request: Request) -> Subject:
    """Return what `audit.load` returns for a post-processor; what it needs to know of its base is inside.

    Raises:
        ModelError: a part is missing or changed, or an argument says something else than what is inside.
    """
    document, tensors = post_processor.read(request.path)
    base = document.base
    _refuse_others(request, base)
    for name, value in tensors.items():
        if value.dtype != torch.float32:
            raise ModelError(
                f"Expected numbers of torch.float32 in {request.path}, found {value.dtype} in {name!r}; write it again."
            )
        if not bool(value.isfinite().all()):
            raise ModelError(
                f"Expected finite numbers in {request.path}, found NaN or infinity in {name!r}; write it again."
            )
    inner = assemble(
        replace(
            request,
            path=post_processor.base_path(request.path, document),
            factory=post_processor.factory_of(request.path, base, request.factory),
            classes=tuple(base.classes),
            modality=base.modality,
            output=base.output,
            mean=base.mean,
            std=base.std,
            root=request.path.parent,
        )
    )
    if document.settings.get("classes", len(base.classes)) != len(base.classes):
        raise ModelError(
            f"Expected a post-processor for {len(base.classes)} classes, found {document.settings['classes']!r} in "
            f"{request.path}; write it again."
        )
    from audit.mitigation.processors import attach
    from audit.mitigation.remedy import Processor

    try:
        model = attach(Processor(document.kind, document.settings, tensors), inner.model)
    except (RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(
            f"Expected a post-processor that fits the checkpoint {base.file}, found {type(error).__name__}: "
            f"{first_line(error)}; try writing {request.path} again."
        ) from error
    found = around(inner, model, request.batch_size, choose_precision(request.precision))
    return replace(
        found,
        digest=digest(request.path),
        name=request.name or request.path.resolve().stem,
        source=str(request.path),
        format=str(Format.POST_PROCESSOR),
        settings={**inner.settings, "post_processor": document.kind},
    )


def around(subject: Subject, model: nn.Module, batch_size: int = 256, precision: torch.dtype | None = None) -> Subject:
    """The subject with another model in it, which gives scores; a `transformers` network where it is one for text."""
    found = replace(subject, model=model, _scores=WeakKeyDictionary())
    if isinstance(subject.text, Text):
        of = subject.text
        text = Text(model, of.tokenizer, of.head, subject.device, batch_size, precision)
        return replace(found, text=text, predict=text.predict, capabilities=text_capabilities(text))
    assert isinstance(model, Wrapped)
    predict = Predictor(model, subject.device, batch_size, precision)
    # what stands around a checkpoint gives scores, whatever they look like; the checkpoint's own outputs were held
    # against what is declared when it was audited
    predict.scoring.checked = True
    return replace(found, predict=predict)


def _refuse_others(request: Request, base: Base) -> None:
    """Refuse arguments that contradict what is inside; what is left out, or is the same, is fine."""
    said = {
        "classes": (None if request.classes is None else list(request.classes), base.classes),
        "modality": (request.modality, base.modality),
        "output": (None if request.output == "logits" else request.output, base.output),
        "mean": (None if request.mean is None else [float(v) for v in request.mean], base.mean),
        "std": (None if request.std is None else [float(v) for v in request.std], base.std),
    }
    for name, (given, inside) in said.items():
        if given is not None and given != inside:
            raise ModelError(
                f"Expected {name} as the post-processor {request.path} has it, {inside}, found {given}; try leaving it out."
            )
