"""Counts by group, true class and predicted class; every group rate, disparity and test is read off them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from audit.errors import DataError, nearest
from audit.fairness.counting import classwise, rates, reshaping
from audit.fairness.counting.encoding import column
from audit.fairness.counting.grouping import attributes
from audit.fairness.counting.rates import Proportions
from audit.fairness.counting.scanning import BATCH, fill
from audit.fairness.counting.tally import Tally
from audit.fairness.inference import comparing, rating
from audit.fairness.inference.comparing import Decision
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
        declared: categories of each attribute that appear even without rows, in order.
        hidden: groups that are suppressed, and why; they hold no counts.
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
    declared: tuple[tuple[Hashable, ...], ...] = ()
    hidden: Mapping[Hashable, str] = field(default_factory=dict)

    @classmethod
    def count(
        cls,
        y_true: Any,
        y_pred: Any,
        groups: Any,
        weights: ArrayLike | None = None,
        classes: Sequence[Any] | None = None,
        positive: Any = None,
        clusters: Any = None,
    ) -> Cube:
        """Count rows; numpy, pandas and arrow columns and tensors are read in place, lists keep each value's type.

        Args:
            y_true: (n,) true classes.
            y_pred: (n,) predicted classes, not scores.
            groups: (n,) group values, or a mapping, DataFrame or arrow table of several such columns (keys become
                tuples). Values keep their type (1 is not "1", but is True and 1.0); missing ones (None, NaN, NaT,
                pandas.NA) are a group of their own, None. A categorical column's categories without rows appear too,
                in every combination of them while these are at most 10,000.
            weights: (n,) relative weights >= 0; ten times all of them changes nothing.
            classes: class values; found from the labels where left out.
            positive: the class that rates call positive; the last one where left out.
            clusters: (n,) what makes rows dependent, such as the person they are about; their moments are kept.

        Raises:
            DataError: lengths differ, a label, prediction or weight is out of its range, or a group column has a value
                a row; the message names it.
        """
        names, columns = attributes(groups)
        tally = Tally([found.name for found in columns], not names, classes, clusters is not None)
        people = None if clusters is None else column(clusters, "clusters")
        tally.add(column(y_true, "y_true"), column(y_pred, "y_pred"), columns, weights, people)
        return cls.of(tally, names, positive)

    @classmethod
    def scan(
        cls,
        source: Any,
        *,
        label: str,
        prediction: str,
        groups: str | Sequence[str],
        weights: str | None = None,
        classes: Sequence[Any] | None = None,
        positive: Any = None,
        clusters: str | None = None,
        declared: Mapping[str, Sequence[Hashable]] | None = None,
        block: int = BATCH,
    ) -> Cube:
        """Count rows that need not fit in memory, as `count` does.

        What is held is a block of rows and the distinct cells; with clusters, the cells of every cluster, so that one
        whose rows are spread over batches is still one. How rows are cut into batches changes nothing.

        Args:
            source: a parquet file or a folder of them, a pyarrow data set, a table, or an iterable of tables, record
                batches, DataFrames or mappings of columns.
            label: column of true classes.
            prediction: column of predicted classes.
            groups: a column, or several (keys become tuples).
            weights: column of relative weights.
            classes: class values; found from the labels where left out.
            positive: the class that rates call positive; the last one where left out.
            clusters: column that says which rows depend on each other.
            declared: group column -> categories that appear even without rows, in order.
            block: rows at a time.

        Raises:
            DataError: as for `count`, or a column is unknown.
        """
        several = () if isinstance(groups, str) else tuple(groups)
        keys = (groups,) if isinstance(groups, str) else several
        tally = Tally(keys, not several, classes, clusters is not None, block)
        for name, categories in (declared or {}).items():
            tally.declare(name, categories)
        fill(tally, source, label, prediction, keys, weights, clusters, block)
        return cls.of(tally, several, positive)

    @classmethod
    def of(cls, tally: Tally, attributes: tuple[str, ...], positive: Any = None) -> Cube:
        """The cube of what was tallied.

        Args:
            tally: rows added up.
            attributes: names of the parts of a tuple key; none where keys are single values.
            positive: the class that rates call positive; the last one where left out.

        Raises:
            DataError: nothing was tallied, or positive is no class.
        """
        found = tally.totals()
        at = len(found.classes) - 1 if positive is None else _at(found.classes, positive, "positive")
        return cls(**found._asdict(), positive=at, attributes=attributes)

    def rate(
        self,
        name: str,
        method: str | None = None,
        level: float = LEVEL,
        simultaneous: bool = False,
        seed: int = 0,
    ) -> dict[Hashable, Estimate]:
        """A rate of each group with its interval on the effective number of rows; 0/0 is undefined.

        Args:
            name: one of `rates.NAMES`.
            method: "wilson" (the usual one), "clopper-pearson" (never too narrow), "mid-p" or "bootstrap".
            level: of each interval, or of all together.
            simultaneous: whether the intervals of all groups hold together; then "clopper-pearson" is the usual one.
            seed: of the bootstrap.

        Raises:
            DataError: the rate or the method is unknown.
        """
        return rating.rate(self, name, method, level, simultaneous, seed)

    def disparity(
        self,
        name: str,
        kind: Literal["difference", "ratio"] = "difference",
        reference: Hashable | None = None,
        alpha: float = 1 - LEVEL,
    ) -> Estimate:
        """The largest difference, or the smallest ratio, between groups.

        The interval holds for all comparisons at once, so that the largest of many chance differences is not taken
        for bias. Its end on the side of equality says how far apart some two groups are at least (their comparison
        intervals stand that far apart), its other end how far any two may be (Newcombe's limit of the farthest pair).

        Args:
            name: one of `rates.NAMES`.
            kind: "difference" (largest absolute) or "ratio" (smallest, at most 1).
            reference: compare with this group only; None: all pairs.
            alpha: one minus the simultaneous level.

        Raises:
            DataError: the rate, the kind or the reference is unknown.
        """
        return comparing.disparity(self, name, kind, reference, alpha)

    def test(
        self,
        name: str,
        margin: float | None = None,
        alpha: float = 0.05,
        kind: Literal["difference", "ratio"] = "difference",
        reference: Hashable | None = None,
    ) -> Decision:
        """Is the largest difference over all groups beyond the margin, or the smallest ratio below it?

        FAIL where the interval of `disparity` lies beyond the margin, PASS where it lies within, INSUFFICIENT
        otherwise, and where a declared group has no rows or no rate (a FAIL of the others stands: it can only grow).

        Args:
            name: one of `rates.NAMES`.
            margin: largest difference that is tolerated, 0.1 where left out, or the smallest ratio, 0.8.
            alpha: family-wise error over all groups.
            kind: "difference" or "ratio".
            reference: compare with this group only; None: all pairs.

        Raises:
            DataError: the rate, the kind, the margin or the reference is unknown.
        """
        return comparing.test(self, name, margin, alpha, kind, reference)

    def proportions(self, name: str) -> Proportions:
        """A rate of every group as hits over total.

        Raises:
            DataError: the rate is unknown, or is not one proportion of rows (balanced accuracy, F1).
        """
        parts = rates.parts(self, name)
        if name in (rates.BALANCED, rates.F1):
            raise DataError(f"Expected a rate that is one proportion of rows, found {name!r}; try Cube.rate.")
        return rates.proportions(self, parts[0])

    def macro(self, name: str) -> dict[Hashable, Estimate]:
        """The mean over classes of a rate of each against the rest; undefined where a class's is."""
        return classwise.macro(self, name)

    def worst(self, name: str) -> dict[Hashable, tuple[Any, Estimate]]:
        """The class whose rate against the rest is worst, and that rate with an interval that knows it was chosen.

        Worst is the lowest, and for rates of error the highest. Classes without rows to take the rate over cannot be
        the worst; the method says how many there are.
        """
        return classwise.worst(self, name)

    def against(self, value: Any) -> Cube:
        """This class as the positive one and all others as the negative.

        Raises:
            DataError: it is no class.
        """
        return reshaping.against(self, _at(self.classes, value, "the class"))

    def marginal(self, attribute: str | Sequence[str]) -> Cube:
        """Groups of one attribute (keys become its values), or of several (keys stay tuples), the others summed out.

        Raises:
            DataError: an attribute is unknown, or clusters cross the groups that are to be summed.
        """
        single = isinstance(attribute, str)
        return reshaping.marginal(self, [str(attribute)] if single else list(attribute), single)

    def overall(self) -> Cube:
        """All rows as one group, "all".

        Raises:
            DataError: clusters cross the groups.
        """
        return reshaping.overall(self)

    def __add__(self, other: Cube) -> Cube:
        """The cube of both cubes' rows; their weights are taken to be on one scale.

        Raises:
            DataError: classes or attributes differ, or a cube has clusters, which might have rows in both.
        """
        return reshaping.add(self, other)

    def suppressed(self, least: int) -> Cube:
        """Without the groups of fewer than `least` rows, so that nobody in them is recognised.

        What is hidden is undefined, see `hidden`. Where a single hidden group, or several that are too few together,
        would follow by subtraction from a total over an attribute, the next smallest is hidden too.

        Raises:
            DataError: `least` is below 1.
        """
        return reshaping.suppressed(self, least)


def _at(known: Sequence[Any], value: Any, what: str) -> int:
    if value not in known:
        raise DataError(f"Expected {what} to be a class, found {value!r}{nearest(str(value), map(str, known))}")
    return known.index(value)
