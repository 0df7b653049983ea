"""The numbers a row may hold, in raw units: a box, linear constraints and whole numbers, for many rows at once."""

from __future__ import annotations

import torch
from torch import Tensor

from attacks.tabular.columns import Eps, Table

_FAR = 1e8  # how far along a slope the point lies whose projection is the farthest vertex
_SWEEPS = 30
_REPAIRS = 4
_NEAR = 1e-9  # of a whole number, lost to rounding in float64
_FLOAT64 = 1e-12  # relative error of a sum in float64


class Polytope:
    """What the numeric columns of each of m rows may become.

    The row as given belongs to it by definition: a box or a constraint that it breaks is widened up to it.

    Args:
        table: what the elements mean.
        clean: encoded rows as given, (m, d).
        eps: see `columns.Eps`.

    Attributes:
        raw: values given, (m, numbers) float64.
        low: smallest value of each column in each row, (m, numbers); never above the value given.
        high: largest, never below.
        whole: bool (numbers,).
        linked: columns in each constraint.
    """

    def __init__(self, table: Table, clean: Tensor, eps: Eps) -> None:
        self.raw = table.raw(clean)

        def of(values: list[float]) -> Tensor:
            return torch.tensor(values, dtype=torch.float64, device=clean.device)

        reach, columns = of(list(table.reach(eps))), table.numbers
        self.whole = of([c.whole for c in columns]).bool()
        falls, rises = of([c.moves != "up" for c in columns]), of([c.moves != "down" for c in columns])
        low = torch.maximum(self.raw - reach * falls, torch.minimum(of([c.low for c in columns]), self.raw))
        high = torch.minimum(self.raw + reach * rises, torch.maximum(of([c.high for c in columns]), self.raw))
        floor, ceil = (low - _NEAR).ceil(), (high + _NEAR).floor()
        # whole numbers within reach, if there are any: else the value given stays
        self._floor, self._ceil = (torch.where(floor <= ceil, end, self.raw) for end in (floor, ceil))
        self.low = torch.where(self.whole, torch.minimum(self._floor, self.raw), low)
        self.high = torch.where(self.whole, torch.maximum(self._ceil, self.raw), high)
        width = self.high - self.low
        self._unit = torch.where(width > 0, width, 1.0)
        self._weights = table.weights(clean)
        self.linked = [weight.nonzero()[:, 0].tolist() for weight in self._weights]
        self._limit, self._aim, self._slack = self._limits(table, clean)

    def _limits(self, table: Table, clean: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What each constraint's sum must keep to, what to aim for, (m, constraints), and its error in float64.

        Where a continuous column is involved, the limit lies inside by what rounding to the rows' precision may add, and
        the aim by as much again.
        """
        sums, involved = self.raw @ self._weights.T, self._weights != 0
        bound = torch.tensor([r.bound for r in table.rules], dtype=torch.float64, device=clean.device)
        strict = torch.tensor([r.strict for r in table.rules], dtype=torch.bool, device=clean.device)
        integral = (~involved | (self.whole & (self._weights == self._weights.round()))).all(1)
        between = ((self.raw != self.raw.round())[:, None] & involved).any(2)  # a value given that is not whole
        exact = integral & ~between
        steps = torch.where(strict, bound.ceil() - 1, (bound + _NEAR).floor())
        ends = [[c.centre, c.scale] for c in table.numbers]
        centre, scale = torch.tensor(ends, dtype=torch.float64, device=clean.device).reshape(-1, 2).T
        farthest = torch.maximum((self.low - centre).abs(), (self.high - centre).abs())
        rounding = (torch.finfo(clean.dtype).eps * farthest + _NEAR * scale) @ self._weights.abs().T
        rounding = torch.where(exact, 0.0, rounding)
        limit = torch.maximum(torch.where(exact, steps, bound), sums) - rounding
        return limit, limit - rounding, _FLOAT64 * (self.raw.abs() @ self._weights.abs().T)

    def vertex(self, rows: Tensor, number: Tensor, slope: Tensor) -> Tensor:
        """The numbers that go farthest along the slope, (s, numbers); where it is 0, as now.

        Args:
            rows: which row each belongs to, (s,).
            number: numbers now, (s, numbers).
            slope: (s, numbers), per raw unit.
        """
        if not number.numel():
            return number
        along = slope * self._unit[rows]
        along = along / along.abs().amax(1, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)
        return self.settle(rows, number + _FAR * along * self._unit[rows], number)

    def settle(self, rows: Tensor, wish: Tensor, current: Tensor) -> Tensor:
        """Numbers near the wish (s, numbers) that belong here; the current ones, which do, where none is found."""
        number = self._project(rows, wish, wish.clamp(self.low[rows], self.high[rows]))
        return self.repair(rows, self._on_grid(rows, number), current)

    def put(self, rows: Tensor, number: Tensor, j: int, value: Tensor, lead: bool) -> Tensor:
        """The numbers with column j at the value (s,), or as near to it as may be.

        Args:
            rows: (s,).
            number: numbers that belong here, (s, numbers).
            j: the column.
            value: where to.
            lead: whether the columns tied to it follow; else they stay, and it stops where they would have to.
        """
        wish = number.clone()
        wish[:, j] = value.clamp(self.low[rows, j], self.high[rows, j])
        wish = torch.where(wish != number, self._on_grid(rows, wish), number)
        return self.repair(rows, wish, number, *((-1, j) if lead else (j, -1)))

    def repair(self, rows: Tensor, number: Tensor, current: Tensor, first: int = -1, last: int = -1) -> Tensor:
        """Push columns back, one after another, until the constraints hold; the current numbers where they never do.

        Args:
            rows: (s,).
            number: on the grid and in the box, (s, numbers).
            current: numbers that belong here, (s, numbers).
            first: column that gives way before the others.
            last: column that gives way after the others.
        """
        if not self.linked or bool(self._holds(rows, number).all()):
            return number
        number = number.clone()
        for sweep in range(_REPAIRS):
            for k, linked in enumerate(self.linked):
                # one order undone by the next constraint would be undone for ever
                order = linked if sweep % 2 == 0 else linked[::-1]
                for j in sorted(order, key=lambda j: (j != first, j == last, bool(self.whole[j]))):
                    over = number @ self._weights[k] - self._limit[rows, k]
                    pushed = self._pushed(rows, j, number[:, j], over / -self._weights[k, j])
                    number[:, j] = torch.where(self._kept(rows, number, k), number[:, j], pushed)
        return torch.where(self._holds(rows, number)[:, None], number, current)

    def _pushed(self, rows: Tensor, j: int, value: Tensor, step: Tensor) -> Tensor:
        """A column's value after a step, a whole one rounded onwards, in the box."""
        moved = value + step
        if not bool(self.whole[j]):
            return moved.clamp(self.low[rows, j], self.high[rows, j])
        onwards = torch.where(step < 0, (moved + _NEAR).floor(), (moved - _NEAR).ceil())
        return torch.minimum(torch.maximum(onwards, self._floor[rows, j]), self._ceil[rows, j])

    def _kept(self, rows: Tensor, number: Tensor, k: int) -> Tensor:
        """Whether constraint k holds, bool (s,); columns that did not move break none."""
        at = self.linked[k]
        inside = number @ self._weights[k] <= self._limit[rows, k] + self._slack[rows, k]
        return inside | (number[:, at] == self.raw[rows][:, at]).all(1)

    def _holds(self, rows: Tensor, number: Tensor) -> Tensor:
        """Whether every constraint holds, bool (s,)."""
        kept = [self._kept(rows, number, k) for k in range(len(self.linked))]
        return torch.stack(kept, 1).all(1) if kept else torch.ones_like(rows, dtype=torch.bool)

    def _on_grid(self, rows: Tensor, number: Tensor) -> Tensor:
        """Whole columns to the nearest whole number in the box, or to the value given where that is nearer."""
        raw = self.raw[rows]
        near = torch.minimum(torch.maximum(number.round(), self._floor[rows]), self._ceil[rows])
        stays = (number - raw).abs() <= (number - near).abs()
        return torch.where(self.whole, torch.where(stays, raw, near), number)

    def _project(self, rows: Tensor, wish: Tensor, boxed: Tensor) -> Tensor:
        """The nearest point of box and constraints, in widths of the box.

        Exact ascent on the dual, one constraint after another (Hildreth 1957), the box kept inside each step; after each
        sweep also along the way the sweep went, which ends the stalls of such a method. With one constraint, or
        constraints without a common column, the first sweep ends it.
        """
        outside = ~self._holds(rows, boxed)
        if not bool(outside.any()):
            return boxed
        at = rows[outside]
        unit, raw = self._unit[at], self.raw[at]
        target, low, high = ((v - raw) / unit for v in (wish[outside], self.low[at], self.high[at]))
        weights = self._weights * unit[:, None]  # (s, constraints, numbers)
        room = self._aim[at] - raw @ self._weights.T
        price = torch.zeros_like(room)
        for _ in range(_SWEEPS):
            before = price.clone()
            for k, linked in enumerate(self.linked):
                price[:, k] = 0
                rest = (target - _pull(price, weights))[:, linked]
                price[:, k] = _price(rest, weights[:, k, linked], low[:, linked], high[:, linked], room[:, k])
            way = price - before
            if torch.allclose(price, before, rtol=1e-12, atol=0):
                break
            more = _price(target - _pull(price, weights), _pull(way, weights), low, high, (way * room).sum(1))
            most = torch.where(way < 0, price / -way, torch.inf).amin(1)
            price = (price + torch.minimum(more, most)[:, None] * way).clamp(min=0)
        nearest = (target - _pull(price, weights)).clamp(low, high) * unit + raw
        return boxed.index_put((outside,), nearest.clamp(self.low[at], self.high[at]))


def _pull(price: Tensor, weights: Tensor) -> Tensor:
    """What the constraints' prices (s, constraints) take from each column, (s, numbers)."""
    return (price[..., None] * weights).sum(1)


def _price(target: Tensor, weight: Tensor, low: Tensor, high: Tensor, room: Tensor) -> Tensor:
    """The least p >= 0 with weight . clamp(target - p weight, low, high) <= room, (s,).

    The left-hand side falls with p and is linear between the prices at which an element meets its box. Where even the
    last of them is too low, that one is returned.
    """
    slope = torch.where(weight == 0, torch.inf, weight)
    kinks = torch.cat([(target - low) / slope, (target - high) / slope], 1).clamp(min=0)
    kinks = torch.cat([torch.zeros_like(kinks[:, :1]), kinks], 1).sort(1).values
    at = (target[:, None] - kinks[..., None] * weight[:, None]).clamp(low[:, None], high[:, None])
    over = (at * weight[:, None]).sum(2) - room[:, None]
    end = (over > 0).sum(1, keepdim=True).clamp(max=kinks.shape[1] - 1)
    begin = (end - 1).clamp(min=0)
    above, below = over.gather(1, begin), over.gather(1, end)
    share = torch.where(above > below, above / (above - below), 1.0).clamp(0, 1)
    price = kinks.gather(1, begin) + share * (kinks.gather(1, end) - kinks.gather(1, begin))
    return torch.where(over[:, 0] <= 0, 0.0, price[:, 0])
