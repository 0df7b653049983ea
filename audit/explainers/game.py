"""The removal game: what the model says of an example when some of its players are replaced by background rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

Predict: TypeAlias = Callable[[Tensor], Tensor]

#: bytes of masked inputs, and number of rows, that one call of `predict` may get
MEMORY = 2**26
ROWS = 2**14


class Game:
    """v(S) = mean over background rows b of f(x on S, b elsewhere), for n examples and every output at once.

    This is the interventional expectation of Lundberg and Lee (2017, eq. 11 with independent features).

    Attributes:
        size: players.
        element: (elements,) int64, the player of each input element; -1 marks an element that is never removed.

    Args:
        predict: (m, ...) batch to (m, outputs) scores.
        inputs: (n, ...) examples.
        background: (b, ...) rows that stand for "removed", or (n, b, ...) rows for each example.
        features: integer map shaped like one input, element -> player; equal numbers move together, gaps are closed,
            negative numbers are never removed. None: every element is a player.
        targets: which outputs to keep; None keeps all.
        batch_size: rows a call of `predict`; None chooses by memory.

    Raises:
        ValueError: an argument does not fit; the message names it.
    """

    def __init__(
        self,
        predict: Predict,
        inputs: Tensor,
        background: Tensor,
        features: Tensor | None = None,
        targets: int | Sequence[int] | Tensor | None = None,
        batch_size: int | None = None,
    ) -> None:
        _examine(inputs, background)
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"batch_size: Expected a positive number of rows, found {batch_size}.")
        self.predict = predict
        self.inputs = inputs
        own = background.ndim == inputs.ndim + 1
        self.background = background if own else background.unsqueeze(0)
        self.element, self.size = players(features, inputs)
        self.targets = None if targets is None else outputs_of(targets)
        fit = MEMORY // max(inputs[0].numel() * inputs.element_size(), 1)
        self._rows = batch_size or max(1, min(ROWS, fit))

    def values(self, keep: Tensor) -> Tensor:
        """Scores of some coalitions, (n, m, outputs) float64.

        Args:
            keep: (m, players) bool, the players that stay, the same for all examples; or (n, m, players).
        """
        n, m = len(self.inputs), keep.shape[-2]
        b = self.background.shape[1]
        keep = keep.to(self.inputs.device)
        step, width = max(1, self._rows // b), min(b, self._rows)
        found = []
        for start in range(0, n * m, step):
            case = torch.arange(start, min(start + step, n * m), device=self.inputs.device)
            example, coalition = case // m, case % m
            stays = self._stays(keep[coalition] if keep.ndim == 2 else keep[example, coalition])
            total = torch.zeros((), dtype=torch.float64)
            for first in range(0, b, width):
                scores = self._scores(self._masked(stays, example, slice(first, first + width)))
                total = total + scores.reshape(len(case), -1, scores.shape[1]).sum(dim=1)
            found.append(total / b)
        return torch.cat(found).reshape(n, m, -1)

    def _stays(self, kept: Tensor) -> Tensor:
        """Players that stay (c, players) to elements that stay (c, ...)."""
        # an extra, always present player stands for the elements that are never removed
        kept = torch.nn.functional.pad(kept, (0, 1), value=True)
        return kept[:, self.element].reshape(-1, *self.inputs.shape[1:])

    def _masked(self, stays: Tensor, example: Tensor, part: slice) -> Tensor:
        """Every case over some background rows, (c * rows, ...)."""
        rows = self.background[:, part] if len(self.background) == 1 else self.background[example, part]
        return torch.where(stays.unsqueeze(1), self.inputs[example].unsqueeze(1), rows).flatten(0, 1)

    def _scores(self, batch: Tensor) -> Tensor:
        with torch.no_grad():
            scores = self.predict(batch)
        if not isinstance(scores, Tensor) or scores.ndim != 2 or len(scores) != len(batch):
            found = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
            raise ValueError(f"predict: Expected scores of shape ({len(batch)}, outputs), found {found}.")
        if self.targets is not None:
            in_range(self.targets, scores.shape[1])
            scores = scores[:, self.targets]
        scores = scores.detach().to("cpu", torch.float64)
        if not bool(torch.isfinite(scores).all()):
            raise ValueError("predict: Expected finite scores, found NaN or infinity; try logits or clamped log-odds.")
        return scores


def players(features: Tensor | None, inputs: Tensor) -> tuple[Tensor, int]:
    """Element -> player with gaps closed, and the number of players; elements of no player get -1.

    Raises:
        ValueError: the map does not fit the inputs, or names no player.
    """
    if features is None:
        size = inputs[0].numel()
        return torch.arange(size, device=inputs.device), size
    features = torch.as_tensor(features)
    if features.shape != inputs.shape[1:]:
        raise ValueError(
            f"features: Expected a map shaped like one input, {tuple(inputs.shape[1:])}, found {tuple(features.shape)}."
        )
    if features.is_floating_point() or features.is_complex():
        raise ValueError(f"features: Expected integers, found {features.dtype}; try features.long().")
    flat = features.reshape(-1).to(inputs.device, torch.int64)
    names, index = torch.unique(flat, return_inverse=True)
    spared = int((names < 0).sum())
    if spared == len(names):
        raise ValueError("features: Expected at least one player, found none; try numbers from 0 up.")
    return torch.where(flat < 0, -1, index - spared), len(names) - spared


def outputs_of(targets: int | Sequence[int] | Tensor) -> list[int]:
    """The outputs asked for, as a list.

    Raises:
        ValueError: they are no whole numbers, or none.
    """
    at = torch.as_tensor(targets).reshape(-1)
    if at.is_floating_point() or at.numel() == 0:
        raise ValueError(f"targets: Expected indices of outputs, found {targets!r}.")
    return [int(t) for t in at]


def in_range(targets: Sequence[int], outputs: int) -> None:
    """Refuse targets the model does not have.

    Raises:
        ValueError: one is out of range.
    """
    for t in targets:
        if not 0 <= t < outputs:
            raise ValueError(f"targets: Expected indices from 0 to {outputs - 1}, found {t}.")


def _examine(inputs: Tensor, background: Tensor) -> None:
    for name, value in (("inputs", inputs), ("background", background)):
        if not isinstance(value, Tensor):
            raise ValueError(f"{name}: Expected a tensor, found {type(value).__name__}.")
        if value.numel() == 0:
            raise ValueError(f"{name}: Expected at least one row, found shape {tuple(value.shape)}.")
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise ValueError(f"{name}: Expected finite numbers, found NaN or infinity.")
    if inputs.ndim < 2:
        raise ValueError(f"inputs: Expected a batch (n, ...), found shape {tuple(inputs.shape)}; try inputs[None].")
    row = tuple(inputs.shape[1:])
    shared = background.ndim == inputs.ndim and tuple(background.shape[1:]) == row
    own = background.ndim == inputs.ndim + 1 and tuple(background.shape[2:]) == row and len(background) == len(inputs)
    if not shared and not own:
        raise ValueError(
            f"background: Expected shape (b, {', '.join(map(str, row))}) or (n, b, ...) for each example, "
            f"found {tuple(background.shape)}."
        )
    if background.dtype != inputs.dtype:
        raise ValueError(f"background: Expected {inputs.dtype} like the inputs, found {background.dtype}.")
    if background.device != inputs.device:
        raise ValueError(
            f"background: Expected a tensor on {inputs.device} like the inputs, found {background.device}."
        )
