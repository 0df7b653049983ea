"""Every threshold at once: the rates of each group as its rule "score >= threshold" moves."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from audit.errors import DataError, nearest
from audit.fairness.counting.columns import divided
from audit.fairness.counting.cube import Cube
from audit.fairness.inference import intervals
from audit.statistics import LEVEL

if TYPE_CHECKING:
    from audit.fairness.scoring.scores import Scores

Floats = NDArray[np.float64]

#: rate -> true classes it is taken over, those of them that are hits, and whether only selected rows are looked at;
#: classes by position: 0 negative, 1 positive
CURVES: dict[str, tuple[tuple[int, ...], tuple[int, ...], bool]] = {
    "selection_rate": ((0, 1), (0, 1), False),
    "true_positive_rate": ((1,), (1,), False),
    "false_positive_rate": ((0,), (0,), False),
    "positive_predictive_value": ((0, 1), (1,), True),
}
ACCURACY = "accuracy"


@dataclass(frozen=True, eq=False)
class Thresholds:
    """Counts above each threshold.

    Attributes:
        groups: keys, in the order of the first axis.
        threshold: (t,) ascending; rows with score >= threshold are selected.
        counts: (g, 2, t) weighted rows selected, of each true class.
        squares: (g, 2, t) their squared weights.
        total: (g, 2) all weighted rows.
        total_squares: (g, 2) their squared weights.
    """

    groups: tuple[Hashable, ...]
    threshold: Floats
    counts: Floats
    squares: Floats
    total: Floats
    total_squares: Floats

    @classmethod
    def of(cls, scores: Scores, at: Sequence[float] | None = None) -> Thresholds:
        """See `Scores.thresholds`."""
        total, total_squares = scores.counts.sum(2), scores.squares.sum(2)
        if at is None:
            return cls(
                scores.groups,
                scores.edges,
                _above(scores.counts)[:, :, 1:],
                _above(scores.squares)[:, :, 1:],
                total,
                total_squares,
            )
        cubes = [scores.at(t) for t in sorted(at)]
        return cls(
            scores.groups,
            np.asarray(sorted(at), dtype=np.float64),
            np.stack([cube.counts[:, :, 1] for cube in cubes], axis=2),
            np.stack([cube.squares[:, :, 1] for cube in cubes], axis=2),
            total,
            total_squares,
        )

    def rate(self, name: str) -> Floats:
        """(g, t) a rate of each group at each threshold; NaN where there are no rows to take it over.

        Args:
            name: one of `CURVES`, or "accuracy".

        Raises:
            DataError: the rate is unknown.
        """
        return self._proportions(name)[0]

    def overall(self, name: str) -> Floats:
        """(t,) the rate over the rows of all groups."""
        return np.asarray(self._pooled().rate(name)[0])

    def limits(self, name: str, together: int = 1) -> tuple[Floats, Floats]:
        """Wilson limits of a rate on Kish's effective n, each (g, t); NaN where the rate is.

        Args:
            name: as `rate` takes it.
            together: 1: each limit holds at 95 % by itself, pointwise; more: so many of them hold together (Bonferroni),
                e.g. the number of thresholds shown for a band.
        """
        value, size = self._proportions(name)
        z = float(stats.norm.ppf(1 - (1 - LEVEL) / 2 / together))
        seen = size > 0
        low, high = np.full_like(value, np.nan), np.full_like(value, np.nan)
        low[seen], high[seen] = intervals.wilson(value[seen], size[seen], z)
        return low, high

    def difference(self, name: str) -> Floats:
        """(t,) the largest difference between groups; NaN where fewer than two have the rate."""
        value = self.rate(name)
        low, high = _ends(value)
        return high - low

    def ratio(self, name: str = "selection_rate") -> Floats:
        """(t,) the smallest ratio between groups, e.g. the impact ratio; NaN where undefined, as when all rates are 0."""
        low, high = _ends(self.rate(name))
        return divided(low, high, np.nan)

    def sizes(self, name: str) -> Floats:
        """(g, t) Kish's effective number of rows that a rate is taken over; 0 where there are none."""
        return self._proportions(name)[1]

    def _proportions(self, name: str) -> tuple[Floats, Floats]:
        if name == ACCURACY:
            total = np.broadcast_to(self.total.sum(1)[:, None], self.counts[:, 0].shape)
            squares = np.broadcast_to(self.total_squares.sum(1)[:, None], total.shape)
            hits = self.counts[:, 1] + self.total[:, :1] - self.counts[:, 0]
        elif name in CURVES:
            given, hit, selected = CURVES[name]
            hits = self.counts[:, hit].sum(1)
            if selected:
                total, squares = self.counts[:, given].sum(1), self.squares[:, given].sum(1)
            else:
                total = np.broadcast_to(self.total[:, given].sum(1)[:, None], hits.shape)
                squares = np.broadcast_to(self.total_squares[:, given].sum(1)[:, None], hits.shape)
        else:
            raise DataError(f"Expected the name of a rate, found {name!r}{nearest(name, [*CURVES, ACCURACY])}")
        return np.clip(divided(hits, total, np.nan), 0, 1), divided(total**2, squares)

    def _pooled(self) -> Thresholds:
        return Thresholds(
            ("all",),
            self.threshold,
            self.counts.sum(0, keepdims=True),
            self.squares.sum(0, keepdims=True),
            self.total.sum(0, keepdims=True),
            self.total_squares.sum(0, keepdims=True),
        )


@dataclass(frozen=True, eq=False)
class AboveMedian:
    """Who scores above the median of the whole sample, the "scoring rate" of New York City's Local Law 144 (6 RCNY 5-300).

    Attributes:
        cube: selected are the rows strictly above the median; its selection rates are the scoring rates, their ratios
            the impact ratios.
        median: of all scores (unweighted rows, the two middle ones averaged).
        ties: rows equal to the median, which count as not above it.
        bound: how far a group's rate may be from the exact one: 0, or, where the median falls into a bin of several
            scores, the share of the group in that bin.
    """

    cube: Cube
    median: float
    ties: int
    bound: dict[Hashable, float]


def above_median(scores: Scores) -> AboveMedian:
    """The scoring rate of each group."""
    rows = scores.rows.sum((0, 1))
    upto = np.cumsum(rows)
    n = int(upto[-1])
    low, high = (int(np.searchsorted(upto, rank, side="left")) for rank in ((n + 1) // 2, n // 2 + 1))
    inside = low == high and bool(scores.loose[low])
    with np.errstate(invalid="ignore", divide="ignore"):
        means = scores.sums.sum((0, 1)) / scores.counts.sum((0, 1))
        share = scores.counts[:, :, low].sum(1) / scores.counts.sum((1, 2))
    middle = [means[at] if scores.loose[at] else scores.edges[at - 1] for at in (low, high)]
    return AboveMedian(
        cube=scores.cube(low + 1),
        median=float(np.mean(middle)),
        ties=int(rows[low]) if low == high and not inside else 0,
        bound={group: float(part) if inside else 0.0 for group, part in zip(scores.groups, share, strict=True)},
    )


def _above(part: NDArray[Any]) -> NDArray[Any]:
    """(..., bins) -> what lies in each bin and those above."""
    return np.cumsum(part[..., ::-1], axis=-1)[..., ::-1]


def _ends(value: Floats) -> tuple[Floats, Floats]:
    """Smallest and largest over the groups that have a value; NaN where fewer than two have."""
    seen = np.isfinite(value)
    enough = seen.sum(0) > 1
    low = np.where(seen, value, np.inf).min(0)
    high = np.where(seen, value, -np.inf).max(0)
    return np.where(enough, low, np.nan), np.where(enough, high, np.nan)
