"""Which small groups may not be told, so that nobody is found again in a table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


def lines(codes: Sequence[Ints]) -> list[Ints]:
    """Cells that differ in one attribute alone: their total is a cell of the table without it.

    Args:
        codes: for each attribute, (cells,) the group each cell is of; none for the cells of one attribute.

    Returns:
        For each attribute, (cells,) the line of each cell.
    """
    if len(codes) < 2:
        return [np.zeros(len(codes[0]), dtype=np.int64)]
    others = [np.stack([code for j, code in enumerate(codes) if j != i]) for i in range(len(codes))]
    return [np.unique(rest, axis=1, return_inverse=True)[1].reshape(-1).astype(np.int64) for rest in others]


def hidden(
    sizes: Ints, along: Sequence[Ints], least: int, already: NDArray[np.bool_] | None = None
) -> NDArray[np.bool_]:
    """Cells of a table that may not be told, given that the totals of its lines are known; linear in the cells.

    Every cell with fewer than `least` rows is hidden. One hidden cell in a line could be worked out from the line's total,
    and several that have fewer than `least` rows together are as good as one, so that the smallest others go with them
    (complementary suppression; Willenborg and de Waal 2001, chapter 6).

    Args:
        sizes: (cells,) rows of each cell.
        along: for each attribute, (cells,) the line of each cell; see `lines`.
        least: rows below which nobody may tell how many a cell has.
        already: (cells,) which are hidden for other reasons; they stay so.

    Returns:
        (cells,) which are hidden.
    """
    found = np.asarray((sizes > 0) & (sizes < least))
    if already is not None:
        found |= already
    changed = bool(found.any())
    while changed:
        changed = False
        for line in along:
            more = _complement(line, sizes, found, least)
            found[more] = True
            changed |= bool(len(more))
    return found


def _complement(line: Ints, sizes: Ints, found: NDArray[np.bool_], least: int) -> Ints:
    """The smallest shown cell of each line whose hidden rows would follow from its total, or be too few together."""
    number = np.bincount(line[found], minlength=int(line.max()) + 1)
    together = np.bincount(line[found], sizes[found], minlength=len(number))
    open_ = (number > 0) & ((number < 2) | (together < least))
    able = np.flatnonzero(~found & (sizes > 0) & open_[line])
    ranked = able[np.lexsort((able, sizes[able], line[able]))]
    return ranked[np.unique(line[ranked], return_index=True)[1]]
