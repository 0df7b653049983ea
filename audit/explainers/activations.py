"""Activations of named layers and the gradients of scores with respect to them, some columns at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from audit.explainers.game import MEMORY, in_range
from audit.explainers.gradients import POINTS


class Layers:
    """Some submodules of a model whose first output is read, and how long it is.

    A layer that returns a tuple or a list is read at its first entry. What follows gets a copy, for it may write into
    its input.

    Attributes:
        width: layer -> elements of its output for one input.

    Args:
        model: module to (m, classes) scores.
        names: of the submodules.
        probe: one input, (1, ...).

    Raises:
        ValueError: a name is no submodule, or the layer does not run exactly once, or returns no floats.
    """

    def __init__(self, model: nn.Module, names: Sequence[str], probe: Tensor) -> None:
        self._model = model
        known = dict(model.named_modules())
        strange = [name for name in names if name not in known or not name]
        if strange or not names:
            raise ValueError(
                f"layers: Expected names of submodules, found {strange[0] if strange else 'none'!r}; "
                f"try one of {list(known)[1:9]}."
            )
        self._modules = {name: known[name] for name in names}
        with torch.no_grad(), self._read() as outputs:
            self._model(probe.clone())
        self.width = {name: self._single(name, outputs, 1)[0].numel() for name in names}

    def matrices(self, parts: Sequence[tuple[Tensor, Tensor | None]]) -> Iterator[tuple[str, list[Tensor]]]:
        """Columns of what each layer holds, part by part, float64 on the CPU; passes bounded by memory.

        Args:
            parts: inputs (m, ...) with None for their activations, or with the class of each, (m,), for the gradients of
                its score with respect to the activations.

        Yields:
            A layer, and for each part (m, columns); the columns of a layer follow each other.
        """
        total = sum(len(inputs) for inputs, _ in parts)
        for columns in _passes(self.width, max(1, MEMORY // (8 * total))):
            found = [self._sweep(inputs, targets, columns) for inputs, targets in parts]
            for name in columns:
                yield name, [part[name] for part in found]

    def _sweep(self, inputs: Tensor, targets: Tensor | None, columns: Mapping[str, slice]) -> dict[str, Tensor]:
        size = max(1, min(POINTS, MEMORY // (16 * (sum(self.width.values()) + inputs[0].numel()))))
        found: dict[str, list[Tensor]] = {name: [] for name in columns}
        for start in range(0, len(inputs), size):
            batch = inputs[start : start + size]
            with torch.set_grad_enabled(targets is not None), self._read() as outputs:
                scores = self._model(batch.clone())  # it may write into its input
                held = [self._single(name, outputs, len(batch)) for name in columns]
                if targets is not None:
                    held = _gradients(scores, targets[start : start + size], held)
            for (name, part), values in zip(columns.items(), held, strict=True):
                kept = values.detach().flatten(1)[:, part].to("cpu", torch.float64)
                if not bool(torch.isfinite(kept).all()):
                    raise ValueError(f"model: Expected finite activations and gradients at {name!r}, found others.")
                found[name].append(kept)
        return {name: torch.cat(values) for name, values in found.items()}

    def _single(self, name: str, outputs: Mapping[str, list[Tensor]], rows: int) -> Tensor:
        found = outputs[name]
        if len(found) != 1:
            raise ValueError(
                f"layers: Expected {name!r} to run once and return floats, found {len(found)} such calls; try another."
            )
        if found[0].ndim < 2 or len(found[0]) != rows:
            raise ValueError(
                f"layers: Expected {name!r} to return one row an input, found {tuple(found[0].shape)}; try another."
            )
        if rows and hasattr(self, "width") and found[0][0].numel() != self.width[name]:
            raise ValueError(f"layers: Expected {name!r} to return as much for every input; try another.")
        return found[0]

    @contextmanager
    def _read(self) -> Iterator[dict[str, list[Tensor]]]:
        """Outputs of the layers while inside, as they were computed."""
        outputs: dict[str, list[Tensor]] = {name: [] for name in self._modules}
        handles = [module.register_forward_hook(_reader(outputs[name])) for name, module in self._modules.items()]
        try:
            yield outputs
        finally:
            for handle in handles:
                handle.remove()


def _reader(into: list[Tensor]) -> Callable[[nn.Module, object, object], object]:
    def read(_: nn.Module, __: object, output: object) -> object:
        first = output[0] if isinstance(output, tuple | list) and output else output
        if not isinstance(first, Tensor) or not first.is_floating_point():
            return output
        if torch.is_grad_enabled() and not first.requires_grad:
            first = first.detach().requires_grad_(True)
        into.append(first)
        copy = first.clone()
        if isinstance(output, list):
            return [copy, *output[1:]]
        if isinstance(output, tuple):
            rest = (copy, *output[1:])
            return type(output)(*rest) if hasattr(output, "_fields") else rest
        return copy

    return read


def _gradients(scores: object, targets: Tensor, held: list[Tensor]) -> list[Tensor]:
    if not isinstance(scores, Tensor) or scores.ndim != 2 or len(scores) != len(targets):
        found = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        raise ValueError(f"model: Expected scores of shape ({len(targets)}, classes), found {found}.")
    in_range([int(targets.max())], scores.shape[1])
    total = scores.gather(1, targets.to(scores.device)[:, None]).sum()
    if not total.requires_grad:
        raise ValueError("layers: Expected layers that the scores depend on with a gradient, found none that do.")
    gradients = torch.autograd.grad(total, held, allow_unused=True)
    return [torch.zeros_like(h) if g is None else g for g, h in zip(gradients, held, strict=True)]


def _passes(width: Mapping[str, int], most: int) -> Iterator[dict[str, slice]]:
    """Columns of the layers, at most so many in a pass."""
    columns: dict[str, slice] = {}
    room = most
    for name, size in width.items():
        start = 0
        while start < size:
            stop = min(size, start + room)
            columns[name] = slice(start, stop)
            room -= stop - start
            start = stop
            if not room:
                yield columns
                columns, room = {}, most
    if columns:
        yield columns
