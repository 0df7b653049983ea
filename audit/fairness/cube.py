"""Counts by group, true class and predicted class; every group rate, disparity and test is read off them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from audit.errors import DataError, nearest
from audit.fairness import inference, rates
from audit.fairness.grouping import class_codes, class_values, group_codes
from audit.fairness.inference import Decision
from audit.fairness.rates import Proportions
from audit.statistics import LEVEL
from reports.record import Estimate


@dataclass(frozen=True, eq=False)
class Cube:
    """Weighted counts (groups, true classes, predicted classes).

    Attributes:
        groups: keys, in the order of the first axis; tuples where several attributes were given.
        classes: class values, in the order of the other axes.
        counts: (g, k, k) sums of weights.
        squares: (g, k, k) sums of squared weights, for the effective sample size.
        rows: (g, k, k) numbers of rows, unweighted.
        positive: index of the class that rates call positive.
        attributes: names of the parts of a tuple key; empty where keys are single values.
        moments: (g, k * k, k * k) sums over clusters of v v', where v is a cluster's (k * k,) weighted cell totals
            within the group; None where rows are independent.
        clusters: (g,) clusters with rows in the group, or None.
        crossing: clusters with rows in more than one group, or None.
    """

    groups: tuple[Hashable, ...]
    classes: tuple[Any, ...]
    counts: NDArray[np.float64]
    squares: NDArray[np.float64]
    rows: NDArray[np.int64]
    positive: int
    attributes: tuple[str, ...] = ()
    moments: NDArray[np.float64] | None = None
    clusters: NDArray[np.int64] | None = None
    crossing: int | None = None

    @classmethod
    def count(
        cls,
        y_true: ArrayLike,
        y_pred: ArrayLike,
        groups: Any,
        weights: ArrayLike | None = None,
        classes: Sequence[Any] | None = None,
        positive: Any = None,
    ) -> Cube:
        """Count rows.

        Args:
            y_true: (n,) true classes.
            y_pred: (n,) predicted classes, not scores.
            groups: (n,) group values, or a mapping or DataFrame of several such columns (keys become tuples). Values
                keep their type; missing ones (None, NaN) are a group of their own, None; a categorical column's
                categories without rows appear too.
            weights: (n,) relative weights >= 0; ten times all of them changes nothing.
            classes: class values; found from the labels where left out.
            positive: the class that rates call positive; the last one where left out.

        Raises:
            DataError: lengths differ, or a label, prediction or weight is out of its range; the message names it.
        """
        true, predicted = np.asarray(y_true), np.asarray(y_pred)
        n = len(true)
        if len(predicted) != n:
            raise DataError(f"Expected y_true and y_pred of one length, found {n} and {len(predicted)}.")
        if n == 0:
            raise DataError("Expected at least one row, found none.")
        known = tuple(classes) if classes is not None else class_values(np.concatenate([true, predicted]))
        t, p = class_codes(true, known, "y_true"), class_codes(predicted, known, "y_pred")
        if positive is None:
            positive = known[-1]
        elif positive not in known:
            raise DataError(
                f"Expected positive to be a class, found {positive!r}{nearest(str(positive), map(str, known))}"
            )
        keys, g = group_codes(groups, n)
        w = np.ones(n) if weights is None else np.asarray(weights, dtype=np.float64)
        if w.shape != (n,) or not np.isfinite(w).all() or (w < 0).any() or w.sum() == 0:
            raise DataError(f"Expected weights: {n} finite numbers >= 0 that are not all 0, found {_describe(w)}.")
        k = len(known)
        cell = (g * k + t) * k + p
        shape = (len(keys), k, k)
        size = len(keys) * k * k
        return cls(
            groups=keys,
            classes=known,
            counts=np.bincount(cell, w, size).astype(np.float64).reshape(shape),
            squares=np.bincount(cell, w * w, size).astype(np.float64).reshape(shape),
            rows=np.bincount(cell, minlength=size).astype(np.int64).reshape(shape),
            positive=known.index(positive),
            attributes=tuple(map(str, groups)) if isinstance(groups, Mapping | pd.DataFrame) else (),
        )

    def rate(self, name: str) -> dict[Hashable, Estimate]:
        """A rate of each group with its Wilson interval on Kish's effective n; 0/0 is undefined.

        Args:
            name: one of `RATES`, or "accuracy".

        Raises:
            DataError: the rate is unknown.
        """
        return inference.rate(self, name)

    def disparity(
        self,
        name: str,
        kind: Literal["difference", "ratio"] = "difference",
        reference: Hashable | None = None,
        alpha: float = 1 - LEVEL,
    ) -> Estimate:
        """The largest difference, or the smallest ratio, between groups.

        The interval holds for all comparisons at once, so that the largest of many chance differences is not taken
        for bias: pairs by Tukey's range, or every group against `reference` by Sidak.

        Args:
            name: one of `RATES`, or "accuracy".
            kind: "difference" (largest absolute) or "ratio" (smallest, at most 1).
            reference: compare with this group only; None: all pairs.
            alpha: one minus the simultaneous level.

        Raises:
            DataError: the rate, the kind or the reference is unknown.
        """
        return inference.disparity(self, name, kind, reference, alpha)

    def test(self, name: str, margin: float = 0.1, alpha: float = 0.05) -> Decision:
        """Is the largest difference over all groups beyond the margin?

        FAIL where the simultaneous interval lies above `margin`, PASS where it lies within, INSUFFICIENT otherwise, and
        where a declared group has no rows.

        Args:
            name: one of `RATES`, or "accuracy".
            margin: largest difference that is tolerated.
            alpha: family-wise error over all groups.
        """
        return inference.test(self, name, margin, alpha)

    def proportions(self, name: str) -> Proportions:
        """A rate of every group as hits over total.

        Raises:
            DataError: the rate is unknown, or is not one proportion (balanced accuracy).
        """
        parts = rates.parts(self, name)
        if name in (rates.BALANCED, rates.F1):
            raise DataError(f"Expected a rate that is one proportion, found {name!r}; try rates.parts.")
        return rates.proportions(self, parts[0])


def _describe(weights: NDArray[np.float64]) -> str:
    if weights.ndim != 1:
        return f"an array of shape {weights.shape}"
    return f"{len(weights)} from {np.min(weights, initial=np.inf):g} to {np.max(weights, initial=-np.inf):g}"
