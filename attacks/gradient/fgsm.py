"""Fast gradient (sign) method and its iteration.

Goodfellow, Shlens, Szegedy 2015, https://arxiv.org/abs/1412.6572; Kurakin, Goodfellow, Bengio 2017,
https://arxiv.org/abs/1607.02533 (iterated, steps of eps / steps); Tramèr et al. 2018,
https://arxiv.org/abs/1705.07204 (random start).
"""

from __future__ import annotations

from torch import Tensor

from attacks.guard import Guard, Model
from attacks.points import Points
from attacks.search import Hunt, Objective, count, cross_entropy, solo
from attacks.threat import Threat

_STREAM = 1


def fgsm(
    model: Model,
    inputs: Tensor,
    labels: Tensor,
    threat: Threat,
    steps: int = 1,
    restarts: int = 1,
    seed: int = 0,
    batch_size: int | None = None,
) -> Tensor:
    """Go as far along the gradient as ball and box allow.

    With one step from the clean input this is the optimal attack on a linear two-class model, for every norm.

    Args:
        model: see `attacks.search.solo`, as for all further arguments.
        inputs: (n, ...) float.
        labels: (n,) integers.
        threat: any norm.
        steps: gradients; each step spends an equal share of the budget.
        restarts: runs; the first starts at the clean input, later ones at random points.
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


def search(guard: Guard, points: Points, objective: Objective, steps: int = 1, restarts: int = 1) -> Hunt:
    """Run on points none of which is broken; see `fgsm`."""
    hunt = Hunt(points)
    for restart in range(restarts):
        if not len(hunt.points):
            break
        current = hunt.points
        delta = current.sample((_STREAM, restart)) if restart else current.x * 0
        for step in range(steps):
            _, _, gradient = guard.gradient(current.at(delta), objective(current))
            gradient = current.usable(gradient, (_STREAM, restart, step))
            share = current.within(current.eps / steps) if current.norm != "l0" else current
            delta = current.project(delta + share.vertex(gradient))
            keep = hunt.see(delta, guard.scores(current.at(delta)))
            if keep is not None:
                current, delta = hunt.points, delta[keep]
            if not len(current):
                break
    return hunt
