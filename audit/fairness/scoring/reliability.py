"""Whether scores mean what they say in each group: means, calibration, reliability curves, from histograms."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.special import expit, logit

from audit.errors import DataError
from audit.fairness.counting.columns import divided
from audit.fairness.inference import intervals
from audit.fairness.scoring.binning import coarse
from audit.fairness.scoring.spread import Limits, critical

if TYPE_CHECKING:
    from audit.fairness.scoring.scores import Scores

Floats = NDArray[np.float64]

NO_ROWS = "no rows"
#: scores nearer to 0 or 1 than this are taken to be this near, so that their log-odds are finite
NEAREST = 1e-6
#: Newton steps until the calibration slope stands still
NEWTON = 50


@dataclass(frozen=True, eq=False)
class Curve:
    """The reliability curve of a group, bins of about equal mass.

    Attributes:
        score: (bins,) mean score.
        share: (bins,) true share of the positive class.
        low: (bins,) Wilson limits of the share on Kish's effective n.
        high: (bins,)
        rows: (bins,) rows, unweighted.
    """

    score: Floats
    share: Floats
    low: Floats
    high: Floats
    rows: NDArray[np.int64]


def check(scores: Scores) -> None:
    """Refuse scores that are no probabilities.

    Raises:
        DataError: a score lies outside [0, 1].
    """
    if scores.least < 0 or scores.most > 1:
        raise DataError(
            "Expected probabilities in [0, 1] to measure calibration, found scores from "
            f"{scores.least:g} to {scores.most:g}; try the softmax or the sigmoid of the scores."
        )


def mean_score(scores: Scores, z: float, seed: int = 0) -> Limits:
    """The mean score."""
    return _mean(scores, scores.sums.sum((1, 2)), _cell_means(scores), z, "mean", "")


def calibration_gap(scores: Scores, z: float, seed: int = 0) -> Limits:
    """Mean score minus true share, "calibration in the large": positive where the scores expect too much."""
    check(scores)
    total = scores.sums.sum((1, 2)) - scores.counts[:, 1].sum(1)
    found = _mean(scores, total, _cell_means(scores) - np.array([0.0, 1.0])[:, None], z, "mean difference", "fraction")
    return widened(found, unseen(scores, z), -1.0)


def brier(scores: Scores, z: float, seed: int = 0) -> Limits:
    """Mean squared difference between score and truth (Brier 1950), of the positive class alone."""
    check(scores)
    total = scores.quadratic.sum(1) - 2 * scores.sums[:, 1].sum(1) + scores.counts[:, 1].sum(1)
    found = _mean(scores, total, (_cell_means(scores) - np.array([0.0, 1.0])[:, None]) ** 2, z, "mean", "")
    return widened(found, unseen(scores, z), 0.0)


def calibration_slope(scores: Scores, z: float, seed: int = 0) -> Limits:
    """Slope of the true log-odds over those of the score (Cox 1958): 1 is right, less is too extreme.

    Maximum likelihood of logit P(positive) = a + b logit(score), with White's (1982) sandwich for the limits.
    """
    check(scores)
    value, error = np.full(len(scores.groups), np.nan), np.full(len(scores.groups), np.nan)
    means = np.clip(_cell_means(scores), NEAREST, 1 - NEAREST)
    for group in range(len(scores.groups)):
        used = scores.counts[group] > 0
        x = logit(means[group][used])
        y = np.broadcast_to(np.array([[0.0], [1.0]]), used.shape)[used]
        value[group], error[group] = _slope(x, y, scores.counts[group][used], scores.squares[group][used])
    return Limits(
        value=value,
        low=value - z * error,
        high=value + z * error,
        n=_effective(scores),
        reason="the log-odds of the scores have no best line (one class, one score, or classes that do not overlap)",
        method="maximum likelihood, sandwich",
    )


def curve(scores: Scores, bins: int = 10, least: int = 20, together: int = 1) -> dict[Hashable, Curve]:
    """The reliability curve of each group that has rows.

    Args:
        scores: the histograms.
        bins: bins of about equal mass, a score never split between two.
        least: rows that a bin should hold; fewer bins where there are not enough.
        together: intervals that are to hold at once (Bonferroni); 1 for pointwise ones.

    Raises:
        DataError: a score lies outside [0, 1].
    """
    check(scores)
    out: dict[Hashable, Curve] = {}
    for at, group in enumerate(scores.groups):
        mass = scores.counts[at].sum(0)
        if mass.sum() == 0:
            continue
        number = max(1, min(bins, int(scores.rows[at].sum()) // least))
        used = mass > 0
        cell = np.unique(coarse(mass, number)[used], return_inverse=True)[1]
        weight, hits, squares, sums, rows = (
            np.bincount(cell, part[used]).astype(np.float64)
            for part in (
                mass,
                scores.counts[at, 1],
                *(x[at].sum(0) for x in (scores.squares, scores.sums, scores.rows)),
            )
        )
        share = np.clip(hits / weight, 0, 1)
        low, high = intervals.wilson(share, weight**2 / squares, critical(together))
        out[group] = Curve(sums / weight, share, low, high, rows.astype(np.int64))
    return out


def widened(found: Limits, by: Floats, least: float) -> Limits:
    """Limits further apart on both sides; within `least` and 1, where the value is, if they moved."""
    low, high = np.maximum(found.low - by, least), np.where(by > 0, np.minimum(found.high + by, 1), found.high)
    return replace(found, low=low, high=high)


def unseen(scores: Scores, z: float) -> Floats:
    """(g,) share that a class may have of whom the group has no row (Wilson's limit); 0 where it has rows of both.

    Neither a standard deviation nor a resample knows of a class that is not there.
    """
    n = _effective(scores)
    alone = (scores.counts.sum(2) == 0).any(1) & (n > 0)
    return np.where(alone, intervals.wilson(np.zeros_like(n), np.maximum(n, 1.0), z)[1], 0.0)


def _cell_means(scores: Scores) -> Floats:
    """(g, 2, bins) mean score of each cell; 0 where it is empty."""
    return divided(scores.sums, scores.counts)


def _effective(scores: Scores) -> Floats:
    total, squares = scores.counts.sum((1, 2)), scores.squares.sum((1, 2))
    return divided(total**2, squares)


def _mean(scores: Scores, total: Floats, of_cell: Floats, z: float, method: str, unit: str) -> Limits:
    """A mean over rows, its spread taken between cells, with Student's t at the level of z.

    Args:
        scores: the histograms.
        total: (g,) the weighted sum over rows.
        of_cell: (g, 2, bins) the mean of each cell.
        z: critical value of the normal.
        method: how the value is called.
        unit: its unit.
    """
    weight, n = scores.counts.sum((1, 2)), _effective(scores)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = np.where(n > 1, total / weight, np.nan)
        spread = (scores.squares * (of_cell - value[:, None, None]) ** 2).sum((1, 2)) / weight**2 * n / (n - 1)
    half = student(z, n - 1) * np.sqrt(spread)
    return Limits(value, value - half, value + half, n, "needs at least 2 rows", f"{method}, Student t", unit)


def student(z: float, freedom: Floats) -> Floats:
    """Student's critical value at the level of a normal one; NaN without a degree of freedom."""
    return np.asarray(stats.t.isf(stats.norm.sf(z), np.where(freedom > 0, freedom, np.nan)))


def _slope(x: Floats, y: Floats, w: Floats, w2: Floats) -> tuple[float, float]:
    """Slope of a logistic regression and its standard error; NaN where there is none."""
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return np.nan, np.nan
    design = np.stack([np.ones_like(x), x], axis=1)
    beta = np.array([0.0, 1.0])
    for _ in range(NEWTON):
        p = expit(design @ beta)
        hessian = (design * (w * p * (1 - p))[:, None]).T @ design
        if np.linalg.cond(hessian) > 1e12:
            return np.nan, np.nan
        step = np.linalg.solve(hessian, design.T @ (w * (y - p)))
        # from far away a full step may overshoot
        beta = beta + step * min(1.0, 2.0 / max(float(np.abs(step).max()), 1e-300))
        if np.abs(step).max() < 1e-10:
            meat = (design * (w2 * (y - p) ** 2)[:, None]).T @ design
            inverse = np.linalg.inv(hessian)
            return float(beta[1]), float(np.sqrt((inverse @ meat @ inverse)[1, 1]))
    return np.nan, np.nan
