"""Auto-PGD aimed at one wrong class after another, the nearest first.

Croce and Hein 2020, https://arxiv.org/abs/2003.01690, section 4 (targeted DLR); the order by linear distance is that of
MALT, Melamed et al. 2024, https://arxiv.org/abs/2407.02240.
"""

from __future__ import annotations

import torch

from attacks.gradient import apgd
from attacks.guard import Guard
from attacks.points import Points
from attacks.search import Hunt, cross_entropy, dlr, lead


def search(guard: Guard, points: Points, targets: int, steps: int) -> Hunt:
    """Run on points none of which is broken: `steps` gradients for each of `targets` classes.

    With two classes there is one target and its margin is the loss tried before, so the start is random. A threat's own
    goal must beat every class at once: there the loss is the sharp cross-entropy, which is smooth where rivals tie.
    """
    hunt = Hunt(rank(guard, points, targets))
    objective = dlr if points.goal is None else cross_entropy
    for index in range(_aims(hunt.points).shape[1]):
        if not len(hunt.points):
            break
        hunt.points = hunt.points.aiming(_aims(hunt.points)[:, index])
        apgd.climb(guard, hunt, objective, steps, restart=int(points.scores.shape[1] == 2))
    return hunt


def rank(guard: Guard, points: Points, targets: int) -> Points:
    """The points with their most promising classes in `aims`, (m, targets) or fewer.

    Of the likeliest wrong classes, twice as many as asked for, those come first whose lead is largest at the far end
    of ball and box, if scores were linear: one gradient each.
    """
    if points.goal is not None:
        return points.towards(points.goal[:, None])
    wrong = points.scores.scatter(1, points.label[:, None], -torch.inf)
    likely = wrong.topk(min(2 * targets, wrong.shape[1] - 1), dim=1).indices
    if likely.shape[1] == 1:
        return points.towards(likely)
    promise = torch.empty_like(likely, dtype=points.x.dtype)
    for index in range(likely.shape[1]):
        aimed = points.aiming(likely[:, index])
        _, loss, gradient = guard.gradient(points.x, lead(aimed))
        promise[:, index] = loss + (gradient * points.vertex(gradient)).sum(1)
    return points.towards(likely.gather(1, promise.topk(min(targets, likely.shape[1]), dim=1).indices))


def _aims(points: Points) -> torch.Tensor:
    assert points.aims is not None
    return points.aims
