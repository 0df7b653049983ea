"""By how much the largest difference between groups grew, with an interval that holds for small groups too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from audit.statistics import LEVEL, undefined
from reports.record import Estimate

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class _Rates:
    """What stands in the strata, one entry a group that has rows in a stratum.

    Attributes:
        stratum: (u,) which one.
        before: (u,) rates before.
        after: (u,) rates after.
        var_before: (u,) squared errors of `before`.
        var_after: (u,) squared errors of `after`.
        cov: (u,) of both.
        z: how many errors an interval reaches to either side.
    """

    stratum: Ints
    before: Floats
    after: Floats
    var_before: Floats
    var_after: Floats
    cov: Floats
    z: float

    def others(self, i: int) -> Ints:
        """The groups that i is held against."""
        same: Ints = np.flatnonzero(self.stratum == self.stratum[i])
        found: Ints = same[same != i]
        return found

    def widest(self, rate: Floats) -> tuple[int, int]:
        """The two groups that are farthest apart, the higher first."""
        pairs = []
        for stratum in np.unique(self.stratum):
            rows = np.flatnonzero(self.stratum == stratum)
            high = int(rows[rate[rows].argmax()])
            pairs.append((high, int(min(self.others(high), key=lambda j: rate[j]))))
        return max(pairs, key=lambda pair: rate[pair[0]] - rate[pair[1]])

    def reach(self, i: Ints | int, j: Ints | int, k: Ints | int, m: Ints | int) -> Floats:
        """How far the interval of (after_i - after_j) - (before_k - before_m) reaches."""
        shared = np.equal(i, m) * self.cov[i] + np.equal(j, k) * self.cov[j]
        shared = shared - np.equal(i, k) * self.cov[i] - np.equal(j, m) * self.cov[j]
        spread = self.var_after[i] + self.var_after[j] + self.var_before[k] + self.var_before[m] + 2 * shared
        return np.asarray(self.z * np.sqrt(np.maximum(spread, 0)))

    def interval(self) -> tuple[float, float, float]:
        """Value, low and high.

        The largest difference after, whichever it is, grew by no more over the largest one before than over the widest
        one observed, and than over its own two groups'; likewise from below.
        """
        (i, j), (k, m) = self.widest(self.after), self.widest(self.before)
        new, old = self.after[i] - self.after[j], self.before[k] - self.before[m]
        low, high = float(new - old), float(new - old)
        for one in range(len(self.stratum)):
            rest = self.others(one)
            after, before = self.after[one] - self.after[rest], self.before[one] - self.before[rest]
            own, reach = after - before, self.reach(one, rest, one, rest)
            up = np.minimum(after - old + self.reach(one, rest, k, m), own + reach)
            down = np.maximum(new - before - self.reach(i, j, one, rest), own - reach)
            low, high = min(low, float(down.min())), max(high, float(up.max()))
        return float(new - old), max(low, -1.0), min(high, 1.0)


def widening(groups: Ints, before: NDArray[np.bool_], after: NDArray[np.bool_], strata: Sequence[Ints]) -> Estimate:
    """Change of the largest difference between two groups' rates, on the same rows in their pairs.

    A largest difference is never below 0 and grows with the noise of small groups: resampling it would give intervals
    that miss. Here every difference of two groups after is held against every one before, each with a paired interval
    (Agresti and Min 2005: z^2 / 8 rows more in each of a group's four cells), and all hold at once (Bonferroni).

    Args:
        groups: (n,) codes; rows below 0 are counted nowhere.
        before: (n,) answers.
        after: (n,) answers to the same rows.
        strata: rows within which groups are compared, indices; the widest difference of all strata counts.
    """
    n = int((groups >= 0).sum())
    parts = [rows[groups[rows] >= 0] for rows in strata]
    seen = [np.unique(groups[rows]) for rows in parts]
    if min(len(one) for one in seen) < 2:
        return undefined("fewer than two groups have rows", n=n, unit="fraction")
    # every pair of groups, in either order, after and before; turning both round is the same difference
    z = float(norm.isf((1 - LEVEL) / sum(len(one) * (len(one) - 1) for one in seen) ** 2))
    width = int(groups.max()) + 1
    cells = np.concatenate(
        [
            np.bincount(groups[rows] * 4 + before[rows] * 2 + after[rows], minlength=width * 4).reshape(-1, 4)[one]
            for rows, one in zip(parts, seen, strict=True)
        ]
    ).astype(np.float64)
    more = cells + z**2 / 8
    size, of = cells.sum(1), more.sum(1)
    first, second = (more[:, 2] + more[:, 3]) / of, (more[:, 1] + more[:, 3]) / of
    value, low, high = _Rates(
        stratum=np.repeat(np.arange(len(seen)), [len(one) for one in seen]),
        before=(cells[:, 2] + cells[:, 3]) / size,
        after=(cells[:, 1] + cells[:, 3]) / size,
        var_before=first * (1 - first) / of,
        var_after=second * (1 - second) / of,
        cov=(more[:, 3] / of - first * second) / of,
        z=z,
    ).interval()
    method = f"Agresti-Min {100 * LEVEL:g} %, paired, all pairs of groups together"
    return Estimate(value=value, low=low, high=high, n=n, method=method, unit="fraction")
