"""Models whose equal calls differ: attacked in expectation, judged by fresh draws.

Expectation over transformation, Athalye, Engstrom, Ilyas, Kwok 2018 (https://arxiv.org/abs/1707.07397).
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from attacks.control import handicapped, label_shift
from attacks.ensemble import Effort, Run, Stage, assault
from attacks.guard import Guard
from attacks.points import Points

#: calls averaged during the search, and fresh ones that judge its result
_DRAWS = {"quick": 4, "standard": 8, "exhaustive": 16}
_FRESH = {"quick": 32, "standard": 64, "exhaustive": 256}
_SURE = 3.0  # deviations of the margin by which a point must be wrong before the search leaves it


def settle(guard: Guard, points: Points, effort: Effort) -> Points:
    """Average all further calls over draws; the points' scores are such averages from now on."""
    guard.draws = _DRAWS[effort]
    return replace(points, scores=guard.scores(points.x))


def fresh(effort: Effort) -> int:
    """Draws that judge a point."""
    return _FRESH[effort]


def attack(guard: Guard, points: Points, stages: dict[str, Stage]) -> Run:
    """The worst inputs in expectation: a point that is wrong in half of the draws is attacked on.

    Args:
        guard: of a random model, averaging.
        points: all rows.
        stages: attacks for rows with one more element.
    """
    shift = label_shift(points, _SURE * _deviation(guard, points))
    with guard.shifted(shift):
        run = assault(guard, handicapped(points, shift), stages)
    return replace(run, moved=points.place(run.moved[:, :-1] - points.x))


def right(guard: Guard, points: Points, moved: Tensor, draws: int) -> Tensor:
    """Share of fresh draws in which inputs (n, d) are not what the attacker wants, (n,) float64."""
    averaged, guard.draws = guard.draws, 1
    stands = torch.zeros(len(points), dtype=torch.float64, device=moved.device)
    for _ in range(draws):
        stands += ~points.broken(guard.scores(moved.to(points.x.dtype)))
    guard.draws = averaged
    return stands / draws


def _deviation(guard: Guard, points: Points) -> Tensor:
    """Standard deviation of the margin over single draws at the clean inputs, (n,)."""
    averaged, guard.draws = guard.draws, 1
    margins = torch.stack([points.margin(guard.scores(points.x)) for _ in range(max(2 * averaged, 8))])
    guard.draws = averaged
    return margins.std(0)
