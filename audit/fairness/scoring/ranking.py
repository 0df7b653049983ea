"""How well scores order the rows of each group: area under the ROC curve and average precision, from histograms."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from audit.fairness.counting.columns import divided
from audit.fairness.scoring.spread import Limits

if TYPE_CHECKING:
    from audit.fairness.scoring.scores import Scores

Floats = NDArray[np.float64]

#: rows at which DeLong's variance weighs as much as the one that Hanley and McNeil assume
TRUST = 10.0
ONE_CLASS = "needs rows of both classes"


def auc(scores: Scores, z: float, seed: int = 0) -> Limits:
    """Chance that a positive row of the group outscores a negative one, ties as halves.

    Newcombe's score-type interval (2006, part 2, method 5), whose spread (Hanley and McNeil 1982) is scaled to that of
    DeLong et al. (1988) as the rarer class grows; where the scores are binned, it is widened by what pairs within a bin
    may add or take.
    """
    lower, upper = scores.counts[:, 0], scores.counts[:, 1]
    n0, n1 = lower.sum(1), upper.sum(1)
    both = (n0 > 0) & (n1 > 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        # chance that a row of the other class lies below (above) a row of each bin
        below = (np.cumsum(lower, 1) - lower / 2) / n0[:, None]
        above = 1 - (np.cumsum(upper, 1) - upper / 2) / n1[:, None]
        value = np.clip((upper * below).sum(1) / n1, 0, 1)
        s0, s1 = scores.squares[:, 0], scores.squares[:, 1]
        m, n = n1**2 / s1.sum(1), n0**2 / s0.sum(1)  # Kish's effective numbers
        spread1 = (s1 * (below - value[:, None]) ** 2).sum(1) / n1**2 * m / np.maximum(m - 1, 1)
        spread0 = (s0 * (above - value[:, None]) ** 2).sum(1) / n0**2 * n / np.maximum(n - 1, 1)
        assumed = _spread(value, m, n)
        scale = np.where(assumed > 0, (spread1 + spread0) / assumed, 1.0)
        rarer = np.minimum(m, n)
        scale = np.maximum(scale, (TRUST + rarer * scale) / (TRUST + rarer))
    slack = bound_of_auc(scores)
    low = _root(value, np.zeros_like(value), z, scale, m, n)
    high = _root(value, np.ones_like(value), z, scale, m, n)
    return Limits(
        value=np.where(both, value, np.nan),
        low=np.maximum(low - slack, 0),
        high=np.minimum(high + slack, 1),
        n=np.where(both, np.nan_to_num(m) + np.nan_to_num(n), 0.0),
        reason=ONE_CLASS,
        method=f"Newcombe at DeLong's variance{binning_error(slack)}",
    )


def bound_of_auc(scores: Scores) -> Floats:
    """(g,) how far the area may be from that of the scores themselves: half the share of pairs within loose bins."""
    lower, upper = scores.counts[:, 0], scores.counts[:, 1]
    pairs = lower.sum(1) * upper.sum(1)
    within = (lower * upper)[:, scores.loose].sum(1) / 2
    return divided(within, pairs)


def _spread(theta: Floats, m: Floats, n: Floats) -> Floats:
    """Variance of the area that Newcombe's method 5 assumes, for exponential scores."""
    extra = (m + n) / 2 - 1
    return theta * (1 - theta) * (1 + extra * ((1 - theta) / (2 - theta) + theta / (1 + theta))) / (m * n)


def _root(value: Floats, end: Floats, z: float, scale: Floats, m: Floats, n: Floats) -> Floats:
    """Where (value - theta)^2 = z^2 scale spread(theta), between the value and one end of [0, 1]; by bisection."""
    # at 0 and 1 the value itself is a root, and the other one is meant
    inner, outer = np.where(value == end, value, np.clip(value, 1e-12, 1 - 1e-12)), end.copy()
    for _ in range(60):
        middle = (inner + outer) / 2
        with np.errstate(invalid="ignore"):
            beyond = (value - middle) ** 2 > z**2 * scale * _spread(middle, m, n)
        outer, inner = np.where(beyond, middle, outer), np.where(beyond, inner, middle)
    return (inner + outer) / 2


def average_precision(counts: Floats, loose: NDArray[np.bool_]) -> Floats:
    """Average precision of histograms (..., 2, bins), NaN without positive rows.

    The sum over thresholds of the precision times the recall gained (as scikit-learn defines it). Rows of a bin of one
    score are tied; those of a loose bin are taken to be evenly mixed, which is the integral of the precision over it.
    """
    positive, hits, each, seen = _descending(counts)
    with np.errstate(invalid="ignore", divide="ignore"):
        tied = np.where(each > 0, (hits + positive) / (seen + each), 0.0)
        if not loose.any():
            return np.asarray((positive * tied).sum(-1) / positive.sum(-1))
        precision = np.where(loose[::-1], _mixed(positive, hits, each, seen), tied)
        return np.asarray((positive * precision).sum(-1) / positive.sum(-1))


def slack_of_precision(scores: Scores) -> tuple[Floats, Floats]:
    """(g,) how far below and above `average_precision` that of the scores behind the bins may lie; 0 without positives.

    Within a loose bin, the positive rows come last in the worst case and first in the best; a sum over thresholds is
    at least the integral of the precision, and at most its last value times the recall.
    """
    positive, hits, each, seen = _descending(scores.counts)
    chosen = scores.loose[::-1] & (positive > 0)
    total = positive.sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = positive * _mixed(positive, hits, each, seen)
        before = seen + each - positive
        worst = positive + np.where(before > 0, (hits - before) * np.log1p(positive / before), 0.0)
        best = positive * (hits + positive) / (seen + positive)
        down = np.where(chosen, np.maximum(value - worst, 0), 0.0).sum(1) / total
        up = np.where(chosen, np.maximum(best - value, 0), 0.0).sum(1) / total
    return np.nan_to_num(down), np.nan_to_num(up)


def _descending(counts: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """From the highest bin down: positive rows of a bin, those above it, all rows of it, and all above it."""
    negative, positive = (np.ascontiguousarray(counts[..., at, ::-1]) for at in (0, 1))
    each = negative + positive
    return positive, np.cumsum(positive, -1) - positive, each, np.cumsum(each, -1) - each


def _mixed(positive: Floats, hits: Floats, each: Floats, seen: Floats) -> Floats:
    """Mean precision over a bin whose rows are evenly mixed: of (hits + positive u) / (seen + each u), u in (0, 1)."""
    share = np.where(each > 0, positive / each, 0.0)
    growth = np.where(seen > 0, np.log1p(each / seen), 0.0)
    return np.asarray(share + np.where(each > 0, (hits - share * seen) / each, 0.0) * growth)


def binning_error(slack: Floats) -> str:
    """What a method says of its bins; nothing where they lose nothing."""
    widest = float(np.nanmax(slack, initial=0.0))
    return f", binning error at most {widest:.1g}" if widest > 0 else ""
