"""Counterfactual examples: the nearest rows of a table that get another answer and that a person could become."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from attacks.tabular import Number, Table
from attacks.tabular.hunt import top
from audit.explainers.changes import Changes
from audit.explainers.game import MEMORY, ROWS, Predict, in_range

#: halvings of what a number moved, in search of the least that suffices
HALVINGS = 14


@dataclass(frozen=True, eq=False)
class Counterfactuals:
    """For n rows up to `count` counterfactual rows each, the cheapest first.

    Attributes:
        rows: (n, count, d) encoded; the row as given where fewer were found.
        found: bool (n, count). A row that has the wanted answer as given is its own, only counterfactual.
        changed: bool (n, count, columns), which columns differ, in the table's order.
        distance: (n, count) float64, what numbers moved in deviations plus 1 for each category that switched; infinite
            where none was found.
        evaluations: rows that entered the model, verification included.
    """

    rows: Tensor
    found: Tensor
    changed: Tensor
    distance: Tensor
    evaluations: int


def counterfactuals(
    predict: Predict,
    inputs: Tensor,
    wanted: int | Sequence[int] | Tensor,
    table: Table,
    known: Tensor,
    deviations: Mapping[str, float] | None = None,
    count: int = 3,
    changes: int = 4,
    price: float = 1.0,
    width: int = 8,
    values: int = 24,
    together: float = 0.01,
    batch_size: int | None = None,
) -> Counterfactuals:
    """Search for rows near the given ones that the model gives the wanted class.

    Valid, sparse, plausible and actionable in the sense of Wachter et al. (2018), Mothilal et al. (2020) and Ustun
    et al. (2019): the cost sought to be least is the distance plus `price` for each column changed; numbers take values that occur among the known rows or lie between (whole columns whole ones, columns of few values only
    those), categories are whole ones that are allowed; immutable columns stay, and so do declared constraints.
    A beam search adds one change at a time and prunes by cost; then needless changes are taken back and numbers moved no
    farther than they must. Further counterfactuals of a row change other columns: none changes all that an earlier one
    does. What is returned has been shown to the model anew. That none was found does not prove that none exists.

    Args:
        predict: (m, d) batch of encoded rows to (m, classes) scores.
        inputs: (n, d) encoded rows.
        wanted: class to reach, one for all or one a row.
        table: what the elements mean, and what may change.
        known: (b, d) encoded rows whose values are plausible, such as the training rows.
        deviations: numeric column -> one deviation in its own unit; None: the standard deviation of the known rows.
        count: counterfactuals a row.
        changes: most columns that may change.
        price: of each column changed, in deviations.
        width: states kept at each step of the search.
        values: most values of a numeric column that are tried at each step, quantiles of the known ones.
        together: two categories are not brought together that meet in less than this share of the known rows with
            either of them, such as a married child; 0: any are.
        batch_size: rows a call of `predict`; None chooses by memory.

    Raises:
        ValueError: an argument does not fit; the message names it.
    """
    goal = _examine(inputs, known, wanted, table, batch_size)
    for name, number in (("count", count), ("changes", changes), ("width", width), ("values", values)):
        if number < 1:
            raise ValueError(f"{name}: Expected at least 1, found {number}.")
    for name, share in (("price", price), ("together", together)):
        if not share >= 0:
            raise ValueError(f"{name}: Expected a number of at least 0, found {share}.")
    options = Changes(table, inputs, known, deviations, price, values, together)
    rows = batch_size or max(1, min(ROWS, MEMORY // max(1, inputs[0].numel() * inputs.element_size())))
    search = _Search(predict, options, rows, width, changes, keep=2 * count)
    out = inputs.unsqueeze(1).repeat(1, count, 1)
    found = torch.zeros(len(inputs), count, dtype=torch.bool)
    # all single changes of all states kept are held at once
    block = max(1, MEMORY // (width * max(1, len(options)) * inputs.shape[1] * inputs.element_size()))
    for start in range(0, len(inputs), block):
        at = slice(start, start + block)
        owner, best = search.find(inputs[at], goal[at])
        taken = _diverse(owner, table.changed(inputs[at][owner], best), len(inputs[at]), count)
        for row, chosen in enumerate(taken):
            out[start + row, : len(chosen)] = best[chosen]
            found[start + row, : len(chosen)] = True
    before, after = inputs.repeat_interleave(count, 0), out.flatten(0, 1)
    shape = (len(inputs), count)
    distance = torch.where(found, options.distance(before, after).reshape(shape).cpu(), torch.inf)
    changed = table.changed(before, after).cpu().reshape(*shape, -1)
    return Counterfactuals(out, found, changed, distance, search.evaluations)


class _Search:
    """The beam, for some rows at once, and the work it counts."""

    def __init__(self, predict: Predict, options: Changes, rows: int, width: int, changes: int, keep: int) -> None:
        self.evaluations = 0
        self._predict, self._options, self._rows = predict, options, rows
        self._width, self._changes, self._keep = width, changes, keep

    def find(self, inputs: Tensor, goal: Tensor) -> tuple[Tensor, Tensor]:
        """Valid rows with distinct sets of changed columns: whose (m,), and encoded (m, d), cheapest first for each."""
        start = self._margin(inputs, goal)
        best = _Rows((start > 0).nonzero()[:, 0], inputs[start > 0])
        front = _Rows((start <= 0).nonzero()[:, 0], inputs[start <= 0])
        key = torch.zeros_like(front.owner)
        price = self._options.cost_of_each(inputs)
        for _ in range(self._changes):
            if not len(front):
                break
            parent, change = self._affordable(inputs, front, best, price)
            key = key[parent] + self._options.key[change]
            kids = _Rows(front.owner[parent], self._options.apply(front.x[parent], change))
            new = _first(kids.owner, key).nonzero()[:, 0]
            if self._options.table.rules:  # every other rule is kept change by change
                new = new[self._options.lawful(inputs[kids.owner[new]], kids.x[new])]
            kids, key = kids.take(new), key[new]
            margin = self._margin(kids.x, goal[kids.owner])
            # strangers may meet on the way, when one of the two is yet to change
            good = (margin > 0) & self._options.plausible(inputs[kids.owner], kids.x)
            best = self._cheapest(inputs, best.join(kids.take(good)))
            keep = self._promising(inputs, kids, ~good, margin, margin - start[kids.owner])
            front, key = kids.take(keep), key[keep]
        best = self._cheapest(inputs, self._spared(inputs, goal, best))
        # a model whose answers hang on the batch must not slip through
        sound = self._good(inputs[best.owner], best.x, self._margin(best.x, goal[best.owner]))
        return best.owner[sound], best.x[sound]

    def _good(self, before: Tensor, rows: Tensor, margin: Tensor) -> Tensor:
        """Which rows are counterfactuals, bool (m,)."""
        return (margin > 0) & self._options.lawful(before, rows) & self._options.plausible(before, rows)

    def _affordable(self, inputs: Tensor, front: _Rows, best: _Rows, price: Tensor) -> tuple[Tensor, Tensor]:
        """(parent, change) pairs of columns not yet changed that cost less than the dearest row that would be kept."""
        full = best.owner.bincount(minlength=len(inputs)) >= self._keep
        limit = torch.zeros(len(inputs), dtype=torch.float64, device=inputs.device)
        limit = limit.scatter_reduce(0, best.owner, self._options.cost(inputs[best.owner], best.x), "amax")
        limit = torch.where(full, limit, torch.inf)[front.owner]
        used = self._options.changed(inputs[front.owner], front.x)[:, self._options.column]
        total = self._options.cost(inputs[front.owner], front.x)[:, None] + price[front.owner]
        parent, change = (~used & (total < limit[:, None])).nonzero().unbind(1)
        return parent, change

    def _promising(self, inputs: Tensor, kids: _Rows, short_of: Tensor, margin: Tensor, gain: Tensor) -> Tensor:
        """Of the rows that fall short, those nearest to the wanted answer, and those that gained most for their cost."""
        short = short_of.nonzero()[:, 0]
        near = short[top(kids.owner[short], margin[short], (self._width + 1) // 2)]
        rest = short[~torch.isin(short, near)]
        worth = gain[rest] / self._options.cost(inputs[kids.owner[rest]], kids.x[rest])
        return torch.cat([near, rest[top(kids.owner[rest], worth, self._width // 2)]])

    def _cheapest(self, inputs: Tensor, rows: _Rows) -> _Rows:
        """Of each set of changed columns the cheapest row, and of each owner the `keep` cheapest."""
        cost = self._options.cost(inputs[rows.owner], rows.x)
        rows = rows.take(top(rows.owner, -cost, len(rows)))
        changed = self._options.changed(inputs[rows.owner], rows.x)
        names = torch.unique(changed, dim=0, return_inverse=True)[1] if len(rows) else rows.owner
        rows = rows.take(_first(rows.owner, names))
        return rows.take(top(rows.owner, -torch.arange(len(rows), device=rows.x.device), self._keep))

    def _spared(self, inputs: Tensor, goal: Tensor, rows: _Rows) -> _Rows:
        """The same rows without needless changes, and with numbers moved no farther than they must, the worst first."""
        options, before, wanted = self._options, inputs[rows.owner], goal[rows.owner]
        x, columns = rows.x, options.table.columns
        margin = self._margin(x, wanted)
        worth = torch.full((len(x), len(columns)), torch.inf, dtype=torch.float64, device=x.device)
        changed = options.changed(before, x)
        for j in changed.any(0).nonzero()[:, 0].tolist():
            at = changed[:, j].nonzero()[:, 0]
            less = options.without(before[at], x[at], torch.full_like(at, j))
            without = self._margin(less, wanted[at])
            saved = options.cost(before[at], x[at]) - options.cost(before[at], less)
            fine = self._good(before[at], less, without)
            x = x.index_copy(0, at[fine], less[fine])
            worth[at, j] = ((margin[at] - without) / saved).where(~fine, torch.inf)
        number = torch.tensor([isinstance(c, Number) for c in columns], device=x.device)
        # columns that did not change come last
        for column in worth.argsort(dim=1, stable=True)[:, : self._changes].T:
            at = (options.changed(before, x).gather(1, column[:, None])[:, 0] & number[column]).nonzero()[:, 0]
            x = x.index_copy(0, at, self._drawn_back(before[at], x[at], column[at], wanted[at]))
        return _Rows(rows.owner, x)

    def _drawn_back(self, before: Tensor, far: Tensor, column: Tensor, wanted: Tensor) -> Tensor:
        """Rows `far` with one number each moved back while the answer stays, by halving."""
        near = self._options.without(before, far, column)
        for _ in range(HALVINGS):
            middle = self._options.between(near, far, column)
            at = ((middle != near).any(1) & (middle != far).any(1)).nonzero()[:, 0]
            if not len(at):
                break
            fine = self._good(before[at], middle[at], self._margin(middle[at], wanted[at]))
            far = far.index_copy(0, at[fine], middle[at[fine]])
            near = near.index_copy(0, at[~fine], middle[at[~fine]])
        return far

    def _margin(self, rows: Tensor, wanted: Tensor) -> Tensor:
        """Score of the wanted class less the best other, (m,) float64."""
        self.evaluations += len(rows)
        parts = [torch.zeros(0, dtype=torch.float64, device=rows.device)]
        for start in range(0, len(rows), self._rows):
            with torch.no_grad():
                scores = self._predict(rows[start : start + self._rows].clone())  # it may write into them
            own = wanted[start : start + self._rows]
            if not isinstance(scores, Tensor) or scores.ndim != 2 or len(scores) != len(own) or scores.shape[1] < 2:
                found = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
                raise ValueError(f"predict: Expected scores of shape ({len(own)}, classes), found {found}.")
            in_range([int(own.max())], scores.shape[1])
            scores = scores.to(rows.device, torch.float64)
            rest = scores.scatter(1, own[:, None], -torch.inf).amax(1)
            parts.append(scores.gather(1, own[:, None])[:, 0] - rest)
        return torch.cat(parts)


@dataclass(frozen=True, eq=False)
class _Rows:
    """Encoded rows `x` (m, d) and which row each comes from, `owner` (m,)."""

    owner: Tensor
    x: Tensor

    def __len__(self) -> int:
        return len(self.owner)

    def take(self, index: Tensor) -> _Rows:
        return _Rows(self.owner[index], self.x[index])

    def join(self, other: _Rows) -> _Rows:
        return _Rows(torch.cat([self.owner, other.owner]), torch.cat([self.x, other.x]))


def _first(owner: Tensor, key: Tensor) -> Tensor:
    """Which rows are the first of their owner with their key, bool (m,)."""
    order = key.argsort(stable=True)
    order = order[owner[order].argsort(stable=True)]
    again = (owner[order][1:] == owner[order][:-1]) & (key[order][1:] == key[order][:-1])
    first = torch.ones(len(owner), dtype=torch.bool, device=owner.device)
    first[order[1:]] = ~again
    return first


def _diverse(owner: Tensor, changed: Tensor, rows: int, count: int) -> list[list[int]]:
    """For each row the first `count` of its own, none of which changes all the columns that an earlier one does."""
    taken: list[list[int]] = [[] for _ in range(rows)]
    for index, (row, columns) in enumerate(zip(owner.tolist(), changed.cpu(), strict=True)):
        fresh = all(bool((changed[other].cpu() & ~columns).any()) for other in taken[row])
        if fresh and len(taken[row]) < count:
            taken[row].append(index)
    return taken


def _examine(
    inputs: Tensor, known: Tensor, wanted: int | Sequence[int] | Tensor, table: Table, batch_size: int | None
) -> Tensor:
    """The class wanted for each row, (n,)."""
    for name, rows in (("inputs", inputs), ("known", known)):
        if not isinstance(rows, Tensor) or rows.ndim != 2 or not rows.is_floating_point() or not rows.numel():
            found = f"{rows.dtype} {tuple(rows.shape)}" if isinstance(rows, Tensor) else type(rows).__name__
            raise ValueError(f"{name}: Expected a float batch (n, d) of encoded rows, found {found}.")
        if not bool(torch.isfinite(rows).all()):
            raise ValueError(f"{name}: Expected finite numbers, found NaN or infinity.")
    if known.shape[1] != inputs.shape[1] or known.dtype != inputs.dtype or table.width > inputs.shape[1]:
        raise ValueError(
            f"known: Expected rows of {inputs.dtype} as wide as inputs and table, found {known.dtype} "
            f"{tuple(known.shape)} beside {tuple(inputs.shape)} and a table of {table.width}."
        )
    goal = torch.as_tensor(wanted, device=inputs.device)
    if goal.is_floating_point() or goal.numel() not in (1, len(inputs)) or int(goal.min()) < 0:
        raise ValueError(f"wanted: Expected one class, or one a row, found {wanted!r}.")
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size: Expected a positive number of rows, found {batch_size}.")
    return goal.reshape(-1).expand(len(inputs)).long()
