"""Where decision-based attacks begin: a random input the model gets wrong, drawn near the boundary."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from attacks import noise
from attacks.guard import Guard
from attacks.points import Points

#: from shares (m, 1) of the way to perturbations (m, d)
Path: TypeAlias = Callable[[Tensor], Tensor]

_DRAWS = 100
_BISECTIONS = 16


def find(guard: Guard, points: Points, stream: noise.Stream) -> tuple[Tensor, Tensor]:
    """A success on the way to random noise, (m, d), and which rows have one, bool (m,); the last draw where none.

    The noise is uniform over the box; where the box has no end it widens from draw to draw.
    """
    delta = torch.zeros_like(points.x)
    found = torch.zeros_like(points.label, dtype=torch.bool)
    unit = points.x.abs().amax(1, keepdim=True).clamp(min=1)
    for draw in range(_DRAWS):
        rows = (~found).nonzero()[:, 0]
        if not len(rows):
            break
        here = points.take(rows)
        reach = unit[rows] * 1.1**draw
        low, high = torch.maximum(here.down, -reach), torch.minimum(here.up, reach)
        if bool(points.down.isfinite().all() & points.up.isfinite().all()):
            low, high = here.down, here.up
        share = noise.uniform(here.key, (*stream, draw), delta.shape[1], delta.dtype)
        delta[rows] = low + share * (high - low)
        found[rows] = here.broken(guard.scores(here.at(delta[rows])))
    far = delta
    return bisect(guard, points, found, lambda share: share * far), found


def bisect(guard: Guard, points: Points, rows: Tensor, path: Path) -> Tensor:
    """The nearest success, (m, d), on a path from no perturbation (share 0) to one that breaks (share 1).

    Args:
        guard: around the model.
        points: all rows.
        rows: those whose path ends in a success, bool (m,); others keep their end.
        path: from shares (m, 1) to perturbations (m, d).
    """
    low, high = torch.zeros_like(points.x[:, :1]), torch.ones_like(points.x[:, :1])
    for _ in range(_BISECTIONS if bool(rows.any()) else 0):
        middle = (low + high) / 2
        broken = points.broken(guard.scores(points.at(path(middle))))[:, None]
        low, high = torch.where(broken, low, middle), torch.where(broken, middle, high)
    return path(torch.where(rows[:, None], high, 1.0))
