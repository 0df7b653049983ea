"""Estimates with intervals, through scipy: the only place a check gets its uncertainty from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from reports.record import Estimate

LEVEL = 0.95


def undefined(reason: str, n: int = 0, unit: str = "") -> Estimate:
    """An estimate that does not exist, and why."""
    return Estimate(value=None, n=n, method="undefined", unit=unit, reason=reason)


def exact(value: float, n: int, unit: str = "", method: str = "exact count") -> Estimate:
    """A number without sampling error: a count, a size, a property of the file at hand."""
    return Estimate(value=float(value), low=float(value), high=float(value), n=n, method=method, unit=unit)


def proportion(successes: int, n: int) -> Estimate:
    """A proportion with its Wilson score interval (Wilson 1927); undefined for n = 0.

    Args:
        successes: how many of the n.
        n: independent trials.
    """
    if n == 0:
        return undefined("no rows", unit="fraction")
    low, high = stats.binomtest(int(successes), int(n)).proportion_ci(LEVEL, method="wilson")
    value = successes / n
    return Estimate(
        value=value, low=min(low, value), high=max(high, value), n=int(n), method="Wilson 95 %", unit="fraction"
    )


def mean(values: ArrayLike, unit: str = "") -> Estimate:
    """A mean with its Student t interval; undefined for fewer than two values.

    Args:
        values: (n,) finite observations.
        unit: unit in words.
    """
    x = np.asarray(values, dtype=np.float64).ravel()
    if x.size < 2:
        return undefined(f"needs at least 2 values, found {x.size}", n=int(x.size), unit=unit)
    value, error = float(x.mean()), float(stats.sem(x))
    half = float(stats.t.ppf(0.5 + LEVEL / 2, x.size - 1)) * error
    return Estimate(value=value, low=value - half, high=value + half, n=int(x.size), method="Student t 95 %", unit=unit)


def quantile(values: ArrayLike, q: float, unit: str = "") -> Estimate:
    """A quantile with its distribution-free interval from order statistics (Hahn and Meeker 1991, 5.2).

    Args:
        values: (n,) observations.
        q: which quantile, in (0, 1).
        unit: unit in words.
    """
    x = np.sort(np.asarray(values, dtype=np.float64).ravel())
    if x.size == 0:
        return undefined("no values", unit=unit)
    result = stats.quantile_test(x, p=q)
    low, high = result.confidence_interval(LEVEL)
    value = float(np.quantile(x, q))
    # too few values for a two-sided interval at this q: the sample's own ends bound it
    low = float(x[0]) if np.isnan(low) else float(low)
    high = float(x[-1]) if np.isnan(high) else float(high)
    return Estimate(
        value=value,
        low=min(low, value),
        high=max(high, value),
        n=int(x.size),
        method="order statistics 95 %",
        unit=unit,
    )


def bootstrap(
    statistic: Callable[..., float],
    *columns: NDArray[Any],
    rng: np.random.Generator,
    replicates: int = 1000,
    unit: str = "",
) -> Estimate:
    """A statistic of aligned columns with its percentile bootstrap interval (Efron 1979), rows resampled together.

    Args:
        statistic: maps the resampled columns to a number; NaN where it is undefined.
        columns: arrays of equal length n.
        rng: source of the resampling.
        replicates: resamples.
        unit: unit in words.
    """
    n = len(columns[0])
    if n < 2:
        return undefined(f"needs at least 2 rows, found {n}", n=n, unit=unit)
    value = float(statistic(*columns))
    if not np.isfinite(value):
        return undefined("the statistic is undefined on these rows", n=n, unit=unit)
    draws = np.empty(replicates)
    for i in range(replicates):
        rows = rng.integers(0, n, n)
        draws[i] = statistic(*(column[rows] for column in columns))
    draws = draws[np.isfinite(draws)]
    if draws.size < replicates / 2:
        return undefined("the statistic is undefined on most resamples", n=n, unit=unit)
    low, high = np.quantile(draws, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2])
    return Estimate(
        value=value,
        low=min(float(low), value),
        high=max(float(high), value),
        n=n,
        method=f"bootstrap 95 % ({replicates} resamples)",
        unit=unit,
    )


def difference(a: Estimate, b: Estimate) -> Estimate:
    """A - b of independent proportions or means, Newcombe's hybrid interval (Newcombe 1998, method 10)."""
    n = min(a.n, b.n)
    if a.value is None or b.value is None:
        return undefined(a.reason or b.reason or "undefined", n=n, unit=a.unit)
    assert a.low is not None and a.high is not None and b.low is not None and b.high is not None
    value = a.value - b.value
    down = ((a.value - a.low) ** 2 + (b.high - b.value) ** 2) ** 0.5
    up = ((a.high - a.value) ** 2 + (b.value - b.low) ** 2) ** 0.5
    return Estimate(value=value, low=value - down, high=value + up, n=n, method="Newcombe 95 %", unit=a.unit)
