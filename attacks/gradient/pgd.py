"""Projected gradient descent.

Madry, Makelov, Schmidt, Tsipras, Vladu 2018, https://arxiv.org/abs/1706.06083, section 2.1.
"""

from __future__ import annotations

from torch import Tensor

from attacks import norms
from attacks.guard import Guard, Model
from attacks.points import Points
from attacks.search import Hunt, Objective, count, cross_entropy, solo
from attacks.threat import Threat

_STREAM = 2


def pgd(
    model: Model,
    inputs: Tensor,
    labels: Tensor,
    threat: Threat,
    steps: int = 40,
    restarts: int = 1,
    seed: int = 0,
    batch_size: int | None = None,
) -> Tensor:
    """Climb the scale-free cross-entropy in steps of 2.5 eps / steps from a random start.

    Args:
        model: see `attacks.search.solo`, as for all further arguments.
        inputs: (n, ...) float.
        labels: (n,) integers.
        threat: any norm.
        steps: gradients a run.
        restarts: random starts.
        seed: of the random starts.
        batch_size: most examples in one call.

    Returns:
        (n, ...) in ball and box: the first success of a point, else its strongest attempt.

    Raises:
        TypeError: an argument is of the wrong type.
        ValueError: an argument is out of its range, or the model's scores are not finite on the inputs.
    """
    count("steps", steps), count("restarts", restarts)
    return solo(
        lambda guard, points: search(guard, points, cross_entropy, steps, restarts),
        model, inputs, labels, threat, seed, batch_size,
    )  # fmt: skip


def search(guard: Guard, points: Points, objective: Objective, steps: int, restarts: int = 1) -> Hunt:
    """Run on points none of which is broken; see `pgd`."""
    hunt = Hunt(points)
    for restart in range(restarts):
        if not len(hunt.points):
            break
        delta = hunt.points.sample((_STREAM, restart))
        for step in range(steps):
            current = hunt.points
            scores, _, gradient = guard.gradient(current.at(delta), objective(current))
            keep = hunt.see(delta, scores)
            if keep is not None:
                current, delta, gradient = hunt.points, delta[keep], gradient[keep]
            if not len(current):
                break
            gradient = current.usable(gradient, (_STREAM, restart, step))
            delta = current.project(delta + stride(current, gradient, 2.5 / steps))
        if len(hunt.points):
            hunt.see(delta, guard.scores(hunt.points.at(delta)))
    return hunt


def stride(points: Points, gradient: Tensor, share: float | Tensor) -> Tensor:
    """A step of a share of the budget, (m, d): a scalar share, or one a row as (m, 1).

    l0 moves towards the vertex of ball and box, since its steepest step moves one element only. l1 takes half the
    Euclidean step: the projection keeps few elements of it, and may choose others at the next step.
    """
    if points.norm == "l0":
        return points.vertex(gradient) * share
    if points.norm == "l1":
        share = share / 2
    return norms.steepest(gradient, points.norm) * points.radius[:, None] * share
