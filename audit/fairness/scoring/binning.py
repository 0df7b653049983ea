"""Where the bins of a score histogram begin, and which bin a score falls in."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: rows looked at to place the bins
SAMPLE = 1 << 17
#: bins of one histogram, and cells (group, class, bin) of all groups together, where the caller asks for no number
BINS, LEAST, CELLS = 1 << 14, 64, 1 << 22


def default(groups: int) -> int:
    """Bins that keep the histogram of many groups in bounded memory."""
    return max(LEAST, min(BINS, CELLS // (2 * max(groups, 1))))


def edges(scores: Floats, bins: int, marks: Floats) -> Floats:
    """Lower ends of bins that hold about as many scores each; a value heavier than a bin has one to itself.

    Where the scores take at most `bins` values, each is a lower end, so that every bin holds one value.

    Args:
        scores: (n,) finite scores; at most `SAMPLE` of them, evenly spaced, are looked at.
        bins: bins wanted.
        marks: thresholds that must be lower ends, whatever the scores; so is the next number above each, so that
            rows at the threshold are told from rows above it.
    """
    seen = scores[:: -(-len(scores) // SAMPLE)].astype(np.float64)
    values, copies = np.unique(seen, return_counts=True)
    if len(values) > bins:
        step = len(seen) / bins
        cell = ((np.cumsum(copies) - copies) / step).astype(np.int64)
        heavy = copies > step
        first = np.r_[True, cell[1:] != cell[:-1]]
        values = values[first | heavy | np.r_[False, heavy[:-1]]]
    return np.unique(np.concatenate([values, marks, np.nextafter(marks, np.inf)]))


def place(scores: Floats, ends: Floats) -> NDArray[np.int64]:
    """(n,) bin of each score: 0 below the first lower end, then i where ends[i - 1] <= score < ends[i]."""
    return np.searchsorted(ends, scores, side="right")


def astray(scores: Floats, ends: Floats, bin_of: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(n,) scores that are not the lower end of their bin: where there are none, the bin holds one value only."""
    return np.asarray(ends[np.maximum(bin_of - 1, 0)] != scores)


def coarse(mass: Floats, cells: int) -> NDArray[np.int64]:
    """(bins,) the cell of each bin when neighbours are joined to at most `cells` of about equal mass.

    Args:
        mass: (bins,) mass of each bin, not all 0; a bin is never split.
        cells: cells wanted.
    """
    middle = np.cumsum(mass) - mass / 2
    return np.asarray(np.minimum((middle / mass.sum() * cells).astype(np.int64), cells - 1), dtype=np.int64)
