"""What a hardening learns from: rows, the part held out, and the room each row may move in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self, TypeAlias

import torch
from torch import Tensor

from attacks import noise, norms
from attacks.points import check
from attacks.threat import Norm, Threat

Rows: TypeAlias = tuple[Tensor, Tensor]
#: inputs and labels, or batches of both
Train: TypeAlias = Rows | Iterable[Rows]

_MOST = 256  # rows held out by share: as many as judge an epoch to 3 points


@dataclass(frozen=True, eq=False)
class Material:
    """Rows to learn from and rows to judge by, which share none.

    Attributes:
        inputs: (n, ...).
        labels: (n,) int64.
        keys: what the draws of a row derive from, (n,) int64.
        held_inputs: (h, ...).
        held_labels: (h,) int64.
    """

    inputs: Tensor
    labels: Tensor
    keys: Tensor
    held_inputs: Tensor
    held_labels: Tensor


def gather(train: Train, held_out: float | Rows, threat: Threat, seed: int) -> Material:
    """Bring the rows together, refuse what cannot be learnt from, and set some aside.

    Args:
        train: inputs and labels, or batches of both, which are held in memory together.
        held_out: share of the rows set aside, at most 256 of them; or other rows.
        threat: the budget; inputs lie within its bounds.
        seed: of the choice.

    Raises:
        TypeError: something is no pair of tensors.
        ValueError: rows are too few, or outside the bounds.
    """
    inputs, labels = _joined(train)
    labels = check(inputs, labels, threat, seed)
    if isinstance(held_out, tuple):
        held_inputs, held_labels = held_out
        held_labels = check(held_inputs, held_labels, threat, seed)
        if held_inputs.shape[1:] != inputs.shape[1:]:
            raise ValueError(
                f"Expected held_out inputs shaped like those of train, {tuple(inputs.shape[1:])}, "
                f"found {tuple(held_inputs.shape[1:])}."
            )
    else:
        if not (isinstance(held_out, int | float) and 0 < held_out < 1):
            raise ValueError(f"Expected held_out to be a share between 0 and 1, or rows, found {held_out!r}.")
        aside = min(round(held_out * len(inputs)), _MOST)
        if aside < 1 or aside >= len(inputs):
            raise ValueError(
                f"Expected enough rows to hold a share of {held_out:g} out, found {len(inputs)}; try more rows."
            )
        order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(seed)).to(inputs.device)
        held, kept = order[:aside].sort().values, order[aside:].sort().values
        held_inputs, held_labels, inputs, labels = inputs[held], labels[held], inputs[kept], labels[kept]
    keys = noise.row_keys(torch.arange(len(inputs), device=inputs.device), seed, "harden")
    return Material(inputs, labels, keys, held_inputs, held_labels)


def _joined(train: Train) -> Rows:
    if isinstance(train, tuple) and len(train) == 2 and all(isinstance(part, Tensor) for part in train):
        return train  # type: ignore[return-value]  # narrowed by hand: a pair of tensors
    if isinstance(train, Tensor) or not isinstance(train, Iterable):
        raise TypeError(
            f"Expected train to be a pair (inputs, labels) or batches of such, found {type(train).__name__}."
        )
    batches = [tuple(batch) for batch in train]
    wrong = [b for b in batches if len(b) != 2 or not all(isinstance(part, Tensor) for part in b)]
    if wrong or not batches:
        found = f"{len(wrong)} that are not" if wrong else "none"
        raise TypeError(f"Expected train to hold batches (inputs, labels) of tensors, found {found}.")
    return torch.cat([inputs for inputs, _ in batches]), torch.cat([labels for _, labels in batches])


@dataclass(frozen=True, eq=False)
class Room:
    """The ball and the box, for flat rows (m, d) of one batch after the other.

    Attributes:
        norm: of the ball.
        eps: its radius.
        low: smallest values, (d,).
        high: largest values, (d,).
        fixed: elements that never move, bool (d,).
    """

    norm: Norm
    eps: float
    low: Tensor
    high: Tensor
    fixed: Tensor

    @classmethod
    def of(cls, threat: Threat, like: Tensor) -> Self:
        """The room of one input; `like` (n, ...) gives shape, type and device."""
        one = like[0]
        low, high = (torch.as_tensor(b, dtype=one.dtype, device=one.device).expand_as(one) for b in threat.bounds)
        fixed = torch.zeros_like(one, dtype=torch.bool) if threat.mutable is None else ~threat.mutable.to(one.device)
        return cls(threat.norm, threat.eps, low.flatten(), high.flatten(), fixed.flatten())

    def around(self, rows: Tensor) -> Around:
        """The room around flat rows (m, d)."""
        down, up = (self.low - rows).clamp(max=0), (self.high - rows).clamp(min=0)
        radius = torch.full_like(rows[:, 0], self.eps)
        return Around(self.norm, radius, down.masked_fill(self.fixed, 0), up.masked_fill(self.fixed, 0))


@dataclass(frozen=True, eq=False)
class Around:
    """How far each element of flat rows may move: `down` <= 0 <= `up`, both (m, d); `radius` (m,)."""

    norm: Norm
    radius: Tensor
    down: Tensor
    up: Tensor

    def sample(self, keys: Tensor, stream: noise.Stream, share: float = 1.0) -> Tensor:
        """Random perturbations within a share of the radius, (m, d)."""
        return norms.sample(keys, stream, self.norm, self.radius * share, self.down, self.up)

    def step(self, gradient: Tensor, share: float) -> Tensor:
        """A step of a share of the radius up the gradient, (m, d); l1 and l0 go towards the farthest vertex."""
        if self.norm in ("l1", "l0"):
            return norms.vertex(gradient, self.norm, self.radius, self.down, self.up) * share
        gradient = gradient.masked_fill(self.up == self.down, 0)
        return norms.steepest(gradient, self.norm) * self.radius[:, None] * share

    def project(self, delta: Tensor) -> Tensor:
        """The nearest perturbation in ball and box, (m, d)."""
        return norms.project(delta, self.norm, self.radius, self.down, self.up)

    def clip(self, delta: Tensor) -> Tensor:
        """The nearest perturbation in the box alone, (m, d)."""
        return delta.clamp(self.down, self.up)
