"""Expected calibration error and temperature, from confidences and whether they were right."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import optimize, stats

from audit import statistics
from audit.checks.fit._scores import normalised
from reports.record import Estimate

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

#: rows a bin must hold
LEAST = 20
#: temperatures looked at
COLDEST, HOTTEST = 0.01, 100.0


def bins_of(confidence: Floats, bins: int) -> NDArray[np.int64]:
    """Bin of each row, (n,): as many rows in each as in any other, at least `LEAST` where there are as many."""
    number = max(1, min(bins, len(confidence) // LEAST))
    rank = np.empty(len(confidence), dtype=np.int64)
    rank[np.argsort(confidence, kind="stable")] = np.arange(len(confidence))
    return rank * number // len(confidence)


def error_of(bin_of: NDArray[np.int64], gap: Floats) -> float:
    """Expected calibration error: the sum over bins of |mean(right) - mean(confidence)| times the bin's share.

    Args:
        bin_of: (n,) bin of each row.
        gap: (n,) right (0 or 1) minus confidence.
    """
    return float(np.abs(np.bincount(bin_of, weights=gap)).sum() / len(gap))


def ece(
    confidence: Floats, right: Floats, bins: int, rng: np.random.Generator, resamples: int
) -> tuple[Estimate, Estimate]:
    """Expected calibration error over bins of equal mass, and the one that chance alone would show.

    The error is biased upwards, and the error of a resample is so twice; reflecting the resamples at the estimate
    (Davison and Hinkley 1997, equation 5.6) takes the bias off again, where the percentile interval would add to it.
    Where chance alone could show as much (2.5 % one-sided), the interval reaches down to 0.

    Returns:
        The error with its interval; and the error that these confidences would show if each were exactly true, with the
        central 95 % of draws (Vaicenavicius et al. 2019).
    """
    n = len(confidence)
    if n < 2:
        none = statistics.undefined(f"needs at least 2 rows, found {n}", n=n, unit="fraction")
        return none, none
    bin_of, gap = bins_of(confidence, bins), right - confidence
    value = error_of(bin_of, gap)
    again, chance = np.empty(resamples), np.empty(resamples)
    for i in range(resamples):
        rows = rng.integers(0, n, n)
        again[i] = error_of(bin_of[rows], gap[rows])
        chance[i] = error_of(bin_of, (rng.random(n) < confidence) - confidence)
    low, high = 2 * value - np.quantile(again, [0.975, 0.025])
    by_chance = np.quantile(chance, [0.025, 0.975])
    found = Estimate(
        value=value,
        low=0.0 if value <= by_chance[1] else min(max(float(low), 0.0), value),
        high=min(max(float(high), value), 1.0),
        n=n,
        method=f"{bin_of.max() + 1} bins of equal mass, reflected bootstrap 95 % ({resamples} resamples)",
        unit="fraction",
    )
    expected = Estimate(
        value=float(chance.mean()),
        low=min(float(by_chance[0]), float(chance.mean())),
        high=max(float(by_chance[1]), float(chance.mean())),
        n=n,
        method=f"mean and central 95 % of {resamples} simulations with right drawn from the confidence",
        unit="fraction",
    )
    return found, expected


def temperature(logs: Floats, labels: NDArray[np.int64]) -> Estimate:
    """What to divide the scores by so that the log-likelihood is largest (Guo et al. 2017).

    The likelihood is concave in a = 1/T; the interval is that of a maximum-likelihood estimate whose model may be
    wrong (White 1982): var(a) = sum of squared slopes / (sum of curvatures)^2.

    Args:
        logs: (n, classes) log-probabilities; any scores with the same softmax do.
        labels: (n,) classes.
    """
    n = len(labels)
    own = logs[np.arange(n), labels]

    def loss(log_t: float) -> float:
        return float(-normalised(logs / np.exp(log_t))[np.arange(n), labels].mean())

    if n < 2:
        return statistics.undefined(f"needs at least 2 rows, found {n}", n=n)
    found = optimize.minimize_scalar(loss, bounds=(np.log(COLDEST), np.log(HOTTEST)), method="bounded")
    value = float(np.exp(found.x))
    if (
        min(loss(np.log(COLDEST)), loss(np.log(HOTTEST))) <= found.fun + 1e-12
    ):  # e.g. never wrong: the colder the better
        return statistics.undefined(f"no best temperature between {COLDEST:g} and {HOTTEST:g}", n=n)
    probability = np.exp(normalised(logs / value))
    mean = (probability * logs).sum(1)
    slopes = mean - own
    curvature = (probability * (logs - mean[:, None]) ** 2).sum()
    if curvature == 0:
        return statistics.undefined("all classes have equal scores", n=n)
    half = float(stats.norm.ppf(0.975)) * (slopes**2).sum() ** 0.5 / curvature
    return Estimate(
        value=value,
        low=1 / (1 / value + half),
        high=1 / max(1 / value - half, 1 / HOTTEST),
        n=n,
        method="maximum likelihood, sandwich 95 %",
    )
