"""Group rates where the group is not known: sharp bounds instead of points.

A row whose protected attribute is missing may belong to any group; a row with an inferred attribute belongs to each
group with some probability. The data then allow a range of rates that no larger sample narrows (Manski 2003); sampling
error comes on top (Imbens and Manski 2004).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats

from audit.errors import DataError, nearest
from audit.fairness import extremes
from audit.fairness.counting.cube import Cube
from audit.fairness.counting.reshaping import unclustered
from audit.fairness.inference import intervals
from audit.statistics import LEVEL, undefined
from reports.record import Estimate

Floats = NDArray[np.float64]
Kind = Literal["difference", "ratio"]
#: stands for a rate of 0 under a logarithm
TINY = 1e-300


@dataclass(frozen=True)
class Range:
    """What the data allow.

    Attributes:
        least: the smallest possible value; its interval reaches below by sampling error.
        most: the largest possible value; its interval reaches above.
    """

    least: Estimate
    most: Estimate


@dataclass(frozen=True, eq=False)
class Bounds:
    """Bounds of every group's rate; any two groups can be at opposite ends at once.

    Attributes:
        groups: keys.
        low: (g,) smallest possible rate.
        low_rows: (g,) effective rows that it is taken over.
        high: (g,) largest possible rate.
        high_rows: (g,) effective rows that it is taken over.
        closest: the smallest largest difference and the largest smallest ratio that are possible over all groups.
        source: how they were made.
    """

    groups: tuple[Hashable, ...]
    low: Floats
    low_rows: Floats
    high: Floats
    high_rows: Floats
    closest: tuple[float, float]
    source: str

    @property
    def defined(self) -> NDArray[np.bool_]:
        """(g,) groups that have a rate whatever the unknown rows are."""
        return np.asarray((self.low_rows > 0) & (self.high_rows > 0))

    def rate(self, group: Hashable) -> Range:
        """A group's rate; Imbens and Manski's interval covers the true rate, wherever it is, in 95 % (2004, eq. 6).

        Raises:
            DataError: there is no such group.
        """
        if group not in self.groups:
            raise DataError(f"Expected a group, found {group!r}{nearest(str(group), map(str, self.groups))}")
        at = [self.groups.index(group)]
        low, high, fewer, more = (part[at] for part in (self.low, self.high, self.low_rows, self.high_rows))
        if not fewer[0] or not more[0]:
            return self._nothing("no row is known to be of this group")
        spread = np.sqrt([low * (1 - low) / fewer, high * (1 - high) / more]).max()
        z = imbens_manski(float(high[0] - low[0]), float(spread))
        down, up = intervals.wilson(low, fewer, z)[0], intervals.wilson(high, more, z)[1]
        ends = float(low[0]), float(down[0]), float(high[0]), float(up[0])
        return self._range(*ends, n=round(float(min(fewer[0], more[0]))), method="Imbens-Manski 95 %", unit="fraction")

    def disparity(self, kind: Kind = "difference") -> Range:
        """The largest difference, or the smallest ratio, between any two groups.

        The sampling part of the interval holds for all pairs at once (Tukey); where the bounds are wide, as they mostly
        are, that is more than 95 %.

        Raises:
            DataError: the kind is unknown.
        """
        if kind not in ("difference", "ratio"):
            raise DataError(f"Expected kind to be difference or ratio, found {kind!r}.")
        there = self.defined
        if there.sum() < 2:
            return self._nothing("fewer than two groups have known rows")
        if kind == "ratio" and not self.high[there].any():
            return self._nothing("the rate is 0 in every group")
        z = intervals.critical(int(there.sum()), "pairs", 1 - LEVEL)
        low, high = self.low[there], self.high[there]
        limits = [*intervals.wilson(low, self.low_rows[there], z), *intervals.wilson(high, self.high_rows[there], z)]
        if kind == "ratio":
            low, high, *limits = (np.log(np.maximum(part, TINY)) for part in (low, high, *limits))
        far = float(extremes.pairs(high, low).max())
        far_limit = extremes.farthest(high, limits[3] - high, low, low - limits[0])
        near_limit = extremes.nearest(low, low - limits[0], high, limits[3] - high)
        n, words = round(float(self.low_rows.sum())), f"Tukey over {int(there.sum())} groups, 95 %"
        if kind == "ratio":
            at_least, below, above = (float(np.exp(-part)) for part in (far, far_limit, max(near_limit, 0.0)))
            return self._range(at_least, below, self.closest[1], above, n=n, method=f"log MOVER, {words}", unit="")
        closest = self.closest[0]
        return self._range(closest, max(near_limit, 0.0), far, far_limit, n=n, method=f"Newcombe, {words}")

    def _range(
        self, low: float, below: float, high: float, above: float, n: int, method: str, unit: str = "fraction"
    ) -> Range:
        how = f"{self.source}; {method}"
        low, below, high, above = (float(np.clip(part, 0, 1)) for part in (low, below, high, above))
        return Range(
            Estimate(value=low, low=min(below, low), high=low, n=n, method=how, unit=unit),
            Estimate(value=high, low=high, high=max(above, high), n=n, method=how, unit=unit),
        )

    def _nothing(self, reason: str) -> Range:
        return Range(undefined(reason, unit="fraction"), undefined(reason, unit="fraction"))


def imbens_manski(width: float, spread: float, level: float = LEVEL) -> float:
    """Critical value that covers a point inside an identified set (Imbens and Manski 2004, eq. 7).

    1.96 where the set is a point, 1.645 where it is wide against the standard error.

    Args:
        width: of the identified set.
        spread: the larger standard error of its two ends.
        level: coverage.
    """
    if spread == 0:
        return float(stats.norm.ppf(level))
    top = float(stats.norm.ppf(0.5 + level / 2))
    return float(
        optimize.brentq(lambda z: stats.norm.cdf(z + width / spread) - stats.norm.cdf(-z) - level, 0.0, top + 1e-9)
    )


def known(cube: Cube, missing: Hashable) -> Cube:
    """The cube without the group of rows whose attribute is missing.

    Raises:
        DataError: there is no such group, no other one, or the cube has clusters.
    """
    cube = unclustered(cube, "bounds")
    if missing not in cube.groups or len(cube.groups) < 2:
        raise DataError(
            f"Expected a group {missing!r} of rows with a missing attribute beside others, found {list(cube.groups)}."
        )
    keep = np.array([group != missing for group in cube.groups])
    return replace(
        cube,
        groups=tuple(group for group in cube.groups if group != missing),
        counts=cube.counts[keep],
        squares=cube.squares[keep],
        rows=cube.rows[keep],
        declared=tuple(tuple(value for value in part if value != missing) for part in cube.declared),
    )


def unknown(cube: Cube, rate: str, missing: Hashable = None) -> Bounds:
    """Worst-case bounds where each row of the missing group may belong to any of the others.

    A rate is lowest where its group gets all unknown rows that miss and none that hit, and highest the other way round.
    The largest disparity puts two groups at opposite ends; the smallest lifts the lowest groups together with the hits
    and sinks the highest together with the misses.

    Args:
        cube: the counts.
        rate: a rate that is one proportion.
        missing: the group of rows whose attribute is missing.

    Raises:
        DataError: there is no such group, or no other one.
    """
    own = known(cube, missing).proportions(rate)
    groups = tuple(group for group in cube.groups if group != missing)
    whole, at = cube.proportions(rate), cube.groups.index(missing)
    hits, misses = float(whole.hits[at]), float(whole.total[at] - whole.hits[at])
    # squared weights of the unknown rows, for Kish's effective size of what they are joined to
    each = float(whole.total[at] / whole.effective[at]) if whole.effective[at] else 1.0
    squares = np.divide(own.total**2, own.effective, out=np.zeros_like(own.total), where=own.effective > 0)
    seen = own.effective > 0
    low_total, high_total = own.total + misses, own.total + hits
    h, n = own.hits[seen], own.total[seen]
    pool = (float(h.sum()) + hits) / max(float(n.sum()) + hits + misses, TINY)
    bottom, top = min(extremes.lift(h, n, hits), pool), max(1 - extremes.lift(n - h, n, misses), pool)
    return Bounds(
        groups=groups,
        low=np.divide(own.hits, low_total, out=np.zeros_like(low_total), where=seen),
        low_rows=np.where(seen, low_total**2 / np.maximum(squares + misses * each, TINY), 0.0),
        high=np.divide(own.hits + hits, high_total, out=np.zeros_like(high_total), where=seen),
        high_rows=np.where(seen, high_total**2 / np.maximum(squares + hits * each, TINY), 0.0),
        closest=(top - bottom, bottom / top if top else 1.0),
        source="unknown rows of any group",
    )


def shared(cube: Cube, rate: str, shares: Mapping[Hashable, float], missing: Hashable = None) -> Bounds:
    """Bounds where the groups' shares among the unknown rows are known, e.g. from a census.

    Args:
        cube: the counts.
        rate: a rate that is one proportion.
        shares: group -> share of the unknown rows that the rate is taken over.
        missing: the group of rows whose attribute is missing.

    Raises:
        DataError: the shares name other groups, or do not add up to 1.
    """
    own = known(cube, missing)
    if set(shares) != set(own.groups) or min(shares.values()) < 0 or abs(sum(shares.values()) - 1) > 1e-6:
        raise DataError(f"Expected shares >= 0 of {list(own.groups)} that add up to 1, found {dict(shares)}.")
    whole = cube.proportions(rate)
    hits, total = whole.hits, whole.total
    share = np.zeros((len(cube.groups), len(own.groups)))
    for row, group in enumerate(cube.groups):
        share[row] = [shares[g] if group == missing else float(g == group) for g in own.groups]
    return replace(
        inferred(hits, total - hits, np.zeros_like(hits), share, own.groups), source="unknown rows of known shares"
    )


def inferred(
    hits: ArrayLike, misses: ArrayLike, outside: ArrayLike, share: ArrayLike, groups: Sequence[Hashable]
) -> Bounds:
    """Bounds where groups are known only by probability, given what the probabilities were inferred from.

    Kallus, Mao and Zhou 2022: within a cell (a surname and a block, say) a group may hold between none and all of the
    rows that hit, as far as its share allows (Frechet and Hoeffding). The probabilities are taken as right.

    Args:
        hits: (c,) rows of each cell that count.
        misses: (c,) rows that the rate is taken over too, but do not count.
        outside: (c,) rows that the rate is not taken over.
        share: (c, g) probability of each group in each cell.
        groups: (g,) keys.

    Raises:
        DataError: shapes differ, a count is negative or the probabilities of a cell do not add up to 1.
    """
    k, o, r, q = (np.asarray(part, dtype=np.float64) for part in (hits, misses, outside, share))
    if not k.shape == o.shape == r.shape == q.shape[:1] or q.shape[1:] != (len(groups),):
        raise DataError(f"Expected hits, misses, outside (c,) and share (c, {len(groups)}), found share {q.shape}.")
    if min(part.min(initial=0) for part in (k, o, r, q)) < 0 or not np.allclose(q.sum(1), 1, atol=1e-6):
        raise DataError("Expected counts >= 0 and, in each cell of share, probabilities that add up to 1.")
    k, o, r = (part[:, None] for part in (k, o, r))
    room = q * (k + o + r)
    most_hits, most_misses = np.minimum(k, room).sum(0), np.minimum(o, room).sum(0)
    least_hits, least_misses = (np.maximum(room - rest, 0).sum(0) for rest in (o + r, k + r))
    low_rows, high_rows = least_hits + most_misses, most_hits + least_misses
    low = np.divide(least_hits, low_rows, out=np.zeros_like(low_rows), where=low_rows > 0)
    high = np.divide(most_hits, high_rows, out=np.zeros_like(high_rows), where=high_rows > 0)
    seen = (low_rows > 0) & (high_rows > 0)
    if r.any() or len(groups) == 2:
        # two groups meet wherever their bounds do; of more, with rows outside, no pair can be closer than its own bounds
        top, bottom = float(low[seen].max(initial=0)), float(high[seen].min(initial=1))
        closest = (max(top - bottom, 0.0), min(bottom / top, 1.0) if top else 1.0)
    else:
        closest = extremes.closest(k[:, 0], room[:, seen])
    return Bounds(tuple(groups), low, low_rows, high, high_rows, closest, "inferred groups")
