"""Rows into a histogram of scores: what falls where, block by block, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from audit.errors import DataError, nearest
from audit.fairness.counting.classes import Classes
from audit.fairness.counting.columns import numbers
from audit.fairness.counting.encoding import Column, column
from audit.fairness.counting.reshaping import REST
from audit.fairness.scoring import binning

Floats = NDArray[np.float64]

#: rows binned at a time, and blocks at work at once
BLOCK, WORKERS = 1 << 20, 2


def histogram(
    values: NDArray[Any], cell: NDArray[np.int64], w: Floats | None, ends: Floats, cells: int
) -> tuple[dict[str, NDArray[Any]], Floats]:
    """Sums of every (cell, bin), flat; and some of the scores that are no lower end.

    Args:
        values: (n,) scores.
        cell: (n,) group and true class.
        w: (n,) weights, or None.
        ends: lower ends of the bins.
        cells: how many values `cell` may have.
    """
    bins = len(ends) + 1

    def block(start: int) -> tuple[dict[str, NDArray[Any]], Floats]:
        rows = slice(start, start + BLOCK)
        x, c, v = values[rows].astype(np.float64), cell[rows], None if w is None else w[rows]
        bin_of = binning.place(x, ends)
        off = binning.astray(x, ends, bin_of)
        flat = c * bins + bin_of
        weighted = x if v is None else x * v
        out = {
            "rows": np.bincount(flat, minlength=cells * bins),
            "sums": np.bincount(flat, weighted, cells * bins),
            "quadratic": np.bincount(c, weighted * x, cells),
            "astray": np.bincount(bin_of, off, bins),
        }
        if v is not None:
            out |= {
                "counts": np.bincount(flat, v, cells * bins),
                "squares": np.bincount(flat, v * v, cells * bins),
            }
        return out, np.unique(x[off][: binning.BINS])

    total: dict[str, NDArray[Any]] = {}
    missed = np.empty(0)
    starts = range(0, len(values), BLOCK)
    with ThreadPoolExecutor(WORKERS) as pool:
        # a few blocks in memory at once, added in their order, so that the sums have the same bits whoever is faster
        for wave in range(0, len(starts), WORKERS):
            for part, others in pool.map(block, starts[wave : wave + WORKERS]):
                total = part if not total else {name: total[name] + part[name] for name in part}
                missed = np.union1d(missed, others) if len(missed) <= binning.BINS else missed
    return total, missed


def positives(
    true: NDArray[Any], positive: Any, classes: Sequence[Any] | None
) -> tuple[tuple[Any, Any], NDArray[np.int64]]:
    """The negative and the positive class, and which of the two each row is of, 0 or 1.

    Raises:
        DataError: the classes are not two, or positive is none of them.
    """
    part = column(true, "y_true").block(0, len(true))
    registered = Classes(classes)
    registered.check(part, "y_true", 0)
    occurs = np.bincount(part.code, minlength=len(part.values)) > 0
    registered.numbers(value for value, there in zip(part.values, occurs, strict=True) if there)
    known = registered.values()
    if positive is None:
        if len(known) > 2:
            raise DataError(f"Expected two classes in y_true, found {len(known)}; try positive=, one against the rest.")
        if len(known) == 1:
            if known[0] not in (0, 1):
                raise DataError(f"Expected two classes in y_true, found {known[0]!r} only; try naming them in classes.")
            known = (0, 1)
        positive = known[-1]
    elif positive not in known and (len(known) > 1 or classes is not None):
        raise DataError(f"Expected positive to be a class, found {positive!r}{nearest(str(positive), map(str, known))}")
    others = [value for value in known if value != positive]
    hit = np.array([value == positive for value in part.values], dtype=np.int64)
    return (others[0] if len(others) == 1 else REST, positive), hit[part.code]


def refuse_labels(ends: Floats, loose: NDArray[np.bool_], rows: NDArray[np.int64]) -> None:
    """Refuse predicted classes where scores are expected.

    Args:
        ends: lower ends of the bins.
        loose: (bins,) whether the bin holds a score other than its lower end.
        rows: (bins,) rows of each.

    Raises:
        DataError: there is no value but 0 and 1, and at least two rows.
    """
    seen = np.flatnonzero(rows)
    if rows.sum() > 1 and not loose[seen].any() and np.isin(ends[seen - 1], (0, 1)).all():
        raise DataError(
            "Expected scores, found only 0 and 1, which are labels; try the probabilities, or Cube.count for predictions."
        )


def checked_edges(bins: Any) -> Floats:
    """Lower ends that were given.

    Raises:
        DataError: they do not ascend.
    """
    ends = numbers(bins, "bins").astype(np.float64)
    if (np.diff(ends) <= 0).any():
        raise DataError("Expected bins as a number, or as ascending lower ends, found ends that do not ascend.")
    return ends


def as_given(found: Column) -> Any:
    """What the column was made of, so that integers beside missing values stay integers."""
    if found.declared is None:
        return found.data
    return pd.Categorical.from_codes(found.data, dtype=pd.CategoricalDtype(list(found.declared)))
