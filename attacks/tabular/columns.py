"""What the elements of an encoded row mean, which values they may take, and an independent judge of changed rows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from attacks.tabular.constraints import Constraint, parse

Moves: TypeAlias = Literal["both", "up", "down"]
#: shared by all numeric columns, in units of each one's scale; or by name, in the columns' own units (0 for the others)
Eps: TypeAlias = float | Mapping[str, float]

_FLOAT64 = 1e-12  # relative error of a few operations in float64


@dataclass(frozen=True)
class Number:
    """A numeric column: the element is (raw - centre) / scale.

    Attributes:
        name: column name.
        at: position in the encoded row.
        centre: subtracted, in the column's own (raw) unit.
        scale: divided by, in the raw unit.
        low: smallest raw value an attack may give it. A value given outside the limits may stay, and moves no further
            out.
        high: largest raw value.
        whole: whether only whole numbers occur. A value given between two whole ones may stay, or become whole.
        moves: which way it may move: a person's age only rises.
        mutable: False: it never moves.
    """

    name: str
    at: int
    centre: float = 0.0
    scale: float = 1.0
    low: float = -math.inf
    high: float = math.inf
    whole: bool = False
    moves: Moves = "both"
    mutable: bool = True

    def __post_init__(self) -> None:
        if not (math.isfinite(self.centre) and math.isfinite(self.scale) and self.scale > 0):
            raise ValueError(
                f"Expected a finite centre and a scale above 0 for {self.name!r}, found {self.centre!r}, {self.scale!r}."
            )
        if not self.low <= self.high:
            raise ValueError(f"Expected low <= high for {self.name!r}, found {self.low!r} and {self.high!r}.")
        if self.moves not in get_args(Moves):
            raise ValueError(
                f"Expected moves of {self.name!r} from {', '.join(get_args(Moves))}, found {self.moves!r}."
            )


@dataclass(frozen=True)
class Category:
    """A categorical column: its elements are 1 at the category and 0 elsewhere, or all 0 where it is missing.

    Attributes:
        name: column name.
        at: positions in the encoded row, one a category.
        allowed: which categories an attack may choose (those that were observed); None: all.
        mutable: False: it never switches.
    """

    name: str
    at: tuple[int, ...]
    allowed: tuple[bool, ...] | None = None
    mutable: bool = True

    def __post_init__(self) -> None:
        if not self.at:
            raise ValueError(f"Expected at least one position for {self.name!r}, found none.")
        if self.allowed is not None and len(self.allowed) != len(self.at):
            raise ValueError(
                f"Expected allowed of {self.name!r} with one entry a category, {len(self.at)}, found {len(self.allowed)}."
            )


@dataclass(frozen=True)
class Table:
    """A table as the model sees it. Elements that belong to no column never move.

    Attributes:
        columns: in the order in which results report them.
        constraints: what must hold between numeric columns in raw units, e.g. `"education-num + 6 <= age"`; see
            `attacks.tabular.constraints`. A row that breaks one as given may break it still, but by no more.

    Raises:
        ValueError: two columns share a name or a position, or a constraint cannot be read.
    """

    columns: tuple[Number | Category, ...]
    constraints: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if isinstance(self.constraints, str):
            raise ValueError(f"Expected a sequence of constraints, found one string {self.constraints!r}.")
        names = [column.name for column in self.columns]
        spots = [at for c in self.columns for at in ((c.at,) if isinstance(c, Number) else c.at)]
        for what, values in (("names", names), ("positions", spots)):
            twice = [v for i, v in enumerate(values) if v in values[:i]]
            if twice:
                raise ValueError(f"Expected columns with distinct {what}, found {twice[0]!r} twice.")
        if any(at < 0 for at in spots):
            raise ValueError(f"Expected positions of at least 0, found {min(spots)}.")
        _ = self.rules  # a constraint that cannot be read is refused here, not in the attack

    @cached_property
    def numbers(self) -> tuple[Number, ...]:
        """The numeric columns."""
        return tuple(c for c in self.columns if isinstance(c, Number))

    @cached_property
    def categories(self) -> tuple[Category, ...]:
        """The categorical columns."""
        return tuple(c for c in self.columns if isinstance(c, Category))

    @cached_property
    def width(self) -> int:
        """How many elements a row must have."""
        return 1 + max((at for c in self.columns for at in ((c.at,) if isinstance(c, Number) else c.at)), default=-1)

    @cached_property
    def rules(self) -> tuple[Constraint, ...]:
        """The constraints, read."""
        numbers, others = ([c.name for c in part] for part in (self.numbers, self.categories))
        return tuple(parse(text, numbers, others) for text in self.constraints)

    def reach(self, eps: Eps) -> tuple[float, ...]:
        """How far each numeric column may move, in raw units.

        Raises:
            ValueError: a negative or infinite number, or a name that is no numeric column.
        """
        if isinstance(eps, Mapping):
            known = {c.name for c in self.numbers}
            strange = [name for name in eps if name not in known]
            if strange:
                raise ValueError(f"Expected eps for numeric columns, found {strange[0]!r}; try {sorted(known)}.")
            own = tuple(float(eps.get(c.name, 0.0)) for c in self.numbers)
        else:
            own = tuple(float(eps) * c.scale for c in self.numbers)
        if not all(math.isfinite(e) and e >= 0 for e in (*own, 0.0 if isinstance(eps, Mapping) else eps)):
            raise ValueError(f"Expected eps to be finite and at least 0, found {eps!r}.")
        return tuple(e if c.mutable else 0.0 for e, c in zip(own, self.numbers, strict=True))

    def raw(self, rows: Tensor) -> Tensor:
        """Numeric columns of encoded rows (n, d) in raw units, (n, numbers) float64.

        A whole column's value becomes the whole number where rounding alone separates the two.
        """
        if not self.numbers:
            return rows.new_zeros((len(rows), 0), dtype=torch.float64)
        values = rows[:, [c.at for c in self.numbers]].double()
        raw = values * self._of("scale", rows) + self._of("centre", rows)
        near = raw.round()
        snap = self._of("whole", rows).bool() & ((raw - near).abs() <= self.grain(rows))
        return torch.where(snap, near, raw)

    def grain(self, rows: Tensor) -> Tensor:
        """How far rounding in the rows' own precision may shift a raw value, (n, numbers) float64."""
        values = rows[:, [c.at for c in self.numbers]]
        step = torch.finfo(rows.dtype).eps * values.double().abs() + torch.finfo(rows.dtype).tiny
        scale, centre = self._of("scale", rows), self._of("centre", rows)
        return step * scale + _FLOAT64 * (values.double().abs() * scale + centre.abs())

    def codes(self, rows: Tensor) -> Tensor:
        """Which category each categorical column holds, (n, categories) int64; -1 where its elements are no one-hot."""
        out = torch.full((len(rows), len(self.categories)), -1, dtype=torch.int64, device=rows.device)
        for j, column in enumerate(self.categories):
            block = rows[:, list(column.at)]
            hot = (block == 1).sum(1).eq(1) & (block == 0).sum(1).eq(len(column.at) - 1)
            out[:, j] = torch.where(hot, block.argmax(1), -1)
        return out

    def weights(self, like: Tensor) -> Tensor:
        """Coefficients of the constraints, (constraints, numbers) float64, on the device of `like`."""
        rows = [[rule.coefficients.get(c.name, 0.0) for c in self.numbers] for rule in self.rules]
        weights = torch.tensor(rows, dtype=torch.float64, device=like.device)
        return weights.reshape(len(self.rules), len(self.numbers))

    def breaches(self, rows: Tensor) -> Tensor:
        """Which constraints encoded rows (n, d) break, bool (n, constraints)."""
        raw = self.raw(rows)
        sums, size = raw @ self.weights(rows).T, raw.abs() @ self.weights(rows).abs().T
        bound = torch.tensor([r.bound for r in self.rules], dtype=torch.float64, device=rows.device)
        strict = torch.tensor([r.strict for r in self.rules], dtype=torch.bool, device=rows.device)
        return torch.where(strict, sums >= bound, sums > bound + _FLOAT64 * size)

    def changed(self, before: Tensor, after: Tensor) -> Tensor:
        """Which columns differ between encoded rows, bool (n, columns)."""
        differs = before != after
        spots = [[c.at] if isinstance(c, Number) else list(c.at) for c in self.columns]
        parts = [differs[:, at].any(1) for at in spots]
        return torch.stack(parts, 1) if parts else differs[:, :0]

    def lawful(self, before: Tensor, after: Tensor, eps: Eps, switches: int) -> Tensor:
        """Judge changed rows in raw units, without a look at how they were made, bool (n,).

        Args:
            before: encoded rows as given, (n, d).
            after: the same rows, changed, (n, d).
            eps: see `Eps`.
            switches: most categorical columns that may differ.
        """
        moved = before != after
        stray = moved.clone()
        stray[:, [at for c in self.columns for at in ((c.at,) if isinstance(c, Number) else c.at)]] = False
        fine = ~stray.any(1) & after.isfinite().all(1)
        old, new = self.raw(before), self.raw(after)
        for j, (number, limit) in enumerate(zip(self.numbers, self.reach(eps), strict=True)):
            fine &= ~moved[:, number.at] | _may_move(number, old[:, j], new[:, j], limit)
        held, holds = self.codes(before), self.codes(after)
        switched = torch.zeros_like(held, dtype=torch.bool)
        for j, column in enumerate(self.categories):
            allowed = torch.tensor(column.allowed or [True] * len(column.at), device=before.device)
            good = (holds[:, j] >= 0) & allowed[holds[:, j].clamp(min=0)] & (held[:, j] != holds[:, j])
            switched[:, j] = moved[:, list(column.at)].any(1)
            fine &= ~switched[:, j] | (good & column.mutable)
        fine &= switched.sum(1) <= switches
        for rule, weight in zip(self.rules, self.weights(before), strict=True):
            was, now = (old * weight).sum(1), (new * weight).sum(1)
            slack = _FLOAT64 * ((old.abs() + new.abs()) * weight.abs()).sum(1)
            kept = now < rule.bound if rule.strict else now <= rule.bound + slack
            fine &= kept | (now <= was + slack)
        return fine

    def _of(self, field: str, like: Tensor) -> Tensor:
        values = [float(getattr(c, field)) for c in self.numbers]
        return torch.tensor(values, dtype=torch.float64, device=like.device)


def _may_move(number: Number, was: Tensor, now: Tensor, limit: float) -> Tensor:
    """Whether a numeric column may go from one raw value to another, bool (n,)."""
    slack = _FLOAT64 * (was.abs() + abs(number.centre) + limit)
    good = (now - was).abs() <= limit + slack
    good &= (now >= was.clamp(max=number.low) - slack) & (now <= was.clamp(min=number.high) + slack)
    if number.moves != "both":
        good &= now >= was if number.moves == "up" else now <= was
    if number.whole:
        good &= now == now.round()
    return good & number.mutable
