"""Square attack: random search with score queries only.

Andriushchenko, Croce, Flammarion, Hein 2020, https://arxiv.org/abs/1912.00049, algorithms 1 and 2 (linf). For the other
norms the window is painted the same way and the exact projection onto ball and box takes the mass from elsewhere,
which stands in for the paper's window pairs of algorithm 3. Inputs without two spatial axes use random elements in
place of squares.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from attacks import noise, norms
from attacks.guard import Guard, Model
from attacks.points import Points
from attacks.search import Hunt, count, solo
from attacks.threat import Threat

_STREAM = 4
#: share of elements repainted at first, and the iterations of 10 000 at which it halves (section 3.4)
_SHARE, _HALVINGS = 0.8, (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)


def square(
    model: Model,
    inputs: Tensor,
    labels: Tensor,
    threat: Threat,
    steps: int = 1000,
    restarts: int = 1,
    seed: int = 0,
    batch_size: int | None = None,
) -> Tensor:
    """Repaint random squares at full strength and keep what raises the margin.

    Args:
        model: see `attacks.search.solo`, as for all further arguments; gradients are never asked for.
        inputs: (n, ...) float.
        labels: (n,) integers.
        threat: any norm.
        steps: queries a run.
        restarts: runs.
        seed: of the squares.
        batch_size: most examples in one call.

    Returns:
        (n, ...) in ball and box: the first success of a point, else its strongest attempt.

    Raises:
        TypeError: an argument is of the wrong type.
        ValueError: an argument is out of its range, or the model's scores are not finite on the inputs.
    """
    count("steps", steps), count("restarts", restarts)
    shape = tuple(inputs.shape[1:])
    return solo(
        lambda guard, points: search(guard, points, shape, steps, restarts),
        model, inputs, labels, threat, seed, batch_size,
    )  # fmt: skip


def search(guard: Guard, points: Points, shape: tuple[int, ...], steps: int, restarts: int = 1) -> Hunt:
    """Run on points none of which is broken; see `square`."""
    hunt = Hunt(points)
    for restart in range(restarts):
        current = hunt.points
        if not len(current):
            break
        delta = _start(current, shape, (_STREAM, restart, 0))
        best = torch.full_like(current.x[:, 0], -torch.inf)
        candidate = delta
        for step in range(steps):
            if step:
                candidate = _repaint(current, delta, shape, share(step, steps), (_STREAM, restart, step))
            scores = guard.scores(current.at(candidate))
            loss = current.margin(scores)
            better = loss > best
            best = torch.where(better, loss, best)
            delta = torch.where(better[:, None], candidate, delta)
            keep = hunt.see(candidate, scores)
            if keep is not None:
                current, delta, best = hunt.points, delta[keep], best[keep]
            if not len(current):
                break
    return hunt


def share(step: int, steps: int) -> float:
    """Share of elements to repaint at a step: the paper's schedule, stretched to `steps`."""
    return float(_SHARE / 2 ** sum(step / steps * 10_000 > mark for mark in _HALVINGS))


def _paint(points: Points, signs: Tensor, elements: int) -> Tensor:
    """All elements moved by their sign at the strength that fits `elements` of them into the ball."""
    reach = torch.where(signs > 0, points.up, points.down)
    if points.norm == "l0":
        return reach
    fit = {"linf": 1.0, "l2": math.sqrt(elements), "l1": float(elements)}[points.norm]
    wish = signs * points.radius[:, None] / fit
    return torch.where(wish > 0, wish.minimum(reach), wish.maximum(reach))


def _signs(points: Points, stream: noise.Stream, count: int) -> Tensor:
    return 2.0 * (noise.uniform(points.key, stream, count, points.x.dtype) > 0.5) - 1


def _spatial(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """(channels, height, width) of one input; a table's columns, or a series' steps, are one channel of height 1."""
    return (math.prod(shape[:-2]), shape[-2], shape[-1]) if len(shape) >= 2 else (1, 1, shape[0])


def _start(points: Points, shape: tuple[int, ...], stream: noise.Stream) -> Tensor:
    """Vertical stripes one element wide (section 3.2); random elements for l0, which cannot pay for stripes."""
    if points.norm == "l0":
        return points.sample(stream)
    channels, height, width = _spatial(shape)
    signs = _signs(points, stream, channels * width).view(-1, channels, 1, width).expand(-1, -1, height, -1)
    return points.project(_paint(points, signs.reshape(len(points), -1), channels * height * width))


def _repaint(points: Points, delta: Tensor, shape: tuple[int, ...], part: float, stream: noise.Stream) -> Tensor:
    if points.norm == "l0":
        return _swap(points, delta, part, stream)
    channels, height, width = _spatial(shape)
    if min(height, width) == 1:
        elements = max(round(part * delta.shape[1]), 1)
        order = noise.uniform(points.key, (*stream, 0), delta.shape[1], delta.dtype).argsort(dim=1)
        window = torch.zeros_like(delta, dtype=torch.bool).scatter(1, order[:, :elements], True)
        signs = _signs(points, (*stream, 1), delta.shape[1])
        return points.project(torch.where(window, _paint(points, signs, elements), delta))
    side = min(max(round(math.sqrt(part * height * width)), 1), height, width)
    top = noise.integers(points.key, (*stream, 0), 1, height - side + 1)
    left = noise.integers(points.key, (*stream, 2), 1, width - side + 1)
    row, column = (torch.arange(n, device=delta.device) for n in (height, width))
    inside = ((row >= top) & (row < top + side))[:, :, None] & ((column >= left) & (column < left + side))[:, None]
    window = inside[:, None].expand(-1, channels, -1, -1).reshape(len(delta), -1)
    signs = _signs(points, (*stream, 1), channels)[:, :, None].expand(-1, -1, height * width).reshape(len(delta), -1)
    return points.project(torch.where(window, _paint(points, signs, channels * side * side), delta))


def _swap(points: Points, delta: Tensor, part: float, stream: noise.Stream) -> Tensor:
    """l0: a share of the moved elements makes room for random others (Sparse-RS, https://arxiv.org/abs/2006.12834)."""
    drop, lot = noise.uniform(points.key, stream, 2 * delta.shape[1], delta.dtype).chunk(2, dim=1)
    kept = (delta != 0) & (drop > part)
    chosen = norms.largest(torch.where(kept, 2, lot), points.radius)
    painted = _paint(points, _signs(points, (*stream, 1), delta.shape[1]), 1)
    return torch.where(chosen, torch.where(kept, delta, painted), 0)
