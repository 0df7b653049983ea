"""The audited network as methods take it apart: copies, scores, the last linear layer and what enters it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from audit.errors import DataError, ModelError
from audit.loading.prediction import Batches
from audit.loading.wrapping import Head, Output, Wrapped
from audit.mitigation.reading import Reader
from audit.mitigation.remedy import Bench
from audit.subject import Capability, Modality

_SAMPLE = 32  # rows on which the last layer is told


@dataclass(frozen=True, eq=False)
class Trainee:
    """What is trained, and the whole model afterwards.

    Attributes:
        module: (n, ...) -> (n, classes) scores; trained in place.
        train: its inputs, one a training row.
        held: likewise for the rows held out.
        finish: the audited model with the trained weights, in eval mode.
    """

    module: nn.Module
    train: Tensor
    held: Tensor
    finish: Callable[[], nn.Module]


def trainee(bench: Bench) -> Trainee:
    """The whole network of a table or picture model, the last layer of a text model.

    Raises:
        ModelError: it does not train.
    """
    refuse_untrainable(bench)
    if bench.subject.modality is Modality.TEXT:
        return head_only(bench, lambda embeddings: embeddings)
    model = copied(bench)
    return Trainee(model, own(bench, bench.train.inputs), own(bench, bench.held.inputs), lambda: model)


def head_only(bench: Bench, prepare: Callable[[Tensor], Tensor]) -> Trainee:
    """The last linear layer alone, on what enters it.

    Args:
        bench: the model and the rows.
        prepare: what is done to the embeddings, (n, width) -> (n, width).
    """
    layer = last_linear(bench)
    linear: nn.Linear = copy.deepcopy(cast(nn.Linear, inner(bench.subject.model).get_submodule(layer)))
    linear.requires_grad_(True)
    if bench.scratch:
        redrawn(linear, bench.seed)

    def finish() -> nn.Module:
        whole = copy.deepcopy(bench.subject.model)
        inner(whole).get_submodule(layer).load_state_dict(linear.state_dict())
        return whole.eval().requires_grad_(False)

    return Trainee(
        nn.Sequential(linear, Head(Output.LOGITS, len(bench.classes))),
        prepare(embeddings(bench, bench.train.inputs, layer)),
        prepare(embeddings(bench, bench.held.inputs, layer)),
        finish,
    )


def copied(bench: Bench) -> nn.Module:
    """A copy of the audited model whose weights ask for gradients; drawn anew where the bench says so."""
    model = copy.deepcopy(bench.subject.model)
    for weight in model.parameters():
        weight.requires_grad_(weight.is_floating_point())
    if bench.scratch:
        redrawn(model, bench.seed)
    return model


def redrawn(model: nn.Module, seed: int) -> None:
    """Every layer draws its first weights anew.

    Raises:
        ModelError: some weights belong to no layer that can.
    """
    from attacks.defence.keeping import isolated

    held = {id(weight) for weight in model.parameters()}
    with isolated(torch.device("cpu")):
        torch.manual_seed(seed)
        for module in model.modules():
            again = getattr(module, "reset_parameters", None)
            if callable(again):
                again()
                held -= {id(weight) for weight in module.parameters(recurse=False)}
    if held:
        raise ModelError(
            "Expected layers that can draw their first weights anew, found weights outside them; try training on from "
            "the audited weights."
        )


def refuse_untrainable(bench: Bench) -> None:
    """Refuse a checkpoint whose weights cannot change.

    Raises:
        ModelError: it is one.
    """
    if Capability.TRAIN not in bench.subject.capabilities:
        raise ModelError(
            f"Expected a checkpoint that can be trained, found a {bench.subject.format} file; try its bare weights with "
            "a factory that builds the network, or the methods that leave the weights alone: thresholds, calibration."
        )


def readable(bench: Bench, method: str) -> Reader:
    """The bench's reader.

    Raises:
        DataError: the model's input does not show the group.
    """
    if bench.reader is None:
        raise DataError(
            f"Expected a table, whose rows show the group that {method} needs at prediction, found {bench.subject.modality} "
            "inputs, which do not; try reductions or reweighing, which need it while they learn only."
        )
    return bench.reader


def own(bench: Bench, inputs: object) -> Tensor:
    """What the audited model sees of the inputs of a table or of pictures."""
    if not isinstance(inputs, Tensor):
        raise DataError(f"Expected a tensor for this model, found {type(inputs).__name__}; try another modality.")
    return inputs if bench.reader is None else bench.reader.own(inputs)


def scores(bench: Bench, model: nn.Module | None, inputs: Tensor | list[str]) -> NDArray[np.float64]:
    """(n, classes) of the audited model (None), or of another that takes these inputs; in batches, without gradient."""
    subject = bench.subject
    if model is None:
        shown = inputs if isinstance(inputs, list) else own(bench, inputs)
        return subject.predict(shown).double().numpy()
    assert isinstance(inputs, Tensor)
    device, module, rows = subject.device, model.eval(), inputs

    def portion(start: int, stop: int) -> Tensor:
        found: Tensor = module(rows[start:stop].to(device))
        return found.double().cpu() if device.type != "mps" else found.cpu().double()

    with torch.no_grad():
        return torch.cat(Batches(bench.batch_size, device).run(len(rows), portion)).numpy()


def inner(model: nn.Module) -> nn.Module:
    """The network inside the loader's wrapper; a text model is its own."""
    return model.network if isinstance(model, Wrapped) else model


def last_linear(bench: Bench) -> str:
    """Name of the linear layer whose outputs are the logits, within `inner(model)`; "" is the network itself.

    Raises:
        ModelError: there is none, or it cannot be reached.
    """
    subject = bench.subject
    if Capability.HOOKS not in subject.capabilities:
        raise ModelError(
            f"Expected a checkpoint whose layers can be reached, found a {subject.format} file; try its bare weights with "
            "a factory that builds the network."
        )
    network, head = inner(subject.model), Head(Output.LOGITS, len(bench.classes))
    seen: list[tuple[str, Tensor]] = []
    handles = [
        module.register_forward_hook(lambda _m, _i, out, name=name: seen.append((name, out)))
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear)
    ]
    sample = bench.train.inputs[:_SAMPLE]
    try:
        with torch.no_grad():
            found = _forward(bench, sample)
    finally:
        for handle in handles:
            handle.remove()
    for name, out in reversed(seen):
        fits = out.ndim == 2 and out.shape[1] in (found.shape[1], 1 if found.shape[1] == 2 else found.shape[1])
        if fits and torch.allclose(head(out).softmax(1), found.softmax(1), atol=1e-4):
            return name
    raise ModelError(
        "Expected a network that ends in a linear layer with one output a class, found another end; try thresholds or "
        "calibration, which need no layer."
    )


def embeddings(bench: Bench, inputs: Tensor | list[str], layer: str) -> Tensor:
    """What enters the layer, (n, width) float32 on the CPU, in batches."""
    linear = inner(bench.subject.model).get_submodule(layer)
    caught: list[Tensor] = []

    def portion(start: int, stop: int) -> Tensor:
        caught.clear()
        _forward(bench, inputs[start:stop])
        return caught[-1].float().cpu()

    handle = linear.register_forward_pre_hook(lambda _m, args: caught.append(args[0]))
    try:
        with torch.no_grad():
            return torch.cat(Batches(bench.batch_size, bench.subject.device).run(len(inputs), portion))
    finally:
        handle.remove()


def _forward(bench: Bench, inputs: Tensor | list[str]) -> Tensor:
    """Scores in one pass, in the order of the inputs."""
    subject = bench.subject
    if isinstance(inputs, list):
        assert subject.text is not None
        encoded = subject.text.encode(inputs)  # not `from_ids`, which takes texts in an order of its own
        ids, mask = encoded.ids.to(subject.device), encoded.mask.to(subject.device)
        head = Head(Output(subject.settings["output"]), len(bench.classes))
        return head(subject.model(input_ids=ids, attention_mask=mask).logits)  # type: ignore[no-any-return]
    found: Tensor = subject.model(own(bench, inputs).to(subject.device))
    return found
