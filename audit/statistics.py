"""Estimates with intervals, through scipy: the only place a check gets its uncertainty from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats

from reports.record import Estimate

LEVEL = 0.95


def undefined(reason: str, n: int = 0, unit: str = "") -> Estimate:
    """An estimate that does not exist, and why."""
    return Estimate(value=None, n=n, method="undefined", unit=unit, reason=reason)


def exact(value: float, n: int, unit: str = "", method: str = "exact count") -> Estimate:
    """A number without sampling error: a count, a size, a property of the file at hand."""
    return Estimate(value=float(value), low=float(value), high=float(value), n=n, method=method, unit=unit)


def _together(of: int) -> str:
    return f", {of} together" if of > 1 else ""


def proportion(successes: int, n: int, of: int = 1) -> Estimate:
    """A proportion with its Wilson score interval (Wilson 1927); undefined for n = 0.

    Args:
        successes: how many of the n.
        n: independent trials.
        of: intervals that are to hold together, this one among them (Bonferroni).
    """
    if n == 0:
        return undefined("no rows", unit="fraction")
    low, high = stats.binomtest(int(successes), int(n)).proportion_ci(1 - (1 - LEVEL) / of, method="wilson")
    value = successes / n
    return Estimate(
        value=value,
        low=min(low, value),
        high=max(high, value),
        n=int(n),
        method=f"Wilson 95 %{_together(of)}",
        unit="fraction",
    )


def mean(values: ArrayLike, unit: str = "", of: int = 1) -> Estimate:
    """A mean with its Student t interval; undefined for fewer than two values.

    Args:
        values: (n,) finite observations.
        unit: unit in words.
        of: intervals that are to hold together, this one among them (Bonferroni).
    """
    x = np.asarray(values, dtype=np.float64).ravel()
    if x.size < 2:
        return undefined(f"needs at least 2 values, found {x.size}", n=int(x.size), unit=unit)
    value, error = float(x.mean()), float(stats.sem(x))
    half = float(stats.t.ppf(1 - (1 - LEVEL) / 2 / of, x.size - 1)) * error
    method = f"Student t 95 %{_together(of)}"
    return Estimate(value=value, low=value - half, high=value + half, n=int(x.size), method=method, unit=unit)


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


def difference(a: Estimate, b: Estimate, of: int = 1) -> Estimate:
    """A - b of independent proportions or means, Newcombe's hybrid interval (Newcombe 1998, method 10).

    Args:
        a: the first.
        b: what is taken from it.
        of: as both were given it.
    """
    n = min(a.n, b.n)
    if a.value is None or b.value is None:
        return undefined(a.reason or b.reason or "undefined", n=n, unit=a.unit)
    assert a.low is not None and a.high is not None and b.low is not None and b.high is not None
    value = a.value - b.value
    down = ((a.value - a.low) ** 2 + (b.high - b.value) ** 2) ** 0.5
    up = ((a.high - a.value) ** 2 + (b.value - b.low) ** 2) ** 0.5
    return Estimate(
        value=value, low=value - down, high=value + up, n=n, method=f"Newcombe 95 %{_together(of)}", unit=a.unit
    )


def clustered_proportion(shares: ArrayLike, each: int) -> Estimate:
    """A proportion over clusters, each row a cluster with its share of hits in [0, 1]; undefined for no rows.

    Wilson's interval at the effective sample size p(1 - p) / var(p) (Korn and Graubard 1998; Franco et al. 2019), taken
    to be at least the number of rows and at most that of trials.

    Args:
        shares: (n,) share of hits of each row; rows are independent, hits within one need not be.
        each: trials in a row.
    """
    x = np.asarray(shares, dtype=np.float64).ravel()
    n = x.size
    if n == 0:
        return undefined("no rows", unit="fraction")
    p = float(np.clip(x.mean(), 0, 1))
    spread = p * (1 - p)  # of a single trial
    variance = float(x.var(ddof=1)) if n > 1 else spread
    size = float(n) if spread == 0 else n * min(max(spread / max(variance, spread / each), 1.0), float(each))
    z = float(stats.norm.ppf(0.5 + LEVEL / 2))
    centre = (p + z**2 / (2 * size)) / (1 + z**2 / size)
    half = z / (1 + z**2 / size) * (p * (1 - p) / size + z**2 / (4 * size**2)) ** 0.5
    return Estimate(
        value=p,
        low=min(max(centre - half, 0.0), p),
        high=max(min(centre + half, 1.0), p),
        n=int(n),
        method="Wilson 95 %, rows as clusters",
        unit="fraction",
    )


def paired_difference(a: ArrayLike, b: ArrayLike) -> Estimate:
    """mean(a) - mean(b) of two answers to the same rows, by Agresti and Min's adjusted Wald interval (2005).

    Half a row is added to each of the four cells, so that equal answers do not make a certain 0.

    Args:
        a: (n,) bool.
        b: (n,) bool, the same rows.
    """
    first, second = np.asarray(a, dtype=bool).ravel(), np.asarray(b, dtype=bool).ravel()
    n = first.size
    if n == 0:
        return undefined("no rows", unit="fraction")
    more, fewer = int((first & ~second).sum()), int((second & ~first).sum())
    size = n + 2
    centre = (more - fewer) / size
    error = max((more + fewer + 1) / size - centre**2, 0.0) ** 0.5 / size**0.5
    half = float(stats.norm.ppf(0.5 + LEVEL / 2)) * error
    value = (more - fewer) / n
    return Estimate(
        value=value,
        low=min(max(centre - half, -1.0), value),
        high=max(min(centre + half, 1.0), value),
        n=int(n),
        method="Agresti-Min 95 %, paired",
        unit="fraction",
    )


def auroc(higher: ArrayLike, lower: ArrayLike) -> Estimate:
    """Chance that a value of the first sample exceeds one of the second, ties as halves; the area under the ROC curve.

    Newcombe's score-type interval (2006, part 2, method 5), which has a width at 0 and 1 too; undefined where a sample
    is empty.

    Args:
        higher: (m,) values that should be the larger ones.
        lower: (n,) values that should be the smaller ones.
    """
    a, b = np.asarray(higher, dtype=np.float64).ravel(), np.asarray(lower, dtype=np.float64).ravel()
    m, n = a.size, b.size
    if not m or not n:
        return undefined(f"needs both kinds, found {m} and {n}", n=m + n)
    value = float((stats.rankdata(np.concatenate([a, b]))[:m].sum() - m * (m + 1) / 2) / (m * n))
    z, extra = float(stats.norm.ppf(0.5 + LEVEL / 2)), (m + n) / 2 - 1

    def beyond(theta: float) -> float:
        spread = 1 + extra * ((1 - theta) / (2 - theta) + theta / (1 + theta))
        return (value - theta) ** 2 - z**2 * theta * (1 - theta) * spread / (m * n)

    # at 0 and 1 the value itself is a root, and the other one is meant
    low = float(optimize.brentq(beyond, 0.0, min(value, 1 - 1e-9))) if value > 0 else 0.0
    high = float(optimize.brentq(beyond, max(value, 1e-9), 1.0)) if value < 1 else 1.0
    return Estimate(
        value=value, low=min(low, value), high=max(high, value), n=m + n, method="Mann-Whitney, Newcombe 95 %"
    )


def holm(p: ArrayLike) -> NDArray[np.float64]:
    """Holm's adjusted p-values (1979), in the order given: naming those of at most alpha errs at all with chance alpha.

    Args:
        p: (n,) p-values of single tests.
    """
    x = np.asarray(p, dtype=np.float64).ravel()
    order = np.argsort(x, kind="stable")
    out = np.empty(x.size)
    out[order] = np.minimum(np.maximum.accumulate(x[order] * np.arange(x.size, 0, -1)), 1.0)
    return out
