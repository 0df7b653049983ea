"""Which small groups may not be told, so that nobody is found again in a table."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def hidden(sizes: NDArray[np.int64], least: int) -> NDArray[np.bool_]:
    """Cells of a table that are joined to one another, given that the totals of its lines are known.

    Every cell of fewer than `least` rows is hidden. One hidden cell in a line could be worked out from the line's total,
    so that the smallest other one goes with it (complementary suppression; Willenborg and de Waal 2001, chapter 6), until
    no line hides exactly one; and what is hidden is never fewer than `least` rows together.

    Args:
        sizes: rows of each cell, one axis an attribute.
        least: rows below which nobody may tell how many a cell has.

    Returns:
        A mask of the shape of `sizes`.
    """
    if sizes.ndim == 1:  # a line is then the whole table, which has an axis to stand on
        return hidden(sizes[None], least)[0]
    found: NDArray[np.bool_] = (sizes > 0) & (sizes < least)
    while True:
        before = int(found.sum())
        for axis in range(sizes.ndim):
            _widen(np.moveaxis(sizes, axis, -1), np.moveaxis(found, axis, -1))
        if 0 < sizes[found].sum() < least and (sizes[~found] > 0).any():
            found.flat[int(_smallest(sizes.ravel(), found.ravel()))] = True
        if int(found.sum()) == before:
            return found


def _widen(sizes: NDArray[np.int64], found: NDArray[np.bool_]) -> None:
    """Hide a second cell in every line, along the last axis, that hides one; `found` is changed in place."""
    alone = (found.sum(-1) == 1) & ((sizes > 0) & ~found).any(-1)
    second = _smallest(sizes, found)
    at: Any = np.nonzero(alone)
    found[(*at, second[at])] = True


def _smallest(sizes: NDArray[np.int64], found: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The smallest cell with rows that is not hidden, along the last axis."""
    kept = (sizes > 0) & ~found
    return np.asarray(np.where(kept, sizes, np.iinfo(np.int64).max).argmin(-1))
