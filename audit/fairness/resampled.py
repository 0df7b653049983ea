"""Measures of scores whose limits come from resampling the histogram: calibration error and average precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from audit.fairness import binning, ranking, reliability
from audit.fairness.columns import divided
from audit.fairness.spread import Limits

if TYPE_CHECKING:
    from audit.fairness.scores import Scores

Floats = NDArray[np.float64]

RESAMPLES = 400
#: cells that a group's histogram is joined to before it is resampled
CELLS = 240
#: bins of the calibration error, each of so many cells, and rows that each should hold
BINS, LEAST = 15, 20


class Histogram:
    """One group's histogram joined to cells of about equal mass.

    Attributes:
        n: Kish's effective number of rows.
        share: (2, cells) share of the rows of each class and cell.
        means: (cells,) mean score of each cell.
        sums: (2, cells) sum of scores of each, per row.
        bin_of: (cells,) bin of the calibration error.
        loose: (cells,) whether a cell holds several scores.
    """

    def __init__(self, scores: Scores, group: int) -> None:
        counts = scores.counts[group]
        used = counts.sum(0) > 0
        mass = counts[:, used].sum(0)
        self.n = round(float(mass.sum() ** 2 / scores.squares[group].sum()))
        bins = max(1, min(BINS, self.n // LEAST))
        fine = binning.coarse(mass, bins * (CELLS // bins))
        kept, cell = np.unique(fine, return_inverse=True)
        self.bin_of = kept // (CELLS // bins)
        size = len(kept)
        self.share = np.stack([np.bincount(cell, part[used], size) for part in counts]) / mass.sum()
        self.sums = np.stack([np.bincount(cell, part[used], size) for part in scores.sums[group]]) / mass.sum()
        self.means = self.sums.sum(0) / self.share.sum(0)
        self.loose = (np.bincount(cell, minlength=size) > 1) | (np.bincount(cell, scores.loose[used], size) > 0)

    def bins(self, cells: Floats) -> Floats:
        """(..., cells) -> (..., bins), added up."""
        starts = np.flatnonzero(np.r_[True, self.bin_of[1:] != self.bin_of[:-1]])
        return np.asarray(np.add.reduceat(cells, starts, axis=-1))

    def resample(self, rng: np.random.Generator) -> Floats:
        """(RESAMPLES, 2, cells) shares of as many samples of n rows."""
        # rounding must not bring the sum above 1
        p = self.share.ravel() / self.share.sum()
        return (rng.multinomial(self.n, p, RESAMPLES) / self.n).reshape(RESAMPLES, *self.share.shape)

    def of_chance(self, rng: np.random.Generator) -> Floats:
        """(RESAMPLES, 2, cells) shares, the class of each row drawn with its score as probability."""
        rows = np.round(self.share.sum(0) * self.n).astype(np.int64)
        hits = rng.binomial(rows, np.clip(self.means, 0, 1), (RESAMPLES, len(rows)))
        return np.stack([rows - hits, hits], axis=1) / self.n

    def gaps(self, share: Floats) -> Floats:
        """(..., 2, cells) shares -> (..., bins) true share minus score of each bin, times the bin's share of the rows."""
        scores = self.sums if share is self.share else share * self._cell_scores()
        return self.bins(share[..., 1, :] - scores.sum(-2))

    def error(self, share: Floats) -> Floats:
        """Expected calibration error over the bins (Naeini et al. 2015)."""
        return np.asarray(np.abs(self.gaps(share)).sum(-1))

    def squared(self, share: Floats) -> Floats:
        """Mean squared calibration error, less what chance adds to it (Kumar et al. 2019, definition 4.1); may be negative."""
        mass = self.bins(share.sum(-2))
        rate, gap = divided(self.bins(share[..., 1, :]), mass), divided(self.gaps(share), mass)
        chance = rate * (1 - rate) / np.maximum(mass * self.n - 1, 1)
        return np.asarray((mass * (gap**2 - chance)).sum(-1))

    def precision(self, share: Floats) -> Floats:
        """Average precision of the joined cells."""
        return ranking.average_precision(share, self.loose)

    def _cell_scores(self) -> Floats:
        """(2, cells) mean score of each class and cell."""
        return np.where(self.share > 0, divided(self.sums, self.share), self.means)


def calibration_error(scores: Scores, z: float, seed: int = 0) -> Limits:
    """Expected calibration error over bins of equal mass.

    It is biased upwards, and that of a resample twice so; the limits take the bias off (Davison and Hinkley 1997,
    equation 5.5). Where chance alone could show as much, the lower limit is 0.
    """
    reliability.check(scores)

    def limits(own: Histogram, rng: np.random.Generator) -> tuple[float, float, float]:
        value = float(own.error(own.share))
        low, high = _corrected(value, own.error(own.resample(rng)), z)
        return value, 0.0 if value <= _most(own.error(own.of_chance(rng)), z) else max(low, 0.0), high

    return _each(scores, limits, seed, f"at most {BINS} bins of equal mass, bias-corrected bootstrap", "fraction")


def squared_calibration_error(scores: Scores, z: float, seed: int = 0) -> Limits:
    """Mean squared calibration error without the share of chance, so that groups of unlike size compare."""
    reliability.check(scores)

    def limits(own: Histogram, rng: np.random.Generator) -> tuple[float, float, float]:
        value = float(own.squared(own.share))
        half = z * float(own.squared(own.resample(rng)).std(ddof=1))
        low = value - half
        return value, min(low, 0.0) if value <= _most(own.squared(own.of_chance(rng)), z) else low, value + half

    return _each(scores, limits, seed, f"at most {BINS} bins of equal mass, debiased, bootstrap")


def _corrected(value: float, draws: Floats, z: float) -> tuple[float, float]:
    """Normal limits around the value less the bias that resampling shows, the bias counted as spread once more.

    The bias itself is known only as well as the value is, which narrow limits would leave out.
    """
    bias = float(draws.mean()) - value
    half = z * float(np.hypot(draws.std(ddof=1), bias))
    return value - bias - half, value - bias + half


def _most(draws: Floats, z: float) -> float:
    """What chance alone stays below at the level of z."""
    return float(draws.mean() + z * draws.std(ddof=1))


def average_precision(scores: Scores, z: float, seed: int = 0) -> Limits:
    """Average precision (the precision at each threshold, weighted by the recall gained), widened by the binning error.

    Limits are those of the log-odds, whose spread comes from resampling, so that they stay within [0, 1].
    """
    value = ranking.average_precision(scores.counts, scores.loose)
    down, up = ranking.slack_of_precision(scores)
    both = (scores.counts.sum(2) > 0).all(1)

    def limits(own: Histogram, rng: np.random.Generator) -> tuple[float, float, float]:
        draws = own.precision(own.resample(rng))
        draws = draws[np.isfinite(draws)]
        # half a row is as near to 0 and 1 as n rows can tell
        nearest = 0.5 / (own.n + 1)
        clipped = np.clip(draws, nearest, 1 - nearest)
        centre = float(np.clip(own.precision(own.share), nearest, 1 - nearest))
        error = float(np.sqrt(np.mean((np.log(clipped / (1 - clipped)) - np.log(centre / (1 - centre))) ** 2)))
        odds = np.log(centre / (1 - centre)) + np.array([-z, z]) * error
        low, high = 1 / (1 + np.exp(-odds))
        return centre, float(low), float(high)

    found = _each(scores, limits, seed, "", chosen=both)
    with np.errstate(invalid="ignore"):
        shift = value - found.value
        return Limits(
            value=np.where(both, value, np.nan),
            low=np.clip(np.minimum(found.low + shift - down, value), 0, 1),
            high=np.clip(np.maximum(found.high + shift + up, value), 0, 1),
            n=found.n,
            reason=ranking.ONE_CLASS,
            method=f"sum over thresholds, bootstrap of the log-odds{ranking.binning_error(np.maximum(down, up))}",
        )


def bound_of_average_precision(scores: Scores) -> Floats:
    """(g,) how far the average precision may be from that of the scores themselves; 0 where a class has no rows."""
    return np.maximum(*ranking.slack_of_precision(scores))


def _each(
    scores: Scores,
    limits: Callable[[Histogram, np.random.Generator], tuple[float, float, float]],
    seed: int,
    method: str,
    unit: str = "",
    chosen: NDArray[np.bool_] | None = None,
) -> Limits:
    """The limits of every group with at least two rows, each with a generator of its own."""
    out = np.full((3, len(scores.groups)), np.nan)
    n = np.zeros(len(scores.groups))
    for group in range(len(scores.groups)):
        if scores.counts[group].sum() == 0:
            continue
        own = Histogram(scores, group)
        n[group] = own.n
        if own.n > 1 and (chosen is None or chosen[group]):
            out[:, group] = limits(own, np.random.default_rng((seed, group)))
    return Limits(out[0], out[1], out[2], n, "needs at least 2 rows", f"{method} ({RESAMPLES} resamples)", unit)
