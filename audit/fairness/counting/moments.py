"""Second moments of cluster totals, from which a clustered rate's variance follows."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from audit.errors import DataError
from audit.fairness.counting.grouping import join

#: numbers kept: one gibibyte
MOST = 1 << 27
#: numbers of cluster totals held at a time
HELD = 1 << 22


class Moments(NamedTuple):
    """Clusters of a cube, see `Cube`."""

    moments: NDArray[np.float64]
    clusters: NDArray[np.int64]
    crossing: int


def moments(
    cluster: NDArray[np.int64],
    group: NDArray[np.int64],
    cell: NDArray[np.int64],
    weight: NDArray[np.float64],
    groups: int,
    cells: int,
) -> Moments:
    """Sums of v v' over the clusters of each group, v a cluster's weighted totals of the group's cells.

    A cluster whose rows fall in several groups counts in each with its rows there; `crossing` says how many do, for
    rates of different groups are then not independent.

    Args:
        cluster: (m,) cluster numbers of m sums.
        group: (m,) their groups.
        cell: (m,) their cells.
        weight: (m,) their weighted counts; those of 0 are left out.
        groups: number of groups g.
        cells: number of cells c of a group.

    Returns:
        moments (g, c, c), clusters (g,), crossing.

    Raises:
        DataError: the moments would not fit in memory.
    """
    if groups * cells**2 > MOST:
        raise DataError(
            f"Expected at most {MOST:,} second moments, found {groups:,} groups x {cells:,} x {cells:,} cells; "
            "try clusters with fewer groups, or with one class against the rest."
        )
    there = weight > 0
    cluster, group, cell, weight = cluster[there], group[there], cell[there], weight[there]
    pair, stands = join([(group, groups), (cluster, int(cluster.max()) + 1)])
    order = np.argsort(stands[0], kind="stable")
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    pair, of = rank[pair], stands[0, order]
    by_pair = np.argsort(pair, kind="stable")
    pair, cell, weight = pair[by_pair], cell[by_pair], weight[by_pair]
    out = np.zeros((groups, cells, cells))
    step = max(1, HELD // cells)
    for start in range(0, len(of), step):
        stop = min(start + step, len(of))
        low, high = np.searchsorted(pair, [start, stop])
        at = (pair[low:high] - start) * cells + cell[low:high]
        totals = np.bincount(at, weight[low:high], (stop - start) * cells).reshape(-1, cells)
        here, begins = np.unique(of[start:stop], return_index=True)
        for g, a, b in zip(here, begins, [*begins[1:], stop - start], strict=True):
            out[g] += totals[a:b].T @ totals[a:b]
    return Moments(
        out,
        np.bincount(of, minlength=groups).astype(np.int64),
        int((np.bincount(stands[1]) > 1).sum()),
    )
