"""States of rows on their way, and everything one change leads to.

A state is (numbers, codes): raw values of the numeric columns and the category each categorical column holds. Every
state made here keeps all the rules of its row, so a search needs to look at scores alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from attacks import noise
from attacks.tabular.columns import Eps, Table
from attacks.tabular.polytope import Polytope

_STRIDE = 0.1  # of a continuous column's box: its small step


@dataclass(frozen=True, eq=False)
class State:
    """Rows on their way.

    Attributes:
        row: which row of the field each belongs to, (s,) int64.
        number: raw values, (s, numbers) float64.
        code: category held, -1 for none, (s, categories) int64.
    """

    row: Tensor
    number: Tensor
    code: Tensor

    def __len__(self) -> int:
        return len(self.row)

    def take(self, index: Tensor | slice) -> Self:
        """Some of them, by indices (which may repeat), a mask or a slice."""
        return type(self)(self.row[index], self.number[index], self.code[index])


def join(states: Sequence[State]) -> State:
    """One after another."""
    return State(*(torch.cat([getattr(s, part) for s in states]) for part in ("row", "number", "code")))


class Field:
    """What each of m rows may become.

    Args:
        table: what the elements mean.
        clean: encoded rows as given, (m, d).
        eps: see `columns.Eps`.
        switches: most categorical columns that may switch.

    Attributes:
        numbers: where the numeric columns may go.
        code: category given, -1 for none, (m, categories).
        free: categories each row may choose in each column, bool (m, categories, width); its own is not among them.
        switches: as given.
    """

    def __init__(self, table: Table, clean: Tensor, eps: Eps, switches: int) -> None:
        self._table, self._clean, self.switches = table, clean, switches
        self.numbers, self.code = Polytope(table, clean, eps), table.codes(clean)
        width = max((len(c.at) for c in table.categories), default=0)
        allowed = torch.zeros(len(table.categories), width, dtype=torch.bool)
        for j, column in enumerate(table.categories):
            if column.mutable:
                allowed[j, : len(column.at)] = torch.tensor(column.allowed or [True] * len(column.at))
        every = torch.arange(width, device=clean.device)
        self.free = allowed.to(clean.device) & (every != self.code[..., None])

    def start(self, rows: Tensor) -> State:
        """The rows as given."""
        return State(rows, self.numbers.raw[rows], self.code[rows])

    def random(self, rows: Tensor, key: Tensor, stream: noise.Stream) -> State:
        """Random states; `key` (s,) is what the draws derive from."""
        count, raw = self.free[0].numel(), self.numbers.raw[rows]
        draw = noise.uniform(key, stream, raw.shape[1] + count, torch.float64)
        low, high = self.numbers.low[rows], self.numbers.high[rows]
        number = self.numbers.settle(rows, low + (high - low) * draw[:, count:], raw)
        lot = draw[:, :count].reshape(len(rows), *self.free.shape[1:])
        return State(rows, number, self.choose(rows, self.code[rows], lot))

    def switched(self, state: State) -> Tensor:
        """Which categorical columns differ from the row as given, bool (s, categories)."""
        return state.code != self.code[state.row]

    def choose(self, rows: Tensor, code: Tensor, gain: Tensor) -> Tensor:
        """Codes after the switches that gain most, as many as the budget leaves; none that gains nothing.

        Args:
            rows: (s,).
            code: codes to start from, (s, categories); switched columns may switch on for free.
            gain: of each category over the one in `code`, (s, categories, width).
        """
        if not gain.numel() or not self.switches:
            return code
        value, best = gain.masked_fill(~self.free[rows], -torch.inf).max(2)
        spent = code != self.code[rows]
        left = self.switches - spent.sum(1, keepdim=True)
        rank = value.masked_fill(spent, -torch.inf).argsort(dim=1, descending=True, stable=True).argsort(dim=1)
        return torch.where((value > 0) & (spent | (rank < left)), best, code)

    def encode(self, state: State) -> Tensor:
        """Encoded rows (s, d) in the rows' own precision; what did not move is as given, to the last bit.

        Whole numbers are rounded as an encoder would; others towards the row as given, so that none leaves its box.
        """
        out = self._clean[state.row]
        raw = self.numbers.raw[state.row]
        for j, column in enumerate(self._table.numbers):
            wish = (state.number[:, j] - column.centre) / column.scale
            value, given = wish.to(out.dtype), out[:, column.at]
            if not column.whole:
                over = (value.double() - wish) * (state.number[:, j] - raw[:, j]) > 0
                value = torch.where(over, torch.nextafter(value, given), value)
            out[:, column.at] = torch.where(state.number[:, j] != raw[:, j], value, given)
        switched = self.switched(state)
        for j, category in enumerate(self._table.categories):
            at, code = list(category.at), state.code[:, j : j + 1]
            hot = (torch.arange(len(at), device=code.device) == code).to(out.dtype)
            out[:, at] = torch.where(switched[:, j : j + 1], hot, out[:, at])
        return out

    def linearised(self, rows: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """What a gradient (s, d) says: slope per raw unit (s, numbers), gain of each category over the one given."""
        numbers = self._table.numbers
        at = [c.at for c in numbers]
        scale = torch.tensor([c.scale for c in numbers], dtype=torch.float64, device=gradient.device)
        slope = gradient[:, at].double() / scale
        gain = torch.zeros(len(rows), *self.free.shape[1:], dtype=torch.float64, device=gradient.device)
        for j, category in enumerate(self._table.categories):
            block, own = gradient[:, list(category.at)].double(), self.code[rows, j, None]
            base = torch.where(own >= 0, block.gather(1, own.clamp(min=0)), 0.0)
            gain[:, j, : len(category.at)] = block - base
        return slope, gain

    def neighbours(self, state: State) -> tuple[State, Tensor, Tensor]:
        """Every state one change away.

        Returns:
            The states, the index of the one each came from, and the column that changed, (k,) each: a numeric column,
            or the number of numeric columns plus a categorical one; -1 where one switch was given up for another.
        """
        parts = [*self._numeric(state), *self._switches(state)]
        found = join([part for part, _, _ in parts]) if parts else state.take(state.row[:0])
        empty = state.row[:0]
        return found, torch.cat([empty, *(p for _, p, _ in parts)]), torch.cat([empty, *(c for _, _, c in parts)])

    def _numeric(self, state: State) -> list[tuple[State, Tensor, Tensor]]:
        box, tied = self.numbers, {j for linked in self.numbers.linked for j in linked}
        out = []
        for j in range(state.number.shape[1]):
            low, high, now = box.low[state.row, j], box.high[state.row, j], state.number[:, j]
            if bool((low == high).all()):
                continue
            step = torch.ones_like(now) if bool(box.whole[j]) else _STRIDE * (high - low)
            for value in (low, high, now - step, now + step):
                for lead in (False, True) if j in tied else (False,):
                    number = box.put(state.row, state.number, j, value, lead)
                    moved = (number != state.number).any(1).nonzero()[:, 0]
                    part = state.take(moved)
                    out.append((State(part.row, number[moved], part.code), moved, torch.full_like(moved, j)))
        return out

    def _switches(self, state: State) -> list[tuple[State, Tensor, Tensor]]:
        free, spent, numbers = self.free[state.row], self.switched(state), state.number.shape[1]
        if not free.numel() or not self.switches:
            return []
        every = torch.arange(free.shape[2], device=free.device)
        other = free & (every != state.code[..., None])
        full = spent.sum(1) >= self.switches
        out = []

        def add(base: State, mask: Tensor, swap: bool) -> None:
            at, column, code = mask.nonzero().unbind(1)
            part = base.take(at)
            changed = part.code.scatter(1, column[:, None], code[:, None])
            which = torch.full_like(at, -1) if swap else column + numbers
            out.append((State(part.row, part.number, changed), at, which))

        add(state, other & (spent | ~full[:, None])[..., None], swap=False)
        for column in range(spent.shape[1]):
            at = spent[:, column].nonzero()[:, 0]
            back = state.code.clone()
            back[:, column] = self.code[state.row, column]
            without = State(state.row, state.number, back)
            out.append((without.take(at), at, torch.full_like(at, column + numbers)))
            # where the budget is used up, this switch can be given up for another
            add(without, other & (spent[:, column] & full)[:, None, None] & ~spent[..., None], swap=True)
        return out
