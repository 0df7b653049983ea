"""From a request to a `Subject`: read the format, wrap the network, declare what it allows."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from audit.errors import ModelError, PlanError, nearest
from audit.loading import exported, state_dict, torchscript, transformers_config, transformers_folder
from audit.loading.digest import digest
from audit.loading.facts import ModelFacts, look
from audit.loading.prediction import Predictor, choose_device, choose_precision
from audit.loading.sniffing import Format
from audit.loading.text import Text
from audit.loading.wrapping import Head, Normalise, Output, Wrapped
from audit.subject import Capability, Modality, Subject, Task

Choice = TypeVar("Choice", bound=StrEnum)


@dataclass(frozen=True)
class Request:
    """The arguments of `audit.load`, which says what they mean."""

    path: Path
    factory: str | Callable[[], nn.Module] | None
    classes: tuple[str, ...] | None
    task: str
    modality: str | None
    output: str
    mean: Sequence[float] | None
    std: Sequence[float] | None
    device: str
    precision: str
    trust_pickle: bool
    name: str | None
    root: Path | None
    batch_size: int


def assemble(request: Request) -> Subject:
    """Return what `audit.load` returns.

    Raises:
        ModelError: the checkpoint or its factory cannot be used.
        PlanError: an option is none of those that there are.
    """
    task, output = _choose("task", request.task, Task), _choose("output", request.output, Output)
    device, precision = choose_device(request.device), choose_precision(request.precision)
    facts = look(request.path)
    modality = _modality(request, facts)
    classes = _classes(request, facts)
    network, capabilities = _network(request, facts.format, device)
    _freeze(network.to(device), request.path)
    head = Head(output, len(classes))
    text: Text | None = None
    if modality is Modality.TEXT:
        _refuse_normalisation(request)
        tokenizer = transformers_folder.load_tokenizer(request.path, network)
        text = Text(network, tokenizer, head, device, request.batch_size, precision)
        capabilities = transformers_folder.text_capabilities(text)
        model, predict = network, text.predict
    else:
        model = Wrapped(network, head, _normalise(request, facts.format)).to(device).eval()
        predict = Predictor(model, device, request.batch_size, precision)
    return Subject(
        model=model,
        predict=predict,
        task=task,
        modality=modality,
        classes=classes,
        capabilities=capabilities,
        digest=digest(request.path),
        name=request.name or request.path.resolve().stem,
        source=str(request.path),
        format=str(facts.format),
        device=device,
        text=text,
        settings={
            "task": str(task),
            "modality": str(modality),
            "output": str(output),
            "mean": None if request.mean is None else [float(v) for v in request.mean],
            "std": None if request.std is None else [float(v) for v in request.std],
            "precision": request.precision,
            "classes": list(classes),
            "network": _description(network),
        },
    )


def _description(network: nn.Module) -> str:
    """SHA-256 of the source of the network's own modules: equal weights in another network are another model."""
    parts = [repr(network)]
    for kind in sorted({type(module) for module in network.modules()}, key=lambda k: (k.__module__, k.__qualname__)):
        if not kind.__module__.startswith(("torch.", "transformers.")):
            try:
                parts.append(inspect.getsource(inspect.getmodule(kind) or kind))
            except (OSError, TypeError):  # defined at a prompt: its structure has to do
                parts.append(kind.__qualname__)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _choose(what: str, value: str, kind: type[Choice]) -> Choice:
    if value not in list(kind):
        raise PlanError(f"Expected a {what}, found {value!r}{nearest(value, kind)}")
    return kind(value)


def _modality(request: Request, facts: ModelFacts) -> Modality:
    asked = None if request.modality is None else _choose("modality", request.modality, Modality)
    fixed = facts.format is Format.TRANSFORMERS
    if asked is None and facts.modality is None and not fixed:
        raise ModelError(
            f"Expected to tell from {request.path} what one input is, found nothing that shows it; try modality: "
            "tabular, image or text."
        )
    if fixed and asked is not None and facts.modality not in (None, asked):
        raise ModelError(
            f"Expected a model of {asked} inputs, found one of {facts.modality} in {request.path}; try that modality."
        )
    if asked is Modality.TEXT and not fixed:
        raise ModelError(
            f"Expected a transformers folder for a text model, found {facts.format} in {request.path}; try "
            "model.save_pretrained and tokenizer.save_pretrained on one folder."
        )
    # without a known head the transformers loader refuses the folder, and says why
    return asked or facts.modality or Modality.TEXT


def _classes(request: Request, facts: ModelFacts) -> tuple[str, ...]:
    classes = request.classes or (facts.classes if len(facts.classes) > 1 else ())
    if not classes:
        if facts.outputs is None:
            raise ModelError(
                f"Expected the names of the classes, found none given and none in {request.path}; try classes: [...], in "
                "the order of the outputs."
            )
        classes = tuple(str(i) for i in range(max(2, facts.outputs)))
    if len(classes) < 2 or len(set(classes)) < len(classes):
        raise ModelError(f"Expected at least two different classes, found {list(classes)}; try naming each once.")
    if facts.format is Format.TRANSFORMERS and facts.outputs not in (len(classes), 1 if len(classes) == 2 else None):
        raise ModelError(
            f"Expected as many outputs as classes, found {facts.outputs} outputs for {len(classes)} classes in "
            f"{request.path}; try naming the classes in the order of the model's outputs."
        )
    return classes


def _network(request: Request, kind: Format, device: torch.device) -> tuple[nn.Module, frozenset[Capability]]:
    path, trust = request.path, request.trust_pickle
    if kind in (Format.TRANSFORMERS, Format.TORCH_EXPORT, Format.TORCHSCRIPT) and request.factory is not None:
        raise ModelError(
            f"Expected no factory for a {kind} checkpoint, found {request.factory!r}; try leaving it out, for {path} "
            "brings its own network."
        )
    if kind is Format.TRANSFORMERS:
        return transformers_folder.load(transformers_config.read(path), trust), transformers_folder.CAPABILITIES
    if kind is Format.TORCH_EXPORT:
        return exported.load(path, device, trust), exported.CAPABILITIES
    if kind is Format.TORCHSCRIPT:
        module = torchscript.load(path, device, trust)
        return module, torchscript.capabilities(module)
    return state_dict.load(path, kind, request.factory, request.root, trust), state_dict.CAPABILITIES


def _freeze(network: nn.Module, path: Path) -> None:
    """Put the network in eval mode without gradients of weights; refuse weights that are not finite."""
    network.eval()
    for name, weight in network.named_parameters():
        if not bool(weight.isfinite().all()):
            raise _not_finite(name, weight, path)
        if weight.is_floating_point():
            weight.requires_grad_(False)
    for name, buffer in network.named_buffers():
        if buffer.is_floating_point() and bool(buffer.isnan().any()):  # masks hold -inf on purpose
            raise _not_finite(name, buffer, path)


def _not_finite(name: str, weight: torch.Tensor, path: Path) -> ModelError:
    wrong = int((~weight.isfinite()).sum())
    return ModelError(
        f"Expected finite weights, found {wrong} of {weight.numel()} NaN or infinite in {name!r} of {path}; try an "
        "earlier checkpoint."
    )


def _normalise(request: Request, kind: Format) -> Normalise | None:
    mean, std = request.mean, request.std
    if mean is None and std is None:
        if kind is not Format.TRANSFORMERS or (found := transformers_config.normalisation(request.path)) is None:
            return None
        mean, std = found
    if mean is None or std is None:
        raise ModelError(
            f"Expected mean and std together, found {'std' if mean is None else 'mean'} alone; try giving both."
        )
    return Normalise(mean, std)


def _refuse_normalisation(request: Request) -> None:
    if request.mean is not None or request.std is not None:
        raise ModelError("Expected no mean and std for a text model, found one; try leaving both out.")
