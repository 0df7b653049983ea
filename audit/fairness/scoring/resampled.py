"""Measures of scores whose limits come from resampling the histogram: calibration error and average precision."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from audit.fairness.counting.columns import divided
from audit.fairness.inference import intervals
from audit.fairness.scoring import binning, ranking, reliability
from audit.fairness.scoring.spread import Limits

if TYPE_CHECKING:
    from audit.fairness.scoring.scores import Scores

Floats = NDArray[np.float64]

RESAMPLES = 400
#: cells that a group's histogram is joined to before it is resampled
CELLS = 240
#: bins of the calibration error, each of so many cells, and rows that each should hold
BINS, LEAST = 15, 20
FEW = "needs at least 2 rows"


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

    def log_odds(self, share: Floats) -> Floats:
        """Log-odds of the average precision of the joined cells; NaN without positive rows."""
        # half a row is as near to 0 and 1 as n rows can tell
        nearest = 0.5 / (self.n + 1)
        return np.asarray(logit(np.clip(ranking.average_precision(share, self.loose), nearest, 1 - nearest)))

    def _cell_scores(self) -> Floats:
        """(2, cells) mean score of each class and cell."""
        return np.where(self.share > 0, divided(self.sums, self.share), self.means)


@dataclass(frozen=True, eq=False)
class Draws:
    """What resampling shows of a statistic of each group, whatever the level of the limits; NaN below 2 rows.

    Attributes:
        value: (g,) the statistic of the joined cells.
        mean: (g,) its mean over resamples.
        spread: (g,) its standard deviation over them.
        chance_mean: (g,) its mean where classes are drawn from the scores.
        chance_spread: (g,) its standard deviation there.
        n: (g,) Kish's effective number of rows.
    """

    value: Floats
    mean: Floats
    spread: Floats
    chance_mean: Floats
    chance_spread: Floats
    n: Floats


#: what was drawn, so that limits at another level cost nothing
_KEPT: WeakKeyDictionary[Scores, dict[tuple[str, int], Draws]] = WeakKeyDictionary()


def _draws(scores: Scores, name: str, statistic: Callable[[Histogram, Floats], Floats], seed: int) -> Draws:
    kept = _KEPT.setdefault(scores, {})
    if (name, seed) not in kept:
        out = np.full((6, len(scores.groups)), np.nan)
        out[5] = 0
        for group in np.flatnonzero(scores.counts.sum((1, 2)) > 0):
            own = Histogram(scores, int(group))
            out[5, group] = own.n
            if own.n > 1:
                # a generator each, so that a group's limits do not depend on which others there are before it
                rng = np.random.default_rng((seed, int(group)))
                samples, chance = statistic(own, own.resample(rng)), statistic(own, own.of_chance(rng))
                out[:5, group] = statistic(own, own.share), *_moments(samples), *_moments(chance)
        kept[name, seed] = Draws(*out)
    return kept[name, seed]


def _moments(draws: Floats) -> tuple[float, float]:
    seen = draws[np.isfinite(draws)]
    return (float(seen.mean()), float(seen.std(ddof=1))) if len(seen) > 1 else (np.nan, np.nan)


def calibration_error(scores: Scores, z: float, seed: int = 0) -> Limits:
    """Expected calibration error over bins of equal mass.

    It is biased upwards, and that of a resample twice so; the limits take the bias off (Davison and Hinkley 1997,
    equation 5.5) and count it as spread once more, for it is known only as well as the value is. Where chance alone
    could show as much, the lower limit is 0.
    """
    reliability.check(scores)
    found = _draws(scores, "error", Histogram.error, seed)
    bias = found.mean - found.value
    half = z * np.hypot(found.spread, bias)
    by_chance = found.value <= found.chance_mean + z * found.chance_spread
    limits = Limits(
        value=found.value,
        low=np.where(by_chance, 0.0, np.maximum(found.value - bias - half, 0)),
        high=np.minimum(found.value - bias + half, 1),
        n=found.n,
        reason=FEW,
        method="bias-corrected bootstrap",
        unit="fraction",
    )
    return reliability.widened(limits, reliability.unseen(scores, z), 0.0)


def squared_calibration_error(scores: Scores, z: float, seed: int = 0) -> Limits:
    """Mean squared calibration error without the share of chance, so that groups of unlike size compare."""
    reliability.check(scores)
    found = _draws(scores, "squared", Histogram.squared, seed)
    low, by_chance = found.value - z * found.spread, found.value <= found.chance_mean + z * found.chance_spread
    limits = Limits(
        value=found.value,
        low=np.where(by_chance, np.minimum(low, 0), low),
        high=found.value + z * found.spread,
        n=found.n,
        reason=FEW,
        method="debiased, bootstrap",
    )
    # a gap d that may be off by u has a square that may be off by 2 d u + u^2
    by = reliability.unseen(scores, z)
    return reliability.widened(limits, by * (2 * np.sqrt(np.clip(np.nan_to_num(found.value), 0, 1)) + by), -1.0)


def average_precision(scores: Scores, z: float, seed: int = 0) -> Limits:
    """Average precision (the precision at each threshold, weighted by the recall gained), widened by the binning error.

    Limits are those of the log-odds, whose spread comes from resampling, so that they stay within [0, 1].
    """
    value = ranking.average_precision(scores.counts, scores.loose)
    found = _draws(scores, "precision", Histogram.log_odds, seed)
    down, up = ranking.slack_of_precision(scores)
    both = (scores.counts.sum(2) > 0).all(1)
    with np.errstate(invalid="ignore"):
        half = z * np.hypot(found.spread, found.mean - found.value)
        # the cells are joined for the limits only, not for the value
        shift = value - expit(found.value)
        low, high = expit(found.value - half) + shift - down, expit(found.value + half) + shift + up
        # where every resample is in perfect order, nothing is known but that so many positive rows were
        positives = scores.counts[:, 1].sum(1) ** 2 / scores.squares[:, 1].sum(1)
        low = np.where(found.spread > 1e-9, low, np.minimum(low, intervals.wilson(value, positives, z)[0] - down))
    return Limits(
        value=np.where(both, value, np.nan),
        low=np.clip(np.minimum(low, value), 0, 1),
        high=np.clip(np.maximum(high, value), 0, 1),
        n=found.n,
        reason=ranking.ONE_CLASS,
        method=f"bootstrap of the log-odds{ranking.binning_error(np.maximum(down, up))}",
    )


def bound_of_average_precision(scores: Scores) -> Floats:
    """(g,) how far the average precision may be from that of the scores themselves; 0 where a class has no rows."""
    return np.maximum(*ranking.slack_of_precision(scores))
