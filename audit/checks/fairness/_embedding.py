"""What a network holds just before its scores. Imports torch."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from audit.subject import Capability

if TYPE_CHECKING:
    from collections.abc import Iterator

    from audit.datasets import Dataset
    from audit.subject import Subject

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def embedding(subject: Subject, data: Dataset) -> NDArray[np.float64] | str:
    """What the last layer with weights is given, (n, width), its places or tokens averaged; or why there is nothing.

    Args:
        subject: the model, run through `predict`.
        data: whose inputs are embedded.
    """
    if Capability.HOOKS not in subject.capabilities:
        return f"a {subject.format} checkpoint does not allow hooks"
    leaves = [m for m in subject.model.modules() if not list(m.children()) and list(m.parameters(recurse=False))]
    few = data.take(range(min(2, len(data))))
    with _given(leaves) as ran:
        subject.predict(few.inputs)
    if len(ran) < 2:
        return "the network has no hidden layer"
    with _given([ran[-1][0]]) as given:
        subject.predict(data.inputs)
    flat = [_flat(layer, values) for layer, values in given]
    if sum(len(part) for part in flat) != len(data) or len({part.shape[1] for part in flat}) != 1:
        return "its last layer does not run once for each input"
    found = torch.cat(flat).numpy()
    return found if np.isfinite(found).all() else "its last layer is given values that are not finite"


def _flat(layer: nn.Module, values: Tensor) -> Tensor:
    if values.ndim > 2:
        channels = values.flatten(2).mean(2) if isinstance(layer, _CONVOLUTIONS) else values.flatten(1, -2).mean(1)
    else:
        channels = values.reshape(len(values), -1)
    return channels.to("cpu", torch.float64)


@contextmanager
def _given(layers: list[nn.Module]) -> Iterator[list[tuple[nn.Module, Tensor]]]:
    """What layers are given while inside, in the order they run."""
    given: list[tuple[nn.Module, Tensor]] = []

    def note(layer: nn.Module, inputs: tuple[object, ...]) -> None:
        if inputs and isinstance(inputs[0], Tensor):
            given.append((layer, inputs[0].detach()))

    handles = [layer.register_forward_pre_hook(note) for layer in layers]
    try:
        yield given
    finally:
        for handle in handles:
            handle.remove()
