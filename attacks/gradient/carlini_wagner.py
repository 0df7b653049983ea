"""Carlini and Wagner's l2 attack: the smallest perturbation by Adam on size plus a constant times the lack of margin.

Carlini and Wagner 2017, https://arxiv.org/abs/1608.04644, sections V and VI (f_6, binary search of the constant). Of
the paper's ways to keep to the box the projection is taken (section V.B, 1), not the change of variables, under which
a pixel at the end of its range cannot move. Size is measured in distances to the linearised boundary and the margin in
shares of the clean margin, so that neither the unit of the inputs nor the scale of the logits matters.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from attacks import norms, search
from attacks.gradient.deepfool import nearest
from attacks.guard import Guard, Model
from attacks.points import Points
from attacks.threat import Threat

_STREAM = 8
_ROUNDS = 5  # values of the constant tried
_CONSTANT = 4.0  # the first; on a linear model 2 is the least that succeeds
_RATE = 0.1  # step of Adam, in shares of the distance to the linearised boundary spread over all elements
_BETA = (0.9, 0.999)


def carlini_wagner(
    model: Model,
    inputs: Tensor,
    labels: Tensor,
    threat: Threat,
    steps: int = 500,
    restarts: int = 1,
    seed: int = 0,
    batch_size: int | None = None,
) -> Tensor:
    """Trade the size of the perturbation against the margin, for several prices of the margin.

    Args:
        model: see `attacks.search.solo`, as for all further arguments.
        inputs: (n, ...) float.
        labels: (n,) integers.
        threat: norm l2.
        steps: gradients a run, shared by up to 5 values of the constant.
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
    search.knows("carlini_wagner", threat, ("l2",))
    return search.solo(
        search.smallest(partial(_run, steps=steps), restarts, _STREAM),
        model, inputs, labels, threat, seed, batch_size,
    )  # fmt: skip


def _run(guard: Guard, points: Points, start: Tensor, restart: int, steps: int) -> tuple[Tensor, Tensor]:
    jump = nearest(guard, points, torch.zeros_like(start), None, (_STREAM, restart))
    # a jump as long as the box is wide says only that the gradient leads nowhere
    unit = norms.length(jump).clamp(min=torch.finfo(jump.dtype).tiny ** 0.5)
    answer, sizes = jump, torch.full_like(points.eps, torch.inf)
    constant = torch.full_like(unit, _CONSTANT)
    low, high = torch.zeros_like(unit), torch.full_like(unit, torch.inf)
    rounds = min(_ROUNDS, max(steps - 1, 1))
    for number in range(rounds):
        stream = (_STREAM, restart, number)
        found, size = _descend(guard, points, start, unit, constant, max((steps - 1) // rounds, 1), stream)
        closer = size < sizes
        answer = torch.where((closer | sizes.isinf())[:, None], found, answer)
        sizes = torch.where(closer, size, sizes)
        hit = size.isfinite()
        low, high = torch.where(hit, low, constant), torch.where(hit, constant, high)
        constant = torch.where(high.isfinite(), (low + high) / 2, 10 * constant)
    return answer, sizes


def _descend(
    guard: Guard, points: Points, start: Tensor, unit: Tensor, constant: Tensor, steps: int, stream: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    """Minimise (|delta| / unit)^2 + constant * lack of margin / clean lack; the smallest success, else the last try."""
    delta, best, sizes = start, start, torch.full_like(points.eps, torch.inf)
    lack = -points.margin(points.scores).clamp(max=-torch.finfo(delta.dtype).tiny)
    free = (points.up > points.down).sum(1).clamp(min=1)
    rate = (_RATE * unit / free.sqrt())[:, None]
    mean = square = torch.zeros_like(delta)
    for step in range(steps):
        scores, loss, gradient = guard.gradient(points.at(delta), search.margin(points))
        best, sizes = _smaller(points, delta, scores, best, sizes)
        gradient = points.usable(gradient, (*stream, step))
        price = torch.where(loss < 0, constant * unit / lack, 0)
        slope = 2 * delta / unit[:, None] - price[:, None] * gradient  # of the objective, times the unit
        mean = _BETA[0] * mean + (1 - _BETA[0]) * slope
        square = _BETA[1] * square + (1 - _BETA[1]) * slope.square()
        first, second = mean / (1 - _BETA[0] ** (step + 1)), square / (1 - _BETA[1] ** (step + 1))
        # a rate that falls to nothing ends the swing about the boundary
        cool = 1 - step / steps
        delta = (delta - cool * rate * first / (second.sqrt() + 1e-8)).clamp(points.down, points.up)
    best, sizes = _smaller(points, delta, guard.scores(points.at(delta)), best, sizes)
    return torch.where(sizes.isfinite()[:, None], best, delta), sizes


def _smaller(points: Points, delta: Tensor, scores: Tensor, best: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor]:
    size = norms.size(delta, points.norm)
    better = points.broken(scores) & (size < sizes)
    return torch.where(better[:, None], delta, best), torch.where(better, size, sizes)
