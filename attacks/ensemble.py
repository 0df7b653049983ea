"""The ensemble: cheap attacks first, broken points leave at once, survivors meet stronger ones.

The parts are those of AutoAttack (Croce and Hein 2020, https://arxiv.org/abs/2003.01690) without FAB; a first step that
is exact on linear models, targets ordered by linear distance and compaction make it short.
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

MISCLASSIFIED = "misclassified"


@dataclass(frozen=True, eq=False)
class Run:
    """Inputs (n, d) after all stages, and who broke each."""

    moved: Tensor
    broken_by: tuple[str | None, ...]


def assault(guard: Guard, points: Points, stages: dict[str, Stage]) -> Run:
    """Run the stages in order on whatever still stands, and believe only what a fresh forward pass confirms."""
    moved = points.raw.clone()
    already = points.broken(points.scores)
    names: list[str | None] = [MISCLASSIFIED if broken else None for broken in already.tolist()]
    standing = (~already).nonzero()[:, 0]
    size = max(_BLOCK // points.x.shape[1], 1)
    for block in torch.split(standing, size):
        for name, stage in stages.items():
            if not len(block):
                break
            here = points.take(block)
            found = stage(guard, here)
            placed = here.place(found.delta)
            moved[block] = placed
            claimed = found.broken.nonzero()[:, 0]
            if not len(claimed):
                continue
            sound = claimed[search.verify(guard, here.take(claimed), placed[claimed])]
            for row in block[sound].tolist():
                names[row] = name
            left = torch.ones_like(found.broken)
            left[sound] = False
            block = block[left]
    return Run(moved, tuple(names))


@dataclass(frozen=True)
class Budget:
    """Gradients, classes, runs and queries an effort spends on a point that withstands all.

    Attributes:
        steps: gradients of a run of Auto-PGD; restarts take twice as many.
        walk: gradients of the minimal-perturbation search.
        targets: classes aimed at in turn.
        restarts: random starts.
        queries: of the Square attack.
    """

    steps: int
    walk: int
    targets: int
    restarts: int
    queries: int


_BUDGETS = {
    "quick": Budget(steps=10, walk=20, targets=0, restarts=0, queries=50),
    "standard": Budget(steps=20, walk=40, targets=5, restarts=1, queries=500),
    "exhaustive": Budget(steps=100, walk=100, targets=9, restarts=5, queries=5000),
}


def budget(effort: Effort) -> Budget:
    """The budget of an effort; a ValueError names the efforts there are."""
    if effort not in _BUDGETS:
        raise ValueError(f"Expected effort to be one of {', '.join(_BUDGETS)}, found {effort!r}.")
    return _BUDGETS[effort]


def schedule(spend: Budget, shape: tuple[int, ...]) -> dict[str, Stage]:
    """The attacks in order, for inputs of a shape."""
    stages: dict[str, Stage] = {
        "apgd": lambda guard, points: apgd.search(guard, points, search.margin, spend.steps),
        "minimal": lambda guard, points: seek(guard, points, spend.walk),
    }
    if spend.targets:
        stages["apgd_targeted"] = lambda guard, points: targeted.search(guard, points, spend.targets, spend.steps)
    if spend.restarts:
        stages["apgd_restarts"] = lambda guard, points: apgd.search(
            guard, points, search.cross_entropy, 2 * spend.steps, spend.restarts, first=1
        )
    stages["square"] = lambda guard, points: square.search(guard, points, shape, spend.queries)
    return stages


def black_box_share(broken_by: tuple[str | None, ...], fought: Tensor) -> float:
    """Share of the attacked points, bool (n,), that only random search broke."""
    return sum(name == "square" for name in broken_by) / max(int(fought.sum()), 1)
