"""The smallest perturbation that breaks a point.

One jump across the nearest of the linearised boundaries to the likeliest wrong classes, known in closed form for every
norm and inside the box, which on a linear model is the optimum (DeepFool, https://arxiv.org/abs/1511.04599, and FAB,
https://arxiv.org/abs/1907.02044, take the same projections); then a climb inside a shrinking ball (`gradient.fmn`);
then a bisection along the way back to the clean input, which needs no gradient.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from attacks import norms, search
from attacks.gradient import fmn
from attacks.gradient.deepfool import likeliest, nearest
from attacks.guard import Guard, Model
from attacks.points import Points, build, check
from attacks.threat import Norm, Threat

_CLASSES = 9  # wrong classes whose boundary is measured first, as in targeted FAB; at most half of all gradients
_BISECTIONS = 10
_NEARER, _BEYOND = 0.9, (1.001, 1.01)  # bisected between; the far end where rounding undid a success
_STREAM = 5


@dataclass(frozen=True, eq=False)
class Minimal:
    """Smallest perturbations found.

    Attributes:
        adversarial: (n, ...) inputs; the clean one where none was found or none is needed.
        distance: size of the perturbation, (n,) float64; 0 where the model is wrong already, inf where none was found.
        success: bool (n,).
        forwards: examples that entered the model.
        backwards: examples whose gradient was taken.
    """

    adversarial: Tensor
    distance: Tensor
    success: Tensor
    forwards: int
    backwards: int


def minimal(
    model: Model,
    inputs: Tensor,
    labels: Tensor,
    norm: Norm = "l2",
    bounds: tuple[float, float] | tuple[Tensor, Tensor] = (0.0, 1.0),
    steps: int = 40,
    seed: int = 0,
    mutable: Tensor | None = None,
    target: Tensor | int | None = None,
    batch_size: int | None = None,
) -> Minimal:
    """Find each point's smallest adversarial perturbation.

    Args:
        model: callable from a float batch (m, ...) to (m, classes) scores.
        inputs: (n, ...) float, inside the bounds.
        labels: true classes, (n,) integers.
        norm: how size is measured.
        bounds: see `Threat`.
        steps: most gradients for each point.
        seed: of the directions taken where the gradient vanishes.
        mutable: see `Threat`.
        target: see `Threat`.
        batch_size: most examples in one call of the model.

    Raises:
        TypeError: an argument is of the wrong type.
        ValueError: an argument is out of its range, or the model's scores are not finite on the inputs.
    """
    search.count("steps", steps)
    threat = Threat(norm, 0.0, bounds, mutable, target)
    labels = check(inputs, labels, threat, seed)
    with Guard(model, inputs.shape[1:], inputs.dtype, batch_size, seed) as guard, torch.no_grad():
        points = build(guard, inputs, labels, threat, seed)
        moved, distance = shortest(guard, points, steps)
    return Minimal(moved.reshape(inputs.shape), distance, distance.isfinite(), guard.forwards, guard.backwards)


def shortest(guard: Guard, points: Points, steps: int) -> tuple[Tensor, Tensor]:
    """Verified inputs (n, d) and their distances (n,): 0 where broken already, inf where none was found."""
    moved = points.raw.clone()
    done = points.broken(points.scores)
    distance = torch.where(done, 0.0, torch.inf).double()
    standing = (~done).nonzero()[:, 0]
    if len(standing):
        free = points.take(standing)
        free = free.within(torch.full_like(free.eps, torch.inf))
        best, size = _search(guard, free, steps, torch.zeros_like(free.eps))
        placed = free.place(_bisect(guard, free, best, size))
        sizes = norms.size(placed.double() - free.raw.double(), points.norm)
        sound = search.verify(guard, free, placed)
        moved[standing[sound]], distance[standing[sound]] = placed[sound], sizes[sound]
    return moved, distance


def seek(guard: Guard, points: Points, steps: int) -> search.Hunt:
    """The same search within each point's budget, on points none of which is broken: it ends once inside."""
    best, _ = _search(guard, points, steps, points.radius.double())
    return search.settle(guard, points, best)


def _search(guard: Guard, points: Points, steps: int, enough: Tensor) -> tuple[Tensor, Tensor]:
    ranking = likeliest(points, min(_CLASSES, max(steps // 2, 1)))
    start = nearest(guard, points, torch.zeros_like(points.x), ranking, (_STREAM,))
    return fmn.shrink(guard, points, start, steps - (1 if ranking is None else ranking.shape[1]), enough)


def _bisect(guard: Guard, points: Points, best: Tensor, size: Tensor) -> Tensor:
    """The shortest success on the way from the clean input to the best perturbation, forward passes only."""
    if points.norm == "l0":
        return best  # a shorter change of the same elements is no smaller
    rows = size.isfinite().nonzero()[:, 0]
    if not len(rows):
        return best
    points, whole = points.take(rows), best[rows]

    def breaks(share: Tensor) -> Tensor:
        return points.broken(guard.scores(points.place(share * whole).to(whole.dtype)))[:, None]

    low, high = torch.full_like(whole[:, :1], _NEARER), torch.ones_like(whole[:, :1])
    for far in _BEYOND:
        high = torch.where(breaks(high), high, far)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        broken = breaks(middle)
        low, high = torch.where(broken, low, middle), torch.where(broken, middle, high)
    return best.index_copy(0, rows, whole * high)
