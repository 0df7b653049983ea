"""The removal game: what the model says of an example when some of its players are replaced by background rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import gcd
from typing import TypeAlias

import torch
from torch import Tensor

from attacks.guard import Guard
from audit.loading.prediction import Batches

Predict: TypeAlias = Callable[[Tensor], Tensor]

#: bytes of masked inputs, and number of rows, that one call of `predict` may get; more rows cost page faults on a CPU
MEMORY = 2**26
ROWS = 2**13
#: the same on a CPU: what a network makes of them then stays in its caches, which is twice as fast
CACHE = 2**19
#: each example's rows are filled up to a multiple of this many: CPU matrix products round a row by its place in a tile
TILE = 16


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
        batch_size: rows a call of `predict`, raised to a multiple of `TILE`; None chooses by memory. Halved where
            memory runs out.

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
        fit = rows_in(MEMORY, inputs)
        fit = fit // TILE * TILE or max(1, fit)
        if inputs.device.type == "cpu" and batch_size is None:
            fit = min(fit, max(TILE, rows_in(CACHE, inputs) // TILE * TILE))
        rows = -(-(batch_size or ROWS) // TILE) * TILE
        self._batches = Batches(min(fit, rows), inputs.device)

    def values(self, keep: Tensor) -> Tensor:
        """Scores of some coalitions, (n, m, outputs) float64.

        A module is asked in eval mode; it and all global generators are left as they were.

        Args:
            keep: (m, players) bool, the players that stay, the same for all examples; or (n, m, players).
        """
        with Guard(self.predict, tuple(self.inputs.shape[1:]), self.inputs.dtype):
            return self._values(keep)

    def _values(self, keep: Tensor) -> Tensor:
        n, m, b = len(self.inputs), keep.shape[-2], self.background.shape[1]
        keep = torch.nn.functional.pad(keep.to(self.inputs.device), (0, 1), value=True)  # for what is never removed
        unit = TILE // gcd(TILE, b)
        across = max(1, self._batches.size // (unit * b)) * unit
        found = torch.empty(0)
        for first in range(0, m, across):
            some = keep[..., first : first + across, :]
            cases = some.shape[-2]
            filled = -(-cases * b // TILE) * TILE if m * b > 1 else 1  # a lone row an example is a plain prediction
            row = torch.arange(filled, device=keep.device).clamp(max=cases * b - 1)
            down = max(1, self._batches.size // len(row))
            # what all examples share is made once, where it is no larger than a batch
            shared = keep.ndim == 2 and len(self.background) == 1 and len(row) <= self._batches.size
            mask = self._mask(slice(0, 1), some, row) if shared else None
            for start in range(0, n, down):
                at = slice(start, start + down)
                scores = self._ask(at, some if keep.ndim == 2 else some[at], row, mask)[:, : cases * b]
                if not first and not start:
                    found = torch.empty(n, m, scores.shape[2], dtype=torch.float64)
                found[at, first : first + across] = _mean(scores.reshape(len(scores), cases, b, -1))
        return found

    def _ask(self, at: slice, keep: Tensor, row: Tensor, mask: tuple[Tensor, Tensor] | None) -> Tensor:
        """Scores of some examples in some cases, (k, rows, outputs); a row is a coalition over a background row.

        Each example's rows start where a tile starts, so that a row meets the same rounding in any company.
        """
        inputs = self.inputs[at].unsqueeze(1)
        if len(inputs) > 1 or mask is not None:
            batch = _mixed(inputs, *(mask or self._mask(at, keep, row)))
            ragged = -len(batch) % TILE
            batch = torch.cat([batch, batch[-1:].expand(ragged, *batch.shape[1:])]) if ragged else batch
            done = self._batches.run(len(batch), lambda start, stop: self._predict(batch[start:stop]))
        else:
            done = self._batches.run(
                len(row),
                lambda start, stop: self._predict(_mixed(inputs, *self._mask(at, keep, row[start:stop]))),
            )
        return torch.cat(done)[: len(inputs) * len(row)].reshape(len(inputs), len(row), -1)

    def _mask(self, at: slice, keep: Tensor, row: Tensor) -> tuple[Tensor, Tensor]:
        """The background, 0 where the input stays, and 1 where it does, (1 or k, rows, ...)."""
        b = self.background.shape[1]
        rows = self.background if len(self.background) == 1 else self.background[at]
        if b > 1:
            rows = rows[:, row % b]
        kept = keep[..., row // b, :][..., self.element]
        ones = kept.reshape(-1, len(row), *self.inputs.shape[1:]).to(self.inputs.dtype)
        return rows * ~ones if ones.dtype == torch.bool else rows * (1 - ones), ones

    def _predict(self, batch: Tensor) -> Tensor:
        """Checked scores (rows, outputs), float64 on the CPU."""
        with torch.no_grad():
            scores = self.predict(batch)
        if not isinstance(scores, Tensor) or scores.ndim != 2 or len(scores) != len(batch):
            found = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
            raise ValueError(f"predict: Expected scores of shape ({len(batch)}, outputs), found {found}.")
        if self.targets is not None:
            in_range(self.targets, scores.shape[1])
            scores = scores[:, self.targets]
        scores = scores.detach().cpu().double()  # in this order: not every device has float64
        # one sum is quicker than a look at each; it may overflow, so it only clears
        if not bool(torch.isfinite(scores.sum())) and not bool(torch.isfinite(scores).all()):
            raise ValueError("predict: Expected finite scores, found NaN or infinity; try logits or clamped log-odds.")
        return scores


def _mixed(inputs: Tensor, rest: Tensor, ones: Tensor) -> Tensor:
    """Inputs where they stay, the rest elsewhere, (k · rows, ...)."""
    if inputs.dtype == torch.bool:
        return (rest | (inputs & ones)).flatten(0, 1)
    # a product with 0 or 1 and a sum with 0 change nothing, and are five times as quick as `where` on narrow rows
    return torch.addcmul(rest, inputs, ones).flatten(0, 1)


def _mean(scores: Tensor) -> Tensor:
    """Mean over the background (k, c, b, outputs), halving by halving: the same bits for any number of cases."""
    rows = scores.shape[2]
    left = scores
    while left.shape[2] > 1:
        half = left.shape[2] // 2
        folded = left[:, :, :half] + left[:, :, half : 2 * half]
        left = torch.cat([folded, left[:, :, 2 * half :]], dim=2) if left.shape[2] % 2 else folded
    return left[:, :, 0] / rows


def rows_in(memory: int, inputs: Tensor) -> int:
    """How many rows shaped like one input fit into so many bytes."""
    return memory // max(inputs[0].numel() * inputs.element_size(), 1)


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
    if at.is_floating_point() or at.dtype == torch.bool or at.numel() == 0:
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
