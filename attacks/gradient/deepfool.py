"""DeepFool: jump to the nearest linearised decision boundary until it is crossed.

Moosavi-Dezfooli, Fawzi, Frossard 2016, https://arxiv.org/abs/1511.04599, algorithm 2 and section 2.3 (any p-norm). The
jump is the smallest inside the box (`norms.cross`); clipping a free jump afterwards would fall short of the boundary.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from attacks import noise, norms, search
from attacks.guard import Guard, Model
from attacks.points import Points
from attacks.threat import Threat

_STREAM = 7
_OVERSHOOT = 0.02  # eta
_NUDGE = 1e-4  # how far behind the boundary to aim, as a share of what is lacking
_CLASSES = 9  # wrong classes whose boundary is measured


def deepfool(
    model: Model,
    inputs: Tensor,
    labels: Tensor,
    threat: Threat,
    steps: int = 50,
    restarts: int = 1,
    seed: int = 0,
    batch_size: int | None = None,
) -> Tensor:
    """Cross the nearest of the linearised boundaries to the likeliest wrong classes.

    Args:
        model: see `attacks.search.solo`, as for all further arguments.
        inputs: (n, ...) float.
        labels: (n,) integers.
        threat: norm linf, l2 or l1.
        steps: most jumps a run; each takes a gradient for each of at most 9 wrong classes.
        restarts: runs; the first starts at the clean input, later ones at random points of ball and box.
        seed: of the random starts.
        batch_size: most examples in one call.

    Returns:
        (n, ...) in ball and box: the smallest success where it fits, else the attempt drawn inside.

    Raises:
        TypeError: an argument is of the wrong type.
        ValueError: an argument is out of its range, or the model's scores are not finite on the inputs.
    """
    search.count("steps", steps), search.count("restarts", restarts)
    search.knows("deepfool", threat, ("linf", "l2", "l1"))
    return search.solo(
        search.smallest(partial(_run, steps=steps), restarts, _STREAM),
        model, inputs, labels, threat, seed, batch_size,
    )  # fmt: skip


def _run(guard: Guard, points: Points, delta: Tensor, restart: int, steps: int) -> tuple[Tensor, Tensor]:
    answer, sizes = delta.clone(), torch.full_like(points.eps, torch.inf)
    rows = torch.arange(len(points), device=delta.device)
    for step in range(steps):
        ranking = likeliest(points, _CLASSES)
        delta = (delta + nearest(guard, points, delta, ranking, (_STREAM, restart, step))).clamp(points.down, points.up)
        beyond = ((1 + _OVERSHOOT) * delta).clamp(points.down, points.up)
        answer[rows] = beyond
        crossed = points.broken(guard.scores(points.at(beyond)))
        sizes[rows[crossed]] = norms.size(beyond[crossed], points.norm)
        rows, delta, points = rows[~crossed], delta[~crossed], points.take(~crossed)
        if not len(rows):
            break
    return answer, sizes


def likeliest(points: Points, classes: int) -> Tensor | None:
    """The wrong classes with the largest clean scores, (m, classes) or fewer; None where a goal leaves no choice."""
    if points.goal is not None:
        return None
    wrong = points.scores.scatter(1, points.label[:, None], -torch.inf)
    return wrong.topk(min(classes, wrong.shape[1] - 1), dim=1).indices


def nearest(guard: Guard, points: Points, delta: Tensor, ranking: Tensor | None, stream: noise.Stream) -> Tensor:
    """The jump from delta just across the nearest of the linearised boundaries, (m, d): one gradient a class.

    Args:
        guard: around the model.
        points: the rows.
        delta: where they are, (m, d).
        ranking: classes whose boundaries to measure, (m, classes); None: the margin's, one gradient.
        stream: of the directions taken where the gradient vanishes.
    """
    down, up = points.down - delta, points.up - delta
    jump, size = torch.zeros_like(delta), torch.full_like(points.eps, torch.inf)
    for rank in range(1 if ranking is None else ranking.shape[1]):
        aimed = points if ranking is None else points.aiming(ranking[:, rank])
        objective = search.margin(aimed) if ranking is None else search.lead(aimed)
        _, loss, gradient = guard.gradient(points.at(delta), objective)
        gradient = points.usable(gradient, (*stream, rank))
        gain = (1 + _NUDGE) * (-loss).clamp(min=0)
        there = norms.cross(gradient, gain, points.norm, down, up)
        sizes = norms.size(there, points.norm)
        # a boundary the box keeps out of reach comes last
        sizes = torch.where((gradient * there).sum(1) < gain * (1 - 1e-3), sizes + 1e6 * (1 + sizes), sizes)
        closer = sizes < size
        jump = torch.where(closer[:, None], there, jump)
        size = torch.where(closer, sizes, size)
    return jump
