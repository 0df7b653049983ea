"""HopSkipJump: gradient directions estimated at the boundary from decisions alone.

Chen, Jordan, Wainwright 2020, https://arxiv.org/abs/1904.02144, algorithm 2.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from attacks import noise, norms, search
from attacks.guard import Guard, Model
from attacks.points import Points
from attacks.query import start
from attacks.threat import Threat

_STREAM = 9
_QUERIES = 100  # B_0: decisions of the first estimate
_BLOCK = 25  # directions in one pass; fixed, so that sums do not depend on the batch
_HALVINGS = 16


def hop_skip_jump(
    model: Model,
    inputs: Tensor,
    labels: Tensor,
    threat: Threat,
    steps: int = 30,
    restarts: int = 1,
    seed: int = 0,
    batch_size: int | None = None,
) -> Tensor:
    """Walk along the boundary towards the clean input, seeing only which class wins.

    Args:
        model: see `attacks.search.solo`, as for all further arguments; gradients are never asked for.
        inputs: (n, ...) float.
        labels: (n,) integers.
        threat: norm l2 or linf.
        steps: moves a run; the t-th costs about 100 sqrt(t) + 30 queries.
        restarts: runs, from one random start each.
        seed: of the starts and directions.
        batch_size: most examples in one call.

    Returns:
        (n, ...) in ball and box: the smallest success where it fits, else the attempt drawn inside.

    Raises:
        TypeError: an argument is of the wrong type.
        ValueError: an argument is out of its range, or the model's scores are not finite on the inputs.
    """
    search.count("steps", steps), search.count("restarts", restarts)
    search.knows("hop_skip_jump", threat, ("l2", "linf"))
    return search.solo(
        lambda guard, points: walk(guard, points, steps, restarts),
        model, inputs, labels, threat, seed, batch_size,
    )  # fmt: skip


def walk(guard: Guard, points: Points, steps: int, restarts: int = 1) -> search.Hunt:
    """Run on points none of which is broken; see `hop_skip_jump`."""
    return search.smallest(lambda guard, points, _, restart: _run(guard, points, steps, restart), restarts, _STREAM)(
        guard, points
    )


def _run(guard: Guard, points: Points, steps: int, restart: int) -> tuple[Tensor, Tensor]:
    delta, found = start.find(guard, points, (_STREAM, restart, 0))
    sizes = torch.where(found, norms.size(delta, points.norm), torch.inf)
    rows = found.nonzero()[:, 0]
    if not len(rows):
        return delta, sizes
    points, near = points.take(rows), delta[rows]
    for step in range(1, steps + 1):
        size = norms.size(near, points.norm)
        direction = _estimate(guard, points, near, size, step, (_STREAM, restart, step))
        far, moved = _leap(guard, points, near, direction, (size / math.sqrt(step)).to(near.dtype))
        closer = start.bisect(guard, points, moved, _path(points, far))
        better = moved & (norms.size(closer, points.norm) < size)
        near = torch.where(better[:, None], closer, near)
    delta[rows], sizes[rows] = near, norms.size(near, points.norm)
    return delta, sizes


def _estimate(guard: Guard, points: Points, near: Tensor, size: Tensor, step: int, stream: noise.Stream) -> Tensor:
    """The step along the estimated gradient direction at the boundary, of length 1 in the norm (equations 12, 16)."""
    free = points.up > points.down
    count = free.sum(1).clamp(min=1).double()
    # delta_t of section III-C.2; the widest box stands for it at first
    theta = count**-1.5 if points.norm == "l2" else count**-2
    wide = (count.sqrt() if points.norm == "l2" else count) * theta * size
    radius = wide.clamp(min=float(torch.finfo(points.raw.dtype).eps)).to(near.dtype)[:, None]
    votes, plain, hits = torch.zeros_like(near), torch.zeros_like(near), torch.zeros_like(near[:, :1])
    blocks = math.ceil(_QUERIES * math.sqrt(step) / _BLOCK)
    for block in range(blocks):
        shape = (len(near), _BLOCK, near.shape[1])
        draw = noise.normal if points.norm == "l2" else noise.uniform
        wish = draw(points.key, (*stream, block), shape[1] * shape[2], near.dtype).view(shape)
        wish = (wish if points.norm == "l2" else 2 * wish - 1) * free[:, None]
        wish = wish / torch.linalg.vector_norm(wish, dim=2, keepdim=True).clamp(min=torch.finfo(near.dtype).tiny)
        tried = (near[:, None] + radius[:, None] * wish).clamp(points.down[:, None], points.up[:, None])
        went = (tried - near[:, None]) / radius[:, None]  # the box may have cut it short
        every = torch.arange(len(near), device=near.device).repeat_interleave(_BLOCK)
        many = points.take(every)
        phi = 2.0 * many.broken(guard.scores(many.at(tried.flatten(0, 1)))).view(-1, _BLOCK, 1) - 1
        votes, plain, hits = votes + (phi * went).sum(1), plain + went.sum(1), hits + phi.sum(1)
    # the mean decision is the baseline that lowers the variance; where all agree, it would cancel everything
    level = hits / (blocks * _BLOCK)
    direction = torch.where(level.abs() == 1, votes, votes - level * plain)
    return norms.steepest(direction, points.norm)


def _leap(guard: Guard, points: Points, near: Tensor, direction: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
    """The point as far along the direction as still breaks, the length halved until then; and whether there is one."""
    done = torch.zeros_like(points.label, dtype=torch.bool)
    far = near
    for _ in range(_HALVINGS):
        rows = (~done).nonzero()[:, 0]
        if not len(rows):
            break
        here = points.take(rows)
        tried = (near[rows] + length[rows, None] * direction[rows]).clamp(here.down, here.up)
        done[rows] = here.broken(guard.scores(here.at(tried)))
        far = far.index_copy(0, rows, tried)
        length = length / 2
    return far, done


def _path(points: Points, far: Tensor) -> start.Path:
    """Towards the clean input: straight for l2; for linf every element to the surface of the cube (equation 8)."""
    if points.norm == "l2":
        return lambda share: share * far
    reach = far.abs().amax(1, keepdim=True)
    return lambda share: torch.maximum(torch.minimum(far, share * reach), -share * reach)
