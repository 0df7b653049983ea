"""What the searches on a table share: scoring states, and the memory of each row's best."""

from __future__ import annotations

import torch
from torch import Tensor

from attacks import losses
from attacks.guard import Guard
from attacks.points import Points
from attacks.tabular.moves import Field, State

_ELEMENTS = 1 << 22  # encoded at once
_TIE = 1e-5  # of a row's spread of scores: what two margins must differ by, so that rounding decides nothing


class Hunt:
    """Scores states, remembers the best of each row, and knows which rows still stand.

    Args:
        guard: around the model.
        points: the rows under attack, all of them right as given.
        field: where they may go.

    Attributes:
        loss: margin of the best state of each row, (m,); infinite where it broke the row.
    """

    def __init__(self, guard: Guard, points: Points, field: Field) -> None:
        self.guard, self.points, self.field = guard, points, field
        every = torch.arange(len(points), device=points.x.device)
        self._best = field.start(every)
        self.loss = torch.full((len(points),), -torch.inf, dtype=torch.float64, device=points.x.device)

    def standing(self) -> Tensor:
        """Rows nothing has broken yet."""
        return (self.loss < torch.inf).nonzero()[:, 0]

    def best(self, rows: Tensor) -> State:
        """The best states so far."""
        return self._best.take(rows)

    def gradient(self, state: State, aim: Tensor) -> Tensor:
        """Gradient (s, d) of how far the class aimed at (s,) leads the label."""
        label = self.points.label[state.row]
        _, _, gradient = self.guard.gradient(
            self.field.encode(state).to(self.points.x.dtype),
            lambda scores, rows: losses.lead(scores, label[rows], aim[rows]),
        )
        return gradient

    def look(self, state: State, aim: Tensor | None = None) -> Tensor:
        """Margins of the states (s,), infinite where broken; the best of each row is remembered.

        Args:
            state: any number of any rows.
            aim: class whose lead is returned instead, (s,); what is remembered stays the margin.
        """
        loss = torch.empty(len(state), dtype=torch.float64, device=state.row.device)
        margin = torch.empty_like(loss)
        size = max(1, _ELEMENTS // self.points.x.shape[1])
        for begin in range(0, len(state), size):
            part = slice(begin, begin + size)
            scores = self.guard.scores(self.field.encode(state.take(part)).to(self.points.x.dtype))
            label, scale = self.points.label[state.row[part]], self.points.scale[state.row[part]]
            bad = scores.isnan().any(1)
            broken = (scores.argmax(1) != label) & ~bad
            value = losses.margin(scores, label)
            wish = value if aim is None else losses.lead(scores, label, aim[part])
            for out, found in ((margin, value), (loss, wish)):
                steps = (found / scale.clamp(min=torch.finfo(scale.dtype).tiny) / _TIE).double().round()
                out[part] = steps.masked_fill(bad, -torch.inf).nan_to_num(nan=-torch.inf).masked_fill(broken, torch.inf)
        if len(state):
            first = top(state.row, margin, 1)
            rows = state.row[first]
            better = margin[first] > self.loss[rows]
            first, rows = first[better], rows[better]
            self.loss[rows] = margin[first]
            self._best.number[rows], self._best.code[rows] = state.number[first], state.code[first]
        return loss


def top(row: Tensor, loss: Tensor, count: int) -> Tensor:
    """Indices of the `count` largest losses of each row, rows rising, the largest first, the earlier first in a tie."""
    order = loss.argsort(descending=True, stable=True)
    order = order[row[order].argsort(stable=True)]
    ordered = row[order]
    rank = torch.arange(len(order), device=row.device) - torch.searchsorted(ordered, ordered)
    return order[rank < count]


def distinct(state: State) -> Tensor:
    """Indices of the first of each set of equal states."""
    code = state.code.double()
    key = torch.cat([state.row.double()[:, None], state.number, code], 1)
    _, group = torch.unique(key, dim=0, return_inverse=True)
    index = torch.arange(len(state), device=group.device)
    first = torch.full((int(group.max()) + 1 if len(group) else 0,), len(state), device=group.device)
    return first.scatter_reduce(0, group, index, "amin").sort().values
