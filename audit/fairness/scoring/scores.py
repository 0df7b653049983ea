"""Histograms of scores by group and true class; what scores are worth to each group is read off them."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from audit.errors import DataError
from audit.fairness.counting.columns import names_of, numbers, refuse_identifiers, relative_weights, united
from audit.fairness.counting.cube import Cube
from audit.fairness.counting.grouping import group_codes
from audit.fairness.counting.scanning import batches
from audit.fairness.scoring import binning, histogram, measures
from audit.fairness.scoring.thresholds import AboveMedian, Thresholds, above_median
from audit.statistics import LEVEL
from reports.record import Estimate

Floats = NDArray[np.float64]

#: thresholds at which rows are counted exactly, whatever the bins
HUNDREDTHS = tuple(i / 100 for i in range(1, 100))


@dataclass(frozen=True, eq=False)
class Scores:
    """Weighted counts of scores (groups, negative and positive class, bins).

    Attributes:
        groups: keys, in the order of the first axis; tuples where several attributes were given.
        classes: the negative and the positive class; a score is high where the positive one is expected.
        edges: (bins - 1,) lower ends; bin i holds edges[i - 1] <= score < edges[i], bin 0 what lies below all.
        counts: (g, 2, bins) sums of weights.
        squares: (g, 2, bins) sums of squared weights, for the effective sample size.
        rows: (g, 2, bins) numbers of rows, unweighted.
        sums: (g, 2, bins) weighted sums of scores, so that means do not depend on the bins.
        quadratic: (g, 2) weighted sums of squared scores.
        loose: (bins,) whether the bin holds a score other than its lower end; where none does, nothing is lost.
        least: smallest score.
        most: largest score.
        attributes: names of the parts of a tuple key; empty where keys are single values.
    """

    groups: tuple[Hashable, ...]
    classes: tuple[Any, Any]
    edges: Floats
    counts: Floats
    squares: Floats
    rows: NDArray[np.int64]
    sums: Floats
    quadratic: Floats
    loose: NDArray[np.bool_]
    least: float
    most: float
    attributes: tuple[str, ...] = ()

    @classmethod
    def count(
        cls,
        y_true: ArrayLike,
        score: ArrayLike,
        groups: Any,
        weights: ArrayLike | None = None,
        bins: int | ArrayLike | None = None,
        positive: Any = None,
        classes: Sequence[Any] | None = None,
        thresholds: Sequence[float] = HUNDREDTHS,
    ) -> Scores:
        """Count rows.

        Args:
            y_true: (n,) true classes: two of them, or any number where `positive` is named.
            score: (n,) finite scores, of any range; compared in double precision.
            groups: as `Cube.count` takes them.
            weights: (n,) relative weights >= 0; ten times all of them changes nothing.
            bins: how many bins of about equal mass (16,384, fewer for more than 128 groups); or the `edges` of scores
                that are to be added to.
            positive: the class that a high score stands for; the last one where left out.
            classes: class values; found from `y_true` where left out.
            thresholds: where `at` must be exact however many different scores there are.

        Raises:
            DataError: lengths differ, or a class, score, group or weight is out of its range; the message names it.
        """
        found = cls._count(y_true, score, groups, weights, bins, positive, classes, thresholds)
        return found._checked()

    @classmethod
    def _count(
        cls,
        y_true: ArrayLike,
        score: ArrayLike,
        groups: Any,
        weights: ArrayLike | None,
        bins: int | ArrayLike | None,
        positive: Any,
        classes: Sequence[Any] | None,
        thresholds: Sequence[float],
    ) -> Scores:
        values = numbers(score, "score")
        n = len(values)
        true = np.asarray(y_true)
        if true.shape != (n,):
            raise DataError(f"Expected y_true and score of one length, found {true.shape} and ({n},).")
        classes, positives = histogram.positives(true, positive, classes)
        keys, code = group_codes(groups, n)
        cell = code * 2 + positives
        w = relative_weights(weights, n)
        marks = np.asarray(thresholds, dtype=np.float64)
        chosen = bins is not None and not isinstance(bins, int)
        number = bins if isinstance(bins, int) else binning.default(len(keys))
        if number < 1:
            raise DataError(f"Expected at least 1 bin, found {number}.")
        ends = histogram.checked_edges(bins) if chosen else binning.edges(values, number, marks)
        parts, missed = histogram.histogram(values, cell, w, ends, 2 * len(keys))
        if len(missed) and not chosen and len(ends) + len(missed) <= number + 2 * len(marks):
            # few values, some of them too rare for the sample: with an end each, nothing is lost
            ends = np.union1d(ends, missed)
            parts, missed = histogram.histogram(values, cell, w, ends, 2 * len(keys))
        shape = (len(keys), 2, len(ends) + 1)
        rows = parts["rows"].reshape(shape)
        counts = parts["counts"].reshape(shape) if w is not None else rows.astype(np.float64)
        return cls(
            groups=keys,
            classes=classes,
            edges=ends,
            counts=counts,
            squares=parts["squares"].reshape(shape) if w is not None else counts,
            rows=rows,
            sums=parts["sums"].reshape(shape),
            quadratic=parts["quadratic"].reshape(len(keys), 2),
            loose=parts["astray"] > 0,
            least=float(values.min()),
            most=float(values.max()),
            attributes=names_of(groups),
        )

    @classmethod
    def scan(
        cls,
        source: Any,
        *,
        label: str,
        score: str,
        groups: str | Sequence[str],
        weights: str | None = None,
        bins: int | ArrayLike | None = None,
        positive: Any = None,
        classes: Sequence[Any] | None = None,
        thresholds: Sequence[float] = HUNDREDTHS,
    ) -> Scores:
        """Count rows that need not fit in memory, as `count` does, with bins placed by the first block.

        Args:
            source: a parquet file or a folder of them, a pyarrow data set, a table, or an iterable of tables, record
                batches, DataFrames or mappings of columns.
            label: column of true classes.
            score: column of scores.
            groups: a column, or several (keys become tuples).
            weights: column of relative weights.
            bins: see `count`.
            positive: see `count`.
            classes: see `count`; to be declared where a block may lack one, unless they are 0 and 1.
            thresholds: see `count`.

        Raises:
            DataError: as for `count`, or a column is unknown.
        """
        several = () if isinstance(groups, str) else tuple(groups)
        keys = several or (str(groups),)
        wanted = dict.fromkeys([label, score, *keys, *([weights] if weights is not None else [])])
        total: Scores | None = None
        for batch in batches(source, tuple(wanted), histogram.BLOCK):
            if not len(batch[score]):
                continue
            given = {name: np.asarray(histogram.as_given(found)) for name, found in batch.items()}
            part = cls._count(
                given[label],
                given[score],
                {name: histogram.as_given(batch[name]) for name in several}
                if several
                else histogram.as_given(batch[keys[0]]),
                None if weights is None else given[weights],
                bins if total is None else total.edges,
                positive,
                classes,
                thresholds,
            )
            total = part if total is None else total + part
        if total is None:
            raise DataError("Expected at least one row, found none.")
        return total._checked()

    def _checked(self) -> Scores:
        """Itself, where all rows together are scores of groups."""
        histogram.refuse_labels(self.edges, self.loose, self.rows.sum((0, 1)))
        refuse_identifiers(self.attributes, self.groups, self.rows.sum((1, 2)))
        return self

    def __add__(self, other: Scores) -> Scores:
        """The scores of both; groups of either appear.

        Raises:
            DataError: classes, attributes or edges differ.
        """
        for name in ("classes", "attributes"):
            if getattr(self, name) != getattr(other, name):
                raise DataError(
                    f"Expected equal {name} to add, found {getattr(self, name)} and {getattr(other, name)}."
                )
        if not np.array_equal(self.edges, other.edges):
            raise DataError(
                f"Expected equal edges to add, found {len(self.edges)} and {len(other.edges)} that differ; "
                "try Scores.count(..., bins=first.edges)."
            )
        groups, places = united(self.groups, other.groups)
        added: dict[str, Any] = {}
        for name in ("counts", "squares", "rows", "sums", "quadratic"):
            whole = np.zeros((len(groups), *getattr(self, name).shape[1:]), dtype=getattr(self, name).dtype)
            for part, place in zip((self, other), places, strict=True):
                whole[place] += getattr(part, name)
            added[name] = whole
        return replace(
            self,
            groups=groups,
            loose=self.loose | other.loose,
            least=min(self.least, other.least),
            most=max(self.most, other.most),
            **added,
        )

    def at(self, threshold: float, strict: bool = False) -> Cube:
        """The cube of the rule "score >= threshold" (`strict`: "score > threshold"), as if its predictions were counted.

        Raises:
            DataError: rows of one bin lie on both sides, so that the counts are not known; or it is NaN.
        """
        if np.isnan(threshold):
            raise DataError(f"Expected threshold to be a number, found {threshold!r}.")
        t = np.nextafter(threshold, np.inf) if strict else float(threshold)
        place = int(np.searchsorted(self.edges, t, side="left"))
        # edges[place - 1] < t <= edges[place]: bins above `place` are selected, bin `place` may hold both kinds
        on_edge = place < len(self.edges) and self.edges[place] == t
        if not on_edge and self.loose[place] and self.rows[:, :, place].any():
            raise DataError(
                f"Expected a threshold at the edge of a bin, found {threshold!r}{' (strict)' if strict else ''} inside "
                f"one of several scores; try thresholds=[{threshold!r}] in Scores.count."
            )
        return self.cube(place + 1)

    def cube(self, first: int) -> Cube:
        """The cube of the rule that selects the bins from `first` on."""

        def both(part: NDArray[Any]) -> NDArray[Any]:
            return np.stack([part[:, :, :first].sum(2), part[:, :, first:].sum(2)], axis=2)

        return Cube(
            groups=self.groups,
            classes=self.classes,
            counts=both(self.counts),
            squares=both(self.squares),
            rows=both(self.rows),
            positive=1,
            attributes=self.attributes,
        )

    def thresholds(self, at: Sequence[float] | None = None) -> Thresholds:
        """Every rate where "score >= threshold" selects: at these thresholds, exact as in `at`, or at every edge."""
        return Thresholds.of(self, at)

    def above_median(self) -> AboveMedian:
        """Who scores strictly above the median of all rows, see `AboveMedian`."""
        return above_median(self)

    def measure(self, name: str, seed: int = 0) -> dict[Hashable, Estimate]:
        """A measure of each group with its 95 % interval; undefined, with a reason, where a class has no rows.

        Args:
            name: mean_score, auc, average_precision, calibration_gap, calibration_error,
                squared_calibration_error, calibration_slope, brier.
            seed: of the resampling that some intervals come from.

        Raises:
            DataError: the measure is unknown.
        """
        return measures.measure(self, name, seed)

    def bound(self, name: str) -> dict[Hashable, float]:
        """How far a measure may at most be from that of the scores themselves, because of the bins; 0 where it is exact."""
        return measures.bound(self, name)

    def disparity(self, name: str, alpha: float = 1 - LEVEL, seed: int = 0) -> Estimate:
        """The largest difference of a measure between two groups; its interval holds for all pairs, at 1 - alpha."""
        return measures.disparity(self, name, alpha, seed)
