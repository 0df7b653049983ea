"""The bootstrap of the cube: rows drawn anew, counted without being drawn.

Rows of one weight: resampling n rows and counting them gives the cells a multinomial distribution of n and their shares, so
drawing that is the row bootstrap itself (Efron 1979), equal in distribution, and its cost is the cube's, not the data's.

Weighted rows: every row counts a Poisson(1) number of times (Hanley and MacGibbon 2006). A cell's weight is then a compound
Poisson number, drawn as a multiple of a Poisson number of the same mean and variance: exact where the weights of a cell
are equal, and otherwise right to the second moment.

Clusters: every cluster counts a Poisson(1) number of times. A group's cells are then drawn from the normal distribution of
the same means and covariances (`Cube.moments`), cut at 0, which wants some tens of clusters in a group.

An interval of the bootstrap is not a test: a largest difference between groups is never 0 in a resample (see `Cube.test`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from audit.fairness.counting import rates
from audit.fairness.inference.intervals import Ends, Floats
from audit.statistics import LEVEL

if TYPE_CHECKING:
    from audit.fairness.counting.cube import Cube

NAME = "bootstrap"
REPLICATES = 2000
#: cells drawn at once; bounds the memory for thousands of groups
BLOCK = 1 << 21


class Resampled(NamedTuple):
    """Percentile intervals of one rate.

    Attributes:
        rates: low and high of each group, (g,) each; NaN where the rate is undefined on the rows at hand.
        difference: low and high of the largest difference between groups; NaN where fewer than two are defined.
        ratio: low and high of the smallest ratio; NaN likewise.
    """

    rates: Ends
    difference: tuple[float, float]
    ratio: tuple[float, float]


def resample(
    cube: Cube,
    names: Sequence[str] = rates.NAMES,
    level: float = LEVEL,
    seed: int = 0,
    replicates: int = REPLICATES,
) -> dict[str, Resampled]:
    """Percentile intervals of rates, of their largest differences and of their smallest ratios, from one set of resamples.

    A group that has no rows for a rate in a resample could have any rate there: it counts as the lowest for the lower ends
    and as the highest for the upper ends, so that groups which come and go widen intervals.

    Args:
        cube: the counts.
        names: rates.
        level: of each interval.
        seed: of the draws; the same gives the same intervals.
        replicates: resamples.

    Raises:
        DataError: a rate is unknown.
    """
    tails = (0.5 - level / 2, 0.5 + level / 2)
    masks = {name: np.stack([mask.ravel() for part in rates.parts(cube, name) for mask in part]) for name in names}
    there = {name: ~np.isnan(rates.values(cube, name)) for name in names}
    ends = {name: (np.full(len(cube.groups), np.nan), np.full(len(cube.groups), np.nan)) for name in names}
    extremes = {name: _Extremes(replicates) for name in names}
    for at, cells in _draws(cube, np.random.default_rng(seed), replicates):
        for name in names:
            chosen = there[name][at]
            if not chosen.any():
                continue
            drawn = _rate(name, cells[:, chosen], masks[name])
            extremes[name].add(drawn)
            where = np.flatnonzero(there[name])
            where = where[(where >= at.start) & (where < at.stop)]
            for side, tail in enumerate(tails):
                ends[name][side][where] = np.quantile(np.where(np.isnan(drawn), side, drawn), tail, axis=0)
    return {
        name: Resampled(ends[name], *(extremes[name].ends(tails) if there[name].sum() > 1 else _NONE)) for name in names
    }


def rate_ends(cube: Cube, name: str, level: float, seed: int, replicates: int) -> Ends:
    """Percentile intervals of one rate of each group; see `resample`."""
    return resample(cube, (name,), level, seed, replicates)[name].rates


def written(cube: Cube, replicates: int) -> str:
    """Which bootstrap a cube gets, in words."""
    kind = {"rows": "bootstrap", "weights": "Poisson bootstrap", "clusters": "cluster bootstrap"}[_kind(cube)]
    return f"{kind} ({replicates} resamples)"


_NONE = ((np.nan, np.nan), (np.nan, np.nan))


class _Extremes:
    """The lowest and the highest rate of every resample, over blocks of groups."""

    def __init__(self, replicates: int) -> None:
        self.low, self.high = np.full(replicates, np.inf), np.full(replicates, -np.inf)
        self.complete = np.ones(replicates, dtype=bool)

    def add(self, drawn: Floats) -> None:
        """Take in a block of groups, (replicates, groups)."""
        self.low = np.fmin(self.low, np.fmin.reduce(drawn, axis=1))
        self.high = np.fmax(self.high, np.fmax.reduce(drawn, axis=1))
        self.complete &= ~np.isnan(drawn).any(1)

    def ends(self, tails: tuple[float, float]) -> tuple[tuple[float, float], tuple[float, float]]:
        """Low and high of the difference and of the ratio."""
        some = np.isfinite(self.low)
        low, high = np.where(some, self.low, 0.0), np.where(some, self.high, 0.0)
        apart = high - low
        # a group without rows could be at 0 or at 1
        farthest = np.where(self.complete, apart, np.where(some, np.maximum(high, 1 - low), 1.0))
        known = high > 0
        ratio = np.divide(low, high, out=np.ones_like(low), where=known)
        smallest = np.where(self.complete & known, ratio, 0.0)
        return (
            (float(np.quantile(apart, tails[0])), float(np.quantile(farthest, tails[1]))),
            (float(np.quantile(smallest, tails[0])), float(np.quantile(ratio, tails[1]))),
        )


def _rate(name: str, cells: Floats, masks: NDArray[np.bool_]) -> Floats:
    """(replicates, groups) a rate of drawn cells; NaN where it is 0/0."""
    sums = cells @ masks.T.astype(np.float64)
    total, hits = sums[..., 0::2], sums[..., 1::2]
    value = np.divide(hits, total, out=np.full_like(hits, np.nan), where=total > 0)
    return rates.combine(name, np.moveaxis(value, -1, 0))


def _kind(cube: Cube) -> str:
    if cube.moments is not None:
        return "clusters"
    # weights are relative: rows of one weight are rows, whatever that weight is
    each = cube.counts.sum() / cube.rows.sum()
    alike = np.allclose(cube.counts, each * cube.rows, 1e-9, 0) and np.allclose(
        cube.squares, each**2 * cube.rows, 1e-9, 0
    )
    return "rows" if alike else "weights"


def _draws(cube: Cube, rng: np.random.Generator, replicates: int) -> Iterator[tuple[slice, Floats]]:
    """Blocks of groups with their drawn cells (replicates, groups, k * k)."""
    g, k = cube.counts.shape[:2]
    kind = _kind(cube)
    width = max(1, BLOCK // (replicates * k * k))
    counts = cube.counts.reshape(g, k * k)
    if kind == "rows":
        rows = cube.rows.reshape(g, k * k)
        sizes = rng.multinomial(rows.sum(), rows.sum(1) / rows.sum(), size=replicates)
    for start in range(0, g, width):
        at = slice(start, min(start + width, g))
        if kind == "rows":
            # given its number of rows, a group's cells are multinomial on their own
            share = rows[at] / np.maximum(rows[at].sum(1, keepdims=True), 1)
            share[rows[at].sum(1) == 0, -1] = 1.0
            drawn: Floats = rng.multinomial(sizes[:, at], share).astype(np.float64)
            yield at, drawn
        elif kind == "weights":
            squares = cube.squares.reshape(g, k * k)[at]
            step = np.divide(squares, counts[at], out=np.ones_like(squares), where=counts[at] > 0)
            times: Floats = rng.poisson(counts[at] / step, (replicates, *step.shape)).astype(np.float64)
            yield at, times * step
        else:
            assert cube.moments is not None
            values, vectors = np.linalg.eigh(cube.moments[at])
            root = vectors * np.sqrt(np.maximum(values, 0))[:, None, :]
            noise = rng.standard_normal((replicates, *counts[at].shape))
            yield at, np.maximum(counts[at] + np.einsum("gij,rgj->rgi", root, noise), 0.0)
