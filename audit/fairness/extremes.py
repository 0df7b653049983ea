"""The farthest and the closest that group rates can be, over all pairs without looking at every pair."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, sparse

Floats = NDArray[np.float64]
#: pairs of groups that are looked at one by one; beyond, limits are taken group by group, which is wider
PAIRS = 1_000_000


def lift(hits: Floats, total: Floats, extra: float) -> float:
    """How far the lowest rates can be lifted with `extra` hits: the smallest pooled rate of the lowest k groups.

    Lifting every group to t costs sum of (t n - h) / (1 - t) over those below, so t is where that equals `extra`: the
    smallest root over the first k groups in order of their rates.
    """
    order = np.argsort(hits / total, kind="stable")
    return float(((extra + np.cumsum(hits[order])) / (extra + np.cumsum(total[order]))).min(initial=1.0))


def closest(hits: Floats, room: Floats) -> tuple[float, float]:
    """Smallest largest difference and largest smallest ratio of the groups' rates, by two linear programmes.

    Hits x of cell c and group g lie in 0..room and add up to the cell's hits; all rates lie in bottom..top.

    Args:
        hits: (c,) hits of each cell.
        room: (c, g) rows of each group in each cell.
    """
    cells, g = room.shape
    total, free = room.sum(0), cells * g
    if g < 2:
        return 0.0, 1.0
    by_group = sparse.hstack([sparse.eye(g)] * cells)
    by_cell = sparse.kron(sparse.eye(cells), np.ones((1, g)))
    column, none = sparse.csr_matrix(total[:, None]), sparse.csr_matrix((g, 1))
    # bottom * total <= x <= top * total, of variables (x, bottom, top)
    within = sparse.vstack([sparse.hstack([-by_group, column, none]), sparse.hstack([by_group, none, -column])])
    sums = sparse.hstack([by_cell, sparse.csr_matrix((cells, 2))])
    box = [(0.0, float(part)) for part in room.ravel()] + [(0.0, 1.0)] * 2
    cost = np.concatenate([np.zeros(free), [-1.0, 1.0]])
    found = optimize.linprog(cost, within, np.zeros(2 * g), sums, hits, bounds=box, method="highs")
    difference = max(float(found.fun), 0.0)
    if not hits.any():
        return difference, 1.0
    # the ratio is linear once everything is divided by top (Charnes and Cooper 1962): variables (x, bottom, scale)
    within = sparse.vstack(
        [
            sparse.hstack([-by_group, column, none]),
            sparse.hstack([by_group, none, none]),
            sparse.hstack([sparse.eye(free), sparse.csr_matrix((free, 1)), -sparse.csr_matrix(room.reshape(-1, 1))]),
        ]
    )
    sums = sparse.hstack([by_cell, sparse.csr_matrix((cells, 1)), -sparse.csr_matrix(hits[:, None])])
    cost = np.concatenate([np.zeros(free), [-1.0, 0.0]])
    above = np.concatenate([np.zeros(g), total, np.zeros(free)])
    found = optimize.linprog(cost, within, above, sums, np.zeros(cells), bounds=(0, None), method="highs")
    return difference, float(np.clip(-found.fun, 0, 1))


def pairs(first: Floats, second: Floats) -> Floats:
    """The largest first_i - second_j over j other than i, for each i; in linear time."""
    order = np.argsort(second, kind="stable")
    other = np.where(np.arange(len(first)) == order[0], second[order[1]], second[order[0]])
    return np.asarray(first - other)


def farthest(top: Floats, up: Floats, bottom: Floats, down: Floats) -> float:
    """The largest top_i - bottom_j + hypot(up_i, down_j) over pairs (Newcombe's upper limit)."""
    start = int((top + up).argmax())
    rest = np.arange(len(top)) != start
    best = float((top[start] - bottom + np.hypot(up[start], down))[rest].max())
    # no pair beats the best one where even the sum of the two errors falls short of it
    i = np.flatnonzero(pairs(top + up, bottom - down) >= best)
    j = np.flatnonzero(pairs(down - bottom, -(top + up)) >= best)
    if len(i) * len(j) > PAIRS:
        return float(pairs(top + up, bottom - down).max())
    value = top[i, None] - bottom[None, j] + np.hypot(up[i, None], down[None, j])
    return max(best, float(value[i[:, None] != j[None, :]].max(initial=best)))


def nearest(top: Floats, down: Floats, bottom: Floats, up: Floats) -> float:
    """The largest top_i - bottom_j - hypot(down_i, up_j) over pairs (Newcombe's lower limit)."""
    start = int((top - down).argmax())
    rest = np.arange(len(top)) != start
    best = float((top[start] - bottom - np.hypot(down[start], up))[rest].max())
    i = np.flatnonzero(pairs(top, bottom) >= best)
    j = np.flatnonzero(pairs(-bottom, -top) >= best)
    if len(i) * len(j) > PAIRS:
        return best
    value = top[i, None] - bottom[None, j] - np.hypot(down[i, None], up[None, j])
    return max(best, float(value[i[:, None] != j[None, :]].max(initial=best)))
