"""Robust accuracy at one budget, and whether it can be trusted."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from attacks import expectation, masking, trust
from attacks.control import Control
from attacks.ensemble import Effort, Run, assault, budget, schedule
from attacks.guard import Guard, Model
from attacks.interval import clustered
from attacks.points import Points, build, check
from attacks.threat import Threat


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What the attacks left standing.

    Attributes:
        adversarial: (n, ...) inputs in ball and box: the first verified success of a point, else its strongest attempt;
            the clean input where the model is wrong already. Of a randomised model: the worst input found, in expectation.
        robust: bool (n,): no attack broke the point. Of a randomised model: it stands in most draws.
        clean_correct: bool (n,).
        standing: (n,) float64, 1 where a point is right and robust, else 0. Of a randomised model: the share of
            `draws` fresh calls that are right on the worst input found.
        draws: calls that judged each point; 1 for a model that answers equal calls equally.
        broken_by: name of the attack that broke a point, "misclassified" where none was needed, None where robust.
        forwards: examples that entered the model, verification and probes included.
        backwards: examples whose gradient was taken.
        control: what the gradient attacks found of the adversarial examples planted for them.
        findings: evidence that the number is too high.
    """

    adversarial: Tensor
    robust: Tensor
    clean_correct: Tensor
    standing: Tensor
    draws: int
    broken_by: tuple[str | None, ...]
    forwards: int
    backwards: int
    control: Control
    findings: tuple[masking.Finding, ...]

    @property
    def robust_accuracy(self) -> float:
        """Share of all points that stand: classified rightly, and broken by no attack; the mean over fresh draws."""
        return float(self.standing.mean())

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the robust accuracy against these attacks, for the population the points were drawn from.

        Wilson's; with draws, at the effective number of points. It knows nothing of attacks that were not tried:
        against those the robust accuracy is an upper bound.
        """
        return clustered(self.standing, self.draws)

    @property
    def trustworthy(self) -> bool:
        """Whether nothing speaks against the number."""
        return not self.findings


def evaluate(
    model: Model,
    inputs: Tensor,
    labels: Tensor,
    threat: Threat,
    effort: Effort = "standard",
    batch_size: int | None = None,
    seed: int = 0,
) -> Evaluation:
    """Attack a model with an ensemble, and say whether the result can be trusted.

    Each point's answer depends on the point and the seed alone: not on the batch size, the order, or its neighbours
    (up to the rounding of the model's own batched arithmetic). Only where the gradient is suspect do neighbours count:
    the substitute that then stands in for the model learns from all points that still stand.

    Args:
        model: callable from a float batch (m, ...) to (m, classes) scores, in input units. A module is put into eval
            mode for the time, and left exactly as it was.
        inputs: (n, ...) float, inside the threat's bounds.
        labels: true classes, (n,) integers.
        threat: the budget.
        effort: how long to try: "quick", "standard" or "exhaustive".
        batch_size: most examples in one call of the model; None chooses.
        seed: of every random draw.

    Raises:
        TypeError: an argument is of the wrong type.
        ValueError: an argument is out of its range, or the model's scores are not finite on the inputs.
    """
    labels = check(inputs, labels, threat, seed)
    spend, shape = budget(effort), tuple(inputs.shape[1:])
    with Guard(model, inputs.shape[1:], inputs.dtype, batch_size, seed) as guard, torch.no_grad():
        points = build(guard, inputs, labels, threat, seed)
        if masking.stochastic(guard, points):
            points = expectation.settle(guard, points, effort)
            run, standing = _in_expectation(guard, points, effort)
            trial = trust.examine(guard, points, run.broken_by, effort)
        else:
            run = assault(guard, points, schedule(spend, shape))
            trial = trust.examine(guard, points, run.broken_by, effort)
            if trial.blinded:
                run = trust.deepen(guard, points, run, trust.remedies(effort, threat.norm, shape))
            standing = torch.tensor([name is None for name in run.broken_by]).to(points.eps)
    clean = points.scores.argmax(1) == labels
    return Evaluation(
        adversarial=run.moved.reshape(inputs.shape),
        robust=standing > 0.5,
        clean_correct=clean,
        standing=standing * clean if guard.draws == 1 else standing,
        draws=1 if guard.draws == 1 else expectation.fresh(effort),
        broken_by=run.broken_by,
        forwards=guard.forwards,
        backwards=guard.backwards,
        control=trial.control,
        findings=trial.findings,
    )


def _in_expectation(guard: Guard, points: Points, effort: Effort) -> tuple[Run, Tensor]:
    """The run on a randomised model, and the share of fresh draws in which each point stands."""
    stages = trust.gradient_stages(budget(effort), points)
    run = expectation.attack(guard, points, stages)
    return run, expectation.right(guard, points, run.moved, expectation.fresh(effort))
