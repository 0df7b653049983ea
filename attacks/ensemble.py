"""The ensemble: cheap attacks first, broken points leave at once, and effort goes where success is near.

Two things make it short beside AutoAttack (Croce and Hein 2020, https://arxiv.org/abs/2003.01690), whose parts it
shares but for FAB. A point that fell short by more than it gained will hardly fall to the same gradients under another
loss, so the dear attacks meet only those that came close (a sharper form of the discarding of Liu et al. 2022,
https://arxiv.org/abs/2203.05154; nobody is ever discarded at the effort "exhaustive"). And a search that came close is
resumed from where it was best, in short steps, which breaks in twenty gradients what a hundred from the start may miss.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from attacks import search
from attacks.gradient import apgd, targeted
from attacks.guard import Guard
from attacks.minimal import seek
from attacks.points import Points
from attacks.query import square
from attacks.search import Hunt

Effort: TypeAlias = Literal["quick", "standard", "exhaustive"]
#: an attack of the ensemble, on points none of which is broken
Stage: TypeAlias = Callable[[Guard, Points], Hunt]
_BLOCK = 2**26  # elements of inputs searched at a time; the search holds about ten copies

_SPARSE = {"l1": 3.0, "l0": 3.0}  # norms whose climbs are slow: they say less about how near a point is, by this factor
_WANDERING = 2.0  # the minimal search is not confined to the ball, so it sees more than how near a climb inside came

_ALMOST = 0.05  # reach of the longest run: a point this near falls to patience or not at all

MISCLASSIFIED = "misclassified"


@dataclass(frozen=True)
class Near:
    """A stage for points that came close.

    Attributes:
        attack: the stage.
        reach: most that a point may fall short, as a share of what its best attempt gained: 1 says that twice the
            budget would do, were the margin linear in it. A point that never gained anything has told nothing, and is
            attacked.
    """

    attack: Stage
    reach: float

    def __call__(self, guard: Guard, points: Points) -> Hunt:
        """Attack the points, whatever they gained."""
        return self.attack(guard, points)


@dataclass(frozen=True, eq=False)
class Run:
    """Inputs (n, d) after all stages, and who broke each.

    An input is the first verified success of a point, else its strongest attempt.
    """

    moved: Tensor
    broken_by: tuple[str | None, ...]


def assault(guard: Guard, points: Points, stages: dict[str, Stage]) -> Run:
    """Run the stages in order on whatever still stands, and believe only what a fresh forward pass confirms.

    Each stage works in full blocks: what an earlier stage broke is made up for by later points. Where the points have a
    start already, it counts as their strongest attempt so far.
    """
    front = _Front(guard, points)
    for name, stage in stages.items():
        for block in blocks(points, front.facing(stage)):
            here = points.take(block).starting(front.moved[block].to(points.x) - points.x[block])
            front.learn(guard, name, block, here, stage(guard, here))
    return Run(front.moved, tuple(front.names))


def blocks(points: Points, rows: Tensor) -> tuple[Tensor, ...]:
    """The rows in parts whose search fits into memory; none where there are no rows."""
    return torch.split(rows, max(_BLOCK // points.x.shape[1], 1)) if len(rows) else ()


class _Front:
    """Where the attack on each point stands.

    Attributes:
        moved: success or strongest attempt, (n, d).
        names: who broke a point.
    """

    def __init__(self, guard: Guard, points: Points) -> None:
        self.moved = points.raw.clone()
        already = points.broken(points.scores)
        self.names: list[str | None] = [MISCLASSIFIED if broken else None for broken in already.tolist()]
        self._stands = ~already
        self._clean = points.margin(points.scores)
        self._best = self._clean.clone()
        self._trust = _SPARSE.get(points.norm, 1.0)
        if points.start is not None and bool(self._stands.any()):
            rows = self._stands.nonzero()[:, 0]
            here = points.take(rows)
            self.moved[rows] = here.place(points.start[rows])
            self._best[rows] = here.margin(guard.scores(self.moved[rows].to(points.x))).clamp(max=0)

    def facing(self, stage: Stage) -> Tensor:
        """The rows a stage meets."""
        deserving = self._stands
        if isinstance(stage, Near):
            gain = self._best - self._clean
            deserving = deserving & ((gain <= 0) | (-self._best <= self._trust * stage.reach * gain))
        return deserving.nonzero()[:, 0]

    def learn(self, guard: Guard, name: str, rows: Tensor, points: Points, hunt: Hunt) -> None:
        """Take over what a stage found on its rows: a claim that a fresh pass refutes lies on the boundary."""
        loss = torch.where(hunt.broken, 0, hunt.loss)
        better = hunt.broken | (loss > self._best[rows])
        chosen = better.nonzero()[:, 0]
        if not len(chosen):
            return
        placed = points.take(chosen).place(hunt.delta[chosen])
        self.moved[rows[chosen]], self._best[rows[chosen]] = placed, loss[chosen]
        claimed = hunt.broken[chosen]
        if not bool(claimed.any()):
            return
        sound = search.verify(guard, points.take(chosen[claimed]), placed[claimed])
        for row in rows[chosen[claimed][sound]].tolist():
            self.names[row] = name
            self._stands[row] = False


@dataclass(frozen=True)
class Budget:
    """Gradients, classes, runs and queries an effort spends on a point that withstands all.

    Attributes:
        steps: gradients of a run of Auto-PGD; the first run, on all points, takes `first`.
        first: gradients of the first run.
        walk: gradients of the minimal-perturbation search.
        targets: classes aimed at in turn.
        restarts: random starts.
        queries: of the Square attack.
        reach: how near a point must come to meet more than the first and the last attack; see `Near`.
    """

    steps: int
    first: int
    walk: int
    targets: int
    restarts: int
    queries: int
    reach: float


_BUDGETS = {
    "quick": Budget(steps=10, first=10, walk=20, targets=2, restarts=0, queries=30, reach=0.5),
    "standard": Budget(steps=20, first=10, walk=40, targets=3, restarts=1, queries=50, reach=2.0),
    "exhaustive": Budget(steps=100, first=100, walk=100, targets=9, restarts=5, queries=5000, reach=float("inf")),
}


def budget(effort: Effort) -> Budget:
    """The budget of an effort; a ValueError names the efforts there are."""
    if effort not in _BUDGETS:
        raise ValueError(f"Expected effort to be one of {', '.join(_BUDGETS)}, found {effort!r}.")
    return _BUDGETS[effort]


def schedule(spend: Budget, shape: tuple[int, ...], known: bool = False) -> dict[str, Stage]:
    """The attacks in order.

    Args:
        spend: how much of each.
        shape: of one input.
        known: whether points start from their smallest known success, drawn into the ball. How near they are is then
            known before the first run, which only those that are near meet.
    """
    steps, reach = spend.steps, max(spend.reach / 4, 0.5) if known else spend.reach

    def first(guard: Guard, points: Points) -> Hunt:
        return apgd.search(guard, points, search.margin, spend.first)

    def resumed(guard: Guard, points: Points) -> Hunt:
        return apgd.resume(guard, points, search.margin, steps)

    def smallest(guard: Guard, points: Points) -> Hunt:
        return seek(guard, points, 2 * spend.walk if points.norm in _SPARSE else spend.walk)

    stages: dict[str, Stage] = {"apgd": Near(first, reach) if known else first, "apgd_resumed": Near(resumed, reach)}
    if not known:
        stages["minimal"] = Near(smallest, max(reach, _WANDERING))
    stages["apgd_targeted"] = Near(lambda guard, points: targeted.search(guard, points, spend.targets, steps), reach)
    if spend.restarts:
        stages["apgd_restarts"] = Near(
            lambda guard, points: apgd.search(guard, points, search.cross_entropy, steps, spend.restarts, first=1),
            reach,
        )
    stages["apgd_last"] = Near(resumed, reach)
    stages["apgd_long"] = Near(
        lambda guard, points: apgd.search(guard, points, search.margin, 5 * steps), min(reach, _ALMOST)
    )
    stages["square"] = lambda guard, points: square.search(guard, points, shape, spend.queries)
    return stages


def black_box_share(broken_by: tuple[str | None, ...], fought: Tensor) -> float:
    """Share of the attacked points, bool (n,), that only random search broke."""
    return sum(name == "square" for name in broken_by) / max(int(fought.sum()), 1)
