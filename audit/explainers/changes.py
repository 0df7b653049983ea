"""What a counterfactual may change in a table's rows, and what each change costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from attacks.tabular import Category, Number, Table


class Changes:
    """Every single change that the known rows bear out: a number to a value that occurs, a category to another.

    A change is one of K; applied to a row it puts its value at the elements of its column.

    Attributes:
        column: (K,) which of the table's columns a change is about.
        key: (K,) int64, a random name each, so that sums of them tell sets of changes apart.

    Args:
        table: what the elements mean, and what may change.
        inputs: (n, d) encoded rows that will be changed.
        known: (b, d) encoded rows whose values are plausible.
        deviations: numeric column -> one deviation in its own unit; None: the standard deviation of the known rows.
        price: of each column changed, in deviations.
        values: most values of a number that are changes of their own; quantiles of the known ones.
        together: two categories are strangers where they meet in less than this share of the known rows with either.

    Raises:
        ValueError: a deviation is missing or not positive.
    """

    def __init__(
        self,
        table: Table,
        inputs: Tensor,
        known: Tensor,
        deviations: Mapping[str, float] | None,
        price: float,
        values: int,
        together: float,
    ) -> None:
        self.table, self._price = table, price
        both = table.raw(torch.cat([known, inputs]))
        self._reach = dict(zip([c.name for c in table.numbers], (2 * both.abs().amax(0) + 1).tolist(), strict=True))
        scale = torch.tensor([c.scale for c in table.numbers], dtype=torch.float64)
        self._unit = (scale / _deviations(table, known, deviations)).to(inputs.device)
        self._numbers = [c.at for c in table.numbers]
        self._categorical = torch.tensor([isinstance(c, Category) for c in table.columns], device=inputs.device)
        self._steps: dict[str, Tensor] = {}
        masks, puts, columns = [], [], []
        at: list[Tensor] = []
        slope, way = [], []
        spots = torch.zeros(len(table.columns), inputs.shape[1], dtype=torch.bool)
        for j, column in enumerate(table.columns):
            spots[j, [column.at] if isinstance(column, Number) else list(column.at)] = True
            if not column.mutable:
                continue
            choices = self._values(column, known, values) if isinstance(column, Number) else _categories(column)
            put = torch.zeros(len(choices), inputs.shape[1], dtype=inputs.dtype)
            put[:, spots[j]] = choices.to(put)
            puts.append(put)
            masks.append(spots[j].expand(len(choices), -1))
            columns += [j] * len(choices)
            if isinstance(column, Number):
                at.append(torch.full((len(choices),), column.at))
                slope += [float(self._unit[self._numbers.index(column.at)])] * len(choices)
                way += [{"both": 0, "up": 1, "down": -1}[column.moves]] * len(choices)
            else:
                # a category is another where its own element is not 1 yet
                at.append(torch.tensor(column.at)[choices.argmax(1)])
                slope += [0.0] * len(choices)
                way += [0] * len(choices)
        self.column = torch.tensor(columns, dtype=torch.int64, device=inputs.device)
        self._at = torch.cat([torch.zeros(0, dtype=torch.int64), *at]).to(inputs.device)
        self._slope = torch.tensor(slope, dtype=torch.float64, device=inputs.device)
        self._way = torch.tensor(way, device=inputs.device)
        empty = torch.zeros(0, inputs.shape[1], dtype=inputs.dtype)
        self._mask = torch.cat([empty.bool(), *masks]).to(inputs.device)
        self._put = torch.cat([empty, *puts]).to(inputs.device)
        names = np.random.default_rng(0).integers(-(2**62), 2**62, len(columns))
        self.key = torch.from_numpy(names).to(inputs.device)
        self._spots = spots.to(inputs.device)
        self._held = [at for column in table.categories for at in column.at]
        self._strangers = _strangers(known[:, self._held].to(inputs.device), together)

    def __len__(self) -> int:
        return len(self.column)

    def _values(self, column: Number, known: Tensor, values: int) -> Tensor:
        """Encoded values (k, 1) of a numeric column to try, and, where few occur, the only ones it may take."""
        seen: Tensor = torch.unique(known[:, column.at])
        raw = Table((replace(column, at=0),)).raw(seen[:, None])[:, 0]
        fits = (raw >= column.low) & (raw <= column.high)
        seen = seen[fits & (raw == raw.round())] if column.whole else seen[fits]
        if len(seen) <= values:
            self._steps[column.name] = seen
            return seen[:, None]
        ranked = known[:, column.at].sort().values
        at = torch.linspace(0, len(ranked) - 1, values).round().long()
        # quantiles by rows, and evenly spread ones, which reach into thin tails
        spread = torch.linspace(0, len(seen) - 1, values).round().long()
        tried: Tensor = torch.unique(torch.cat([ranked[at], seen[spread]]))
        return tried[torch.isin(tried, seen)][:, None]

    def cost_of_each(self, inputs: Tensor) -> Tensor:
        """What each change costs each row, (n, K) float64; infinite where it changes nothing or is not allowed."""
        there, put = inputs[:, self._at], self._put[torch.arange(len(self), device=inputs.device), self._at]
        cost = (put - there).abs().double() * self._slope + self._price + (self._slope == 0)
        fits = (put != there) & ((put - there) * self._way >= 0)
        return torch.where(fits, cost, torch.inf)

    def distance(self, before: Tensor, after: Tensor) -> Tensor:
        """What numbers moved, in deviations, plus 1 for each category that switched, (m,) float64."""
        moved = (after.double() - before.double()).abs()[:, self._numbers] * self._unit
        return moved.sum(1) + (self.changed(before, after) & self._categorical).sum(1)

    def changed(self, before: Tensor, after: Tensor) -> Tensor:
        """Which columns differ, bool (m, columns)."""
        return (before != after).float() @ self._spots.T.float() > 0

    def cost(self, before: Tensor, after: Tensor) -> Tensor:
        """The distance and the price of each column changed, (m,) float64."""
        return self.distance(before, after) + self._price * self.changed(before, after).sum(1)

    def apply(self, rows: Tensor, change: Tensor) -> Tensor:
        """Rows (m, d), each after one change, (m,)."""
        return torch.where(self._mask[change], self._put[change], rows)

    def without(self, before: Tensor, rows: Tensor, column: Tensor) -> Tensor:
        """Rows (m, d) with one column each, (m,), as it was before."""
        return torch.where(self._spots[column], before, rows)

    def between(self, near: Tensor, far: Tensor, column: Tensor) -> Tensor:
        """Rows `far` (m, d) with one numeric column each half way back to `near`, on a value it may take."""
        middle = far.clone()
        for j in torch.bincount(column).nonzero()[:, 0].tolist():
            number, mine = self.table.columns[j], (column == j).nonzero()[:, 0]
            assert isinstance(number, Number)
            wish = (near[mine, number.at].double() + far[mine, number.at].double()) / 2
            if number.name in self._steps:
                steps = self._steps[number.name].to(wish)
                wish = steps[(steps[None] - wish[:, None]).abs().argmin(1)]
            elif number.whole:
                wish = ((wish * number.scale + number.centre).round() - number.centre) / number.scale
            middle[mine, number.at] = wish.to(middle.dtype)
        return middle

    def lawful(self, before: Tensor, after: Tensor) -> Tensor:
        """Whether rows keep to the table's rules, bool (m,)."""
        return self.table.lawful(before, after, self._reach, len(self.table.categories))

    def plausible(self, before: Tensor, after: Tensor) -> Tensor:
        """Whether rows bring no strangers together, bool (m,)."""
        return self._meetings(after) <= self._meetings(before)

    def _meetings(self, rows: Tensor) -> Tensor:
        """Twice the pairs of categories that are strangers, in each row, (m,)."""
        held = rows[:, self._held]
        return ((held @ self._strangers) * held).sum(1)


def _categories(column: Category) -> Tensor:
    """One-hot blocks (k, width) of the categories that may be chosen."""
    allowed = column.allowed or (True,) * len(column.at)
    return torch.eye(len(column.at))[torch.tensor(allowed)]


def _strangers(held: Tensor, together: float) -> Tensor:
    """Which pairs of categories hardly ever meet among rows of one-hot blocks (b, k), (k, k) as numbers."""
    meet = held.T @ held
    own = meet.diagonal()
    # of the rows with one of the two, whichever meets the other more
    share = meet / torch.minimum(own[:, None], own[None]).clamp(min=1)
    return (share < together).to(held)


def _deviations(table: Table, known: Tensor, given: Mapping[str, float] | None) -> Tensor:
    if given is None:
        spread = table.raw(known).std(0, correction=0).cpu()
        return torch.where(spread > 0, spread, 1.0)
    missing = [c.name for c in table.numbers if not given.get(c.name, 0) > 0]
    if missing:
        raise ValueError(f"deviations: Expected a positive number for {missing[0]!r}, found {given.get(missing[0])!r}.")
    return torch.tensor([given[c.name] for c in table.numbers], dtype=torch.float64)
