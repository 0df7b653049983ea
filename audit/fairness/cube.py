"""Counts by group, true class and predicted class; every group rate, disparity and test is read off them."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from audit.errors import DataError, nearest
from audit.fairness import intervals
from audit.fairness.grouping import class_codes, class_values, group_codes
from audit.statistics import LEVEL, undefined
from reports.record import Estimate, Outcome


class Cells(NamedTuple):
    """Which cells of the (true, predicted) table a rate counts; entries are "positive", "negative" or None (both)."""

    given_true: str | None
    given_predicted: str | None
    hit_true: str | None
    hit_predicted: str | None


#: rate -> rows it is taken over, and rows that count as hits
RATES: dict[str, Cells] = {
    "selection_rate": Cells(None, None, None, "positive"),
    "base_rate": Cells(None, None, "positive", None),
    "true_positive_rate": Cells("positive", None, "positive", "positive"),
    "false_negative_rate": Cells("positive", None, "positive", "negative"),
    "false_positive_rate": Cells("negative", None, "negative", "positive"),
    "true_negative_rate": Cells("negative", None, "negative", "negative"),
    "positive_predictive_value": Cells(None, "positive", "positive", "positive"),
    "negative_predictive_value": Cells(None, "negative", "negative", "negative"),
}
ACCURACY = "accuracy"


class Decision(NamedTuple):
    """What `Cube.test` concludes, and from which disparity."""

    outcome: Outcome
    disparity: Estimate


@dataclass(frozen=True, eq=False)
class Cube:
    """Weighted counts (groups, true classes, predicted classes).

    Attributes:
        groups: keys, in the order of the first axis; tuples where several attributes were given.
        classes: class values, in the order of the other axes.
        counts: (g, k, k) sums of weights.
        squares: (g, k, k) sums of squared weights, for the effective sample size.
        positive: index of the class that rates call positive.
    """

    groups: tuple[Hashable, ...]
    classes: tuple[Any, ...]
    counts: NDArray[np.float64]
    squares: NDArray[np.float64]
    positive: int

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
            positive=known.index(positive),
        )

    def rate(self, name: str) -> dict[Hashable, Estimate]:
        """A rate of each group with its Wilson interval on Kish's effective n; 0/0 is undefined.

        Args:
            name: one of `RATES`, or "accuracy".

        Raises:
            DataError: the rate is unknown.
        """
        p, n = self._proportions(name)
        z = float(stats.norm.ppf(0.5 + LEVEL / 2))
        out: dict[Hashable, Estimate] = {}
        for group, value, size in zip(self.groups, p, n, strict=True):
            if size == 0:
                out[group] = undefined(f"no rows to take the {name.replace('_', ' ')} over", unit="fraction")
                continue
            low, high = intervals.wilson(value[None], size[None], z)
            out[group] = Estimate(
                value=float(value),
                low=float(low[0]),
                high=float(high[0]),
                n=round(float(size)),
                method="Wilson 95 %",
                unit="fraction",
            )
        return out

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
        if kind not in ("difference", "ratio"):
            raise DataError(f"Expected kind to be difference or ratio, found {kind!r}.")
        p, n = self._proportions(name)
        n_total = round(float(n.sum()))
        seen = n > 0
        if reference is not None and reference not in self.groups:
            raise DataError(
                f"Expected a group as reference, found {reference!r}{nearest(str(reference), map(str, self.groups))}"
            )
        if int(seen.sum()) < 2:
            return undefined("fewer than two groups have rows", n=n_total)
        p, n = p[seen], n[seen]
        keys = [group for group, there in zip(self.groups, seen, strict=True) if there]
        if reference is not None and reference not in keys:
            return undefined(f"the reference group {reference!r} has no rows", n=n_total)
        z = intervals.critical(len(keys), "pairs" if reference is None else "reference", alpha)
        low, high = intervals.wilson(p, n, z)
        chosen = ~np.eye(len(keys), dtype=bool)
        if reference is not None:
            at = keys.index(reference)
            only = np.zeros_like(chosen)
            only[at, :] = only[:, at] = True
            chosen &= only
        method = f"{'Tukey' if reference is None else 'Sidak'} over {len(keys)} groups, {100 * (1 - alpha):g} %"
        if kind == "difference":
            value, lower, upper = intervals.difference(p, low, high)
            # both orders of a pair are present, so the largest signed one is the largest absolute one
            v = float(value[chosen].max())
            return Estimate(
                value=v,
                low=min(max(0.0, float(lower[chosen].max())), v),
                high=min(1.0, float(upper[chosen].max())),
                n=n_total,
                method=f"Newcombe, {method}",
                unit="fraction",
            )
        if not p.any():
            return undefined("the rate is 0 in every group", n=n_total)
        value, lower, upper = intervals.ratio(p, low, high)
        defined = chosen & np.isfinite(value)
        v = min(1.0, float(value[defined].min()))
        return Estimate(
            value=v,
            low=min(v, float(np.nanmin(lower[defined]))),
            high=max(v, min(1.0, float(np.nanmin(upper[defined])))),
            n=n_total,
            method=f"MOVER, {method}",
        )

    def test(self, name: str, margin: float = 0.1, alpha: float = 0.05) -> Decision:
        """Is the largest difference over all groups beyond the margin?

        FAIL where the simultaneous interval lies above `margin`, PASS where it lies within, INSUFFICIENT otherwise, and
        where a declared group has no rows.

        Args:
            name: one of `RATES`, or "accuracy".
            margin: largest difference that is tolerated.
            alpha: family-wise error over all groups.
        """
        found = self.disparity(name, alpha=alpha)
        if found.value is None:
            return Decision(Outcome.INSUFFICIENT, found)
        assert found.low is not None and found.high is not None
        if found.low > margin:
            return Decision(Outcome.FAIL, found)
        complete = bool((self._proportions(name)[1] > 0).all())
        return Decision(Outcome.PASS if complete and found.high <= margin else Outcome.INSUFFICIENT, found)

    def _proportions(self, name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Rate (0 where undefined) and Kish's effective n (0 where undefined) of each group."""
        k = len(self.classes)
        if name == ACCURACY:
            given, hit = np.ones((k, k), dtype=bool), np.eye(k, dtype=bool)
        elif name in RATES:
            cells = RATES[name]
            given = self._mask(cells.given_true, cells.given_predicted)
            hit = self._mask(cells.hit_true, cells.hit_predicted)
        else:
            raise DataError(f"Expected the name of a rate, found {name!r}{nearest(name, [*RATES, ACCURACY])}")
        total = self.counts[:, given].sum(1)
        squares = self.squares[:, given].sum(1)
        there = total > 0
        p = np.divide(self.counts[:, given & hit].sum(1), total, out=np.zeros_like(total), where=there)
        n = np.divide(total**2, squares, out=np.zeros_like(total), where=there)
        return np.clip(p, 0, 1), n

    def _mask(self, true: str | None, predicted: str | None) -> NDArray[np.bool_]:
        positive = np.arange(len(self.classes)) == self.positive
        sides = {None: np.ones_like(positive), "positive": positive, "negative": ~positive}
        return np.outer(sides[true], sides[predicted])


def _describe(weights: NDArray[np.float64]) -> str:
    if weights.ndim != 1:
        return f"an array of shape {weights.shape}"
    return f"{len(weights)} from {np.min(weights, initial=np.inf):g} to {np.max(weights, initial=-np.inf):g}"
