"""Search for changes of a table's rows that a person could make, and that alter the model's answer.

Gradients say where to look, scores decide. With gradients the margin is linear around a row, and the best change of a
linear margin is known: the farthest vertex of what the numbers may be, and the switches that gain most (Frank and Wolfe
1956, with an exact line search on scores; the category's part is HotFlip's, Ebrahimi et al. 2018,
https://arxiv.org/abs/1712.06751). What stands is attacked by scores alone: a beam over all single changes, each scored
by the model, and over their best combination. Changes that prove needless are taken back at the end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from attacks.guard import Guard, Model
from attacks.points import build, check
from attacks.tabular.columns import Eps, Table
from attacks.tabular.hunt import Hunt, distinct, top
from attacks.tabular.moves import Field, State, join
from attacks.threat import Threat

Effort: TypeAlias = Literal["quick", "standard", "exhaustive"]

_STREAM = 11
_SHARES = (1.0, 0.5, 0.2)  # of the way to the vertex, all of them scored
_HALVINGS = 6  # of what the numbers moved, in search of the least that suffices
_KIDS = 1 << 20  # states one change away, held at once


@dataclass(frozen=True)
class _Settings:
    """How long to try: restarts and steps along gradients; width, random starts and rounds of the beam."""

    restarts: int
    steps: int
    width: int
    starts: int
    rounds: int


_EFFORTS: dict[Effort, _Settings] = {
    "quick": _Settings(restarts=1, steps=4, width=1, starts=0, rounds=6),
    "standard": _Settings(restarts=2, steps=8, width=6, starts=2, rounds=12),
    "exhaustive": _Settings(restarts=6, steps=16, width=12, starts=6, rounds=30),
}


@dataclass(frozen=True, eq=False)
class TableSearch:
    """What the search found.

    Attributes:
        adversarial: (n, d) encoded rows; the row as given where none was found or none is needed.
        success: bool (n,), verified; True also where the model was wrong to begin with.
        clean_correct: bool (n,).
        changed: which columns differ, bool (n, columns), in the table's order.
        switches: how many categorical columns switched, (n,) int64.
        distance: the largest move of a number as a share of what eps allows, (n,) float64; 0 where none moved or the
            model was wrong to begin with, infinite where nothing was found.
        forwards: examples that entered the model, verification included.
        backwards: examples whose gradient was taken.
    """

    adversarial: Tensor
    success: Tensor
    clean_correct: Tensor
    changed: Tensor
    switches: Tensor
    distance: Tensor
    forwards: int
    backwards: int


def table_search(
    model: Model,
    inputs: Tensor,
    labels: Tensor,
    table: Table,
    eps: Eps = 0.25,
    switches: int = 1,
    *,
    gradients: bool = True,
    effort: Effort = "standard",
    seed: int = 0,
    batch_size: int | None = None,
) -> TableSearch:
    """Change rows of a table within their rules so that the model errs.

    Args:
        model: callable from encoded rows (m, d) to (m, classes) scores.
        inputs: encoded rows (n, d), float.
        labels: true classes, (n,) integers.
        table: what the elements mean, and what may change.
        eps: how far numbers may move; see `columns.Eps`.
        switches: most categorical columns that may switch in one row.
        gradients: False where the model has none: scores alone then decide.
        effort: how long to try.
        seed: of the random starts.
        batch_size: most examples in one call of the model.

    Raises:
        TypeError: an argument is of the wrong type.
        ValueError: an argument is out of its range, or the model's scores are not finite on the inputs.
    """
    labels = check(inputs, labels, Threat("linf", 0.0, (-torch.inf, torch.inf)), seed)
    settings = _settings(inputs, table, switches, effort)
    with Guard(model, inputs.shape[1:], inputs.dtype, batch_size, seed) as guard, torch.no_grad():
        points = build(guard, inputs, labels, Threat("linf", 0.0, (-torch.inf, torch.inf)), seed)
        wrong = points.broken(points.scores)
        adversarial, success = points.raw.clone(), wrong.clone()
        standing = (~wrong).nonzero()[:, 0]
        if len(standing):
            hunt = Hunt(guard, points.take(standing), Field(table, points.raw[standing], eps, switches))
            _search(hunt, settings, gradients)
            found, sound = _verified(hunt, table, eps, switches)
            adversarial[standing[sound]], success[standing[sound]] = found[sound], True
    changed = table.changed(points.raw, adversarial)
    categorical = [i for i, column in enumerate(table.columns) if column in table.categories]
    return TableSearch(
        adversarial=adversarial,
        success=success,
        clean_correct=~wrong,
        changed=changed,
        switches=changed[:, categorical].sum(1),
        distance=_shares(table, points.raw, adversarial, eps).masked_fill(~success, torch.inf),
        forwards=guard.forwards,
        backwards=guard.backwards,
    )


def _settings(inputs: Tensor, table: Table, switches: int, effort: Effort) -> _Settings:
    if not isinstance(table, Table):
        raise TypeError(f"Expected table to be an attacks.Table, found {type(table).__name__}.")
    if inputs.ndim != 2 or inputs.shape[1] < table.width:
        raise ValueError(
            f"Expected inputs (n, d) with at least {table.width} elements a row, found {tuple(inputs.shape)}."
        )
    if not isinstance(switches, int) or isinstance(switches, bool) or switches < 0:
        raise ValueError(f"Expected switches to be an integer of at least 0, found {switches!r}.")
    if effort not in _EFFORTS:
        raise ValueError(f"Expected effort to be one of {', '.join(_EFFORTS)}, found {effort!r}.")
    return _EFFORTS[effort]


def _search(hunt: Hunt, settings: _Settings, gradients: bool) -> None:
    wrong = hunt.points.scores.scatter(1, hunt.points.label[:, None], -torch.inf)
    ranking = wrong.argsort(dim=1, descending=True, stable=True)[:, :-1]
    for restart in range(settings.restarts if gradients else 0):
        rows = hunt.standing()
        state = hunt.field.start(rows)
        if restart >= ranking.shape[1]:  # every class was aimed at from the row as given
            state = hunt.field.random(rows, hunt.points.key[rows], (_STREAM, restart))
        _ascend(hunt, state, ranking[rows, restart % ranking.shape[1]], settings.steps)
    switches, numbers = hunt.field.free[0].numel(), hunt.field.numbers.raw.shape[1]
    changes = switches * (1 + hunt.field.switches) + 8 * numbers + 1
    rows, size = hunt.standing(), max(1, _KIDS // (changes * settings.width))
    for begin in range(0, len(rows), size):
        _beam(hunt, rows[begin : begin + size], settings)


def _ascend(hunt: Hunt, state: State, aim: Tensor, steps: int) -> None:
    """Towards the vertex of the linearised margin, as far as scores say, until nothing gains."""
    value = torch.full_like(hunt.loss[state.row], -torch.inf)
    for _ in range(steps):
        if not len(state):
            return
        kids = _towards(hunt.field, state, hunt.gradient(state, aim))
        repeats = len(kids) // len(state)
        loss = hunt.look(kids, aim.repeat(repeats))
        chosen = top(kids.row, loss, 1)
        keep = (loss[chosen] > value) & (hunt.loss[state.row] < torch.inf)
        state, value, aim = kids.take(chosen[keep]), loss[chosen[keep]], aim[keep]


def _towards(field: Field, state: State, gradient: Tensor) -> State:
    """Each state some way along its line to the vertex, with the best switches and without new ones."""
    slope, gain = field.linearised(state.row, gradient)
    code = field.choose(state.row, field.code[state.row], gain)
    vertex = field.numbers.vertex(state.row, state.number, slope)
    kids = [State(state.row, state.number, code)]
    for share in _SHARES:
        wish = state.number + share * (vertex - state.number)
        number = field.numbers.settle(state.row, wish, state.number)
        kids += [State(state.row, number, code), State(state.row, number, state.code)]
    return join(kids)


def _beam(hunt: Hunt, rows: Tensor, settings: _Settings) -> None:
    """Expand the best states by every single change and by the best combination of them, until none is better."""
    field, key = hunt.field, hunt.points.key
    front = [hunt.best(rows), field.start(rows)]
    front += [field.random(rows, key[rows], (_STREAM, 1000 + start)) for start in range(settings.starts)]
    pool, fresh = join(front), torch.ones(len(rows) * len(front), dtype=torch.bool, device=rows.device)
    loss = hunt.look(pool)
    for _ in range(settings.rounds):
        keep = distinct(pool)
        keep = keep[top(pool.row[keep], loss[keep], settings.width)]
        keep = keep[hunt.loss[pool.row[keep]] < torch.inf]
        pool, loss, fresh = pool.take(keep), loss[keep], fresh[keep]
        if not bool(fresh.any()):
            return
        parents, before = pool.take(fresh), loss[fresh]
        kids, parent, column = field.neighbours(parents)
        after = hunt.look(kids)
        both = _combined(field, parents, kids, parent, column, after - before[parent])
        after = torch.cat([loss, after, hunt.look(both)])
        fresh = torch.arange(len(after), device=rows.device) >= len(pool)
        pool, loss = join([pool, kids, both]), after


def _combined(field: Field, parents: State, kids: State, parent: Tensor, column: Tensor, gain: Tensor) -> State:
    """Each parent with all the numeric changes that gain, and the switches that gain most."""
    numbers = parents.number.shape[1]
    wish, gains = parents.number.clone(), torch.zeros(len(parents), *field.free.shape[1:], dtype=torch.float64)
    gains = gains.to(gain.device)
    for j in range(numbers):
        mine = ((column == j) & (gain > 0)).nonzero()[:, 0]
        mine = mine[top(parent[mine], gain[mine], 1)]
        wish[parent[mine], j] = kids.number[mine, j]
    switch = ((column >= numbers) & (gain > 0)).nonzero()[:, 0]
    at, code = column[switch] - numbers, kids.code[switch]
    code = code.gather(1, at[:, None])[:, 0]
    back = code == field.code[parents.row[parent[switch]], at]
    switch, at, code = switch[~back], at[~back], code[~back]
    gains[parent[switch], at, code] = gain[switch]
    return State(
        parents.row,
        field.numbers.settle(parents.row, wish, parents.number),
        field.choose(parents.row, parents.code, gains),
    )


def _verified(hunt: Hunt, table: Table, eps: Eps, switches: int) -> tuple[Tensor, Tensor]:
    """Rows (m, d) as spare as the search can make them, and which of them a fresh look confirms, bool (m,)."""
    points, broken = hunt.points, (hunt.loss == torch.inf).nonzero()[:, 0]
    found, sound = points.raw.clone(), hunt.loss.new_zeros(len(points), dtype=torch.bool)
    bold = hunt.best(broken)
    for state in (bold, _spared(hunt, bold)) if len(broken) else ():
        moved = hunt.field.encode(state)
        before = points.take(state.row)
        good = table.lawful(before.raw, moved, eps, switches)
        good &= before.broken(hunt.guard.scores(moved.to(points.x.dtype)))
        found[state.row[good]], sound[state.row[good]] = moved[good], True
    return found, sound


def _spared(hunt: Hunt, state: State) -> State:
    """The same successes without the changes that prove needless, and with numbers moved no farther than they must."""
    field, raw = hunt.field, hunt.field.numbers.raw[state.row]

    def improved(candidate: State, state: State) -> tuple[State, Tensor]:
        won = hunt.look(candidate) == torch.inf
        number = torch.where(won[:, None], candidate.number, state.number)
        return State(state.row, number, torch.where(won[:, None], candidate.code, state.code)), won

    for j in range(state.code.shape[1]):
        code = state.code.clone()
        code[:, j] = field.code[state.row, j]
        state, _ = improved(State(state.row, state.number, code), state)
    for j in range(state.number.shape[1]):
        number = field.numbers.put(state.row, state.number, j, raw[:, j], lead=False)
        state, _ = improved(State(state.row, number, state.code), state)
    low, high = torch.zeros_like(raw[:, :1]), torch.ones_like(raw[:, :1])
    whole = state.number
    for _ in range(_HALVINGS if whole.shape[1] else 0):
        middle = (low + high) / 2
        number = field.numbers.settle(state.row, raw + middle * (whole - raw), whole)
        state, won = improved(State(state.row, number, state.code), state)
        low, high = torch.where(won[:, None], low, middle), torch.where(won[:, None], middle, high)
    return state


def _shares(table: Table, before: Tensor, after: Tensor, eps: Eps) -> Tensor:
    """Largest move of a number as a share of what eps allows, (n,) float64."""
    reach = torch.tensor(table.reach(eps), dtype=torch.float64, device=before.device)
    if not len(reach):
        return torch.zeros(len(before), dtype=torch.float64, device=before.device)
    move = (table.raw(after) - table.raw(before)).abs()
    return torch.where(move > 0, move / reach, 0.0).amax(1).clamp(max=1.0)
