"""Robust accuracy at one budget, and whether it can be trusted."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from attacks import masking
from attacks.ensemble import Effort, assault, black_box_share, budget, schedule
from attacks.guard import Guard, Model
from attacks.points import build, check
from attacks.threat import Threat


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What the attacks left standing.

    Attributes:
        adversarial: (n, ...) inputs in ball and box: the first verified success of a point, else its last attempt; the
            clean input where the model is wrong already.
        robust: bool (n,): no attack broke the point.
        clean_correct: bool (n,).
        broken_by: name of the attack that broke a point, "misclassified" where none was needed, None where robust.
        forwards: examples that entered the model, verification and probes included.
        backwards: examples whose gradient was taken.
        findings: evidence that the number is too high.
    """

    adversarial: Tensor
    robust: Tensor
    clean_correct: Tensor
    broken_by: tuple[str | None, ...]
    forwards: int
    backwards: int
    findings: tuple[masking.Finding, ...]

    @property
    def robust_accuracy(self) -> float:
        """Share of all points that stand: classified rightly, and broken by no attack."""
        return float((self.robust & self.clean_correct).double().mean())

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
    (up to the rounding of the model's own batched arithmetic).

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
    stages = schedule(budget(effort), tuple(inputs.shape[1:]))
    with Guard(model, inputs.shape[1:], inputs.dtype, batch_size, seed) as guard, torch.no_grad():
        points = build(guard, inputs, labels, threat, seed)
        run = assault(guard, points, stages)
        fought = ~points.broken(points.scores)
        findings = masking.examine(guard, points, fought, black_box_share(run.broken_by, fought))
    clean = points.scores.argmax(1) == labels
    return Evaluation(
        adversarial=run.moved.reshape(inputs.shape),
        robust=torch.tensor([name is None for name in run.broken_by], device=inputs.device),
        clean_correct=clean,
        broken_by=run.broken_by,
        forwards=guard.forwards,
        backwards=guard.backwards,
        findings=findings,
    )
