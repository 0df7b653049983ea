"""Robust accuracy against eps, for little more than one eps costs.

One short minimal-perturbation search places every point on the curve. Then each point meets the ensemble at the largest
eps it still withstands, where success is likeliest, and starts from its smallest known success, drawn into that ball;
a success moves it down and it meets the next. What fails there need not be tried at a smaller eps, because the smaller
ball lies inside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from attacks import expectation, masking, norms, trust
from attacks.control import Control
from attacks.ensemble import Effort, Stage, assault, blocks, budget, schedule
from attacks.guard import Guard, Model
from attacks.minimal import shortest
from attacks.points import Points, build, check
from attacks.threat import Norm, Threat


@dataclass(frozen=True, eq=False)
class Curve:
    """Which points stand at which eps.

    Attributes:
        epsilons: as given, rising.
        robust: bool (n, epsilons); a point broken at one eps is broken at every larger one. A randomised model is
            judged by its scores averaged over draws; `evaluate` counts fresh draws.
        clean_correct: bool (n,).
        adversarial: (n, ...) the smallest verified adversarial input of each point; the clean input where none is
            needed or none was found.
        distance: size of its perturbation, (n,) float64; 0 where the model is wrong already, inf where none was found.
        forwards: examples that entered the model.
        backwards: examples whose gradient was taken.
        control: what the gradient attacks found of the adversarial examples planted for them at the largest eps.
        findings: evidence that the numbers are too high.
    """

    epsilons: tuple[float, ...]
    robust: Tensor
    clean_correct: Tensor
    adversarial: Tensor
    distance: Tensor
    forwards: int
    backwards: int
    control: Control
    findings: tuple[masking.Finding, ...]

    @property
    def robust_accuracy(self) -> tuple[float, ...]:
        """Share of all points that stand, at each eps."""
        return tuple((self.robust & self.clean_correct[:, None]).double().mean(0).tolist())

    @property
    def trustworthy(self) -> bool:
        """Whether nothing speaks against the numbers."""
        return not self.findings


def curve(
    model: Model,
    inputs: Tensor,
    labels: Tensor,
    norm: Norm,
    epsilons: Sequence[float],
    bounds: tuple[float, float] | tuple[Tensor, Tensor] = (0.0, 1.0),
    mutable: Tensor | None = None,
    target: Tensor | int | None = None,
    effort: Effort = "standard",
    batch_size: int | None = None,
    seed: int = 0,
) -> Curve:
    """Measure robust accuracy at several eps in one run.

    Args:
        model: callable from a float batch (m, ...) to (m, classes) scores.
        inputs: (n, ...) float, inside the bounds.
        labels: true classes, (n,) integers.
        norm: how size is measured.
        epsilons: budgets, strictly rising.
        bounds: see `Threat`.
        mutable: see `Threat`.
        target: see `Threat`.
        effort: as for `evaluate`.
        batch_size: most examples in one call of the model; None chooses.
        seed: of every random draw.

    Raises:
        TypeError: an argument is of the wrong type.
        ValueError: an argument is out of its range, or the model's scores are not finite on the inputs.
    """
    threats = [Threat(norm, eps, bounds, mutable, target) for eps in epsilons]
    if not threats or any(here >= after for here, after in pairwise(epsilons)):
        raise ValueError(f"Expected epsilons strictly rising, at least one, found {tuple(epsilons)}.")
    labels = check(inputs, labels, threats[-1], seed)
    spend = budget(effort)
    stages = schedule(spend, tuple(inputs.shape[1:]), known=True)
    with Guard(model, inputs.shape[1:], inputs.dtype, batch_size, seed) as guard, torch.no_grad():
        points = build(guard, inputs, labels, threats[-1], seed)
        if masking.stochastic(guard, points):
            points = expectation.settle(guard, points, effort)
        levels = torch.tensor(epsilons, dtype=torch.float64, device=inputs.device)
        moved, distance = _smallest(guard, points, max(spend.walk // 2, 10))
        broken_by = _lower(guard, points, levels, stages, moved, distance)
        probed = points.within(levels[:1].expand(len(points)))
        trial = trust.examine(guard, points, broken_by, effort, probed)
        if trial.blinded and guard.draws == 1:
            _lower(guard, points, levels, trust.remedies(effort, norm, tuple(inputs.shape[1:])), moved, distance)
    return Curve(
        epsilons=tuple(epsilons),
        robust=distance[:, None] > levels,
        clean_correct=points.scores.argmax(1) == labels,
        adversarial=moved.reshape(inputs.shape),
        distance=distance,
        forwards=guard.forwards,
        backwards=guard.backwards,
        control=trial.control,
        findings=trial.findings,
    )


def _smallest(guard: Guard, points: Points, steps: int) -> tuple[Tensor, Tensor]:
    """`minimal.shortest`, in blocks that fit into memory."""
    moved, distance = points.raw.clone(), torch.zeros_like(points.eps)
    for block in blocks(points, torch.arange(len(points), device=distance.device)):
        moved[block], distance[block] = shortest(guard, points.take(block), steps)
    return moved, distance


def _lower(
    guard: Guard, points: Points, levels: Tensor, stages: dict[str, Stage], moved: Tensor, distance: Tensor
) -> tuple[str | None, ...]:
    """Attack each point at the largest level below its distance until it holds; update `moved` and `distance`.

    Returns:
        The last attack that lowered each point, None where the first search was not beaten.
    """
    broken_by: list[str | None] = [None] * len(points)
    level = (levels < distance[:, None]).sum(1)
    pending = (level > 0).nonzero()[:, 0]
    while len(pending):
        here = points.take(pending).within(levels[level[pending] - 1])
        run = assault(guard, here.starting(here.project(moved[pending].to(here.x) - here.x)), stages)
        fallen = torch.tensor([name is not None for name in run.broken_by], device=pending.device)
        for row, name in zip(pending.tolist(), run.broken_by, strict=True):
            broken_by[row] = name or broken_by[row]
        pending = pending[fallen]
        moved[pending] = run.moved[fallen]
        distance[pending] = norms.size(moved[pending].double() - points.raw[pending].double(), points.norm)
        level = (levels < distance[:, None]).sum(1)
        pending = pending[level[pending] > 0]
    return tuple(broken_by)
