"""Intervals for proportions, their differences and ratios, elementwise over arrays and for real-valued sample sizes.

Every interval of one proportion takes `(p, n, z)`: the proportions, their (effective) numbers of rows > 0 and the critical
value of the standard normal whose upper tail each end leaves out; all three broadcast. Where n is an effective sample size
the binomial's tails are those of the beta distribution with real-valued parameters (Korn and Graubard 1998).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

Floats = NDArray[np.float64]
Ends = tuple[Floats, Floats]
#: beyond this a normal tail is 0 in double precision
FARTHEST = 38.0


def normal(level: float) -> float:
    """The two-sided critical value of the standard normal, e.g. 1.96 for 0.95."""
    return float(stats.norm.ppf(0.5 + level / 2))


@cache
def critical(groups: int, comparisons: str, alpha: float) -> float:
    """Critical value that holds for all comparisons at once.

    Args:
        groups: number of groups compared, at least 2.
        comparisons: "pairs" (every pair: Tukey's studentised range, conservative for unequal sizes by Hayter 1984) or
            "reference" (every group with one: Sidak over groups - 1).
        alpha: family-wise error.
    """
    if comparisons == "pairs":
        return float(stats.studentized_range.ppf(1 - alpha, groups, np.inf) / np.sqrt(2))
    each = 1 - (1 - alpha) ** (1 / (groups - 1))
    return float(stats.norm.ppf(1 - each / 2))


def wilson(p: Floats, n: Floats, z: Any) -> Ends:
    """Wilson's score interval (Wilson 1927, eq. 4)."""
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return np.minimum(np.clip(centre - half, 0, 1), p), np.maximum(np.clip(centre + half, 0, 1), p)


def clopper_pearson(p: Floats, n: Floats, z: Any) -> Ends:
    """The exact interval (Clopper and Pearson 1934): never covers less often than it says; for small n far more often."""
    p, n, tail = np.broadcast_arrays(np.asarray(p, float), np.asarray(n, float), special.ndtr(-np.asarray(z, float)))
    hits, misses = p * n, (1 - p) * n
    tiny = np.finfo(float).tiny
    low = np.where(hits > 0, special.betaincinv(np.maximum(hits, tiny), misses + 1, tail), 0.0)
    # the upper end is the mirror image of the lower end of the misses, which keeps its precision near 1
    high = np.where(misses > 0, 1 - special.betaincinv(np.maximum(misses, tiny), hits + 1, tail), 1.0)
    return np.minimum(low, p), np.maximum(high, p)


def mid_p(p: Floats, n: Floats, z: Any) -> Ends:
    """The mid-p interval (Lancaster 1961): exact tails with half of the observed count's own chance; covers z on average."""
    p, n, z = np.broadcast_arrays(np.asarray(p, float), np.asarray(n, float), np.asarray(z, float))
    low = _mid_p_low(p, n, z)
    high = 1 - _mid_p_low(1 - p, n, z)
    return np.minimum(low, p), np.maximum(high, p)


#: interval of one proportion by its name
METHODS: dict[str, Callable[[Floats, Floats, Any], Ends]] = {
    "wilson": wilson,
    "clopper-pearson": clopper_pearson,
    "mid-p": mid_p,
}
#: how a report writes it
WRITTEN = {"wilson": "Wilson", "clopper-pearson": "Clopper-Pearson", "mid-p": "mid-p"}


def mid_p_score(p: Floats, n: Floats, rate: Any) -> Floats:
    """How far the proportions lie above a rate, as the standard normal deviate of their mid-p tail.

    It falls as the rate rises; the mid-p limits at critical value z are the rates where it is z and -z.

    Args:
        p: proportions.
        n: sample sizes, > 0.
        rate: rates in [0, 1] to hold them against.
    """
    upper, lower = _mid_p_tails(p, n, np.asarray(rate, float))
    # each from its own side, so that neither is 1 minus something tiny
    score = np.where(upper < lower, -special.ndtri(upper), special.ndtri(lower))
    return np.asarray(np.clip(score, -FARTHEST, FARTHEST))


def newcombe(a: Floats, a_ends: Ends, b: Floats, b_ends: Ends) -> tuple[Floats, Floats, Floats]:
    """The difference a - b of independent proportions by the hybrid of their intervals (Newcombe 1998, method 10).

    Args:
        a: the first proportions.
        a_ends: their low and high.
        b: the second proportions.
        b_ends: their low and high.

    Returns:
        Difference, low and high.
    """
    d = a - b
    return d, d - np.hypot(a - a_ends[0], b_ends[1] - b), d + np.hypot(a_ends[1] - a, b - b_ends[0])


def paired_newcombe(both: Floats, first: Floats, second: Floats, neither: Floats, z: float) -> tuple[Any, Any, Any]:
    """The difference of two proportions of the same rows (Newcombe 1998 on paired data, method 10).

    Args:
        both: rows with both answers positive.
        first: rows with the first one only.
        second: rows with the second one only.
        neither: rows with none.
        z: critical value of the standard normal.

    Returns:
        Difference of the first and the second proportion, low and high.
    """
    e, f, g, h = (np.asarray(part, float) for part in (both, first, second, neither))
    n = e + f + g + h
    a, b = (e + f) / n, (e + g) / n
    (l1, u1), (l2, u2) = wilson(a, n, z), wilson(b, n, z)
    cross = e * h - f * g
    # the continuity correction, for positive association only
    cross = np.where(cross > 0, np.maximum(cross - n / 2, 0), cross)
    spread = np.sqrt((e + f) * (g + h) * (e + g) * (f + h))
    phi = np.divide(cross, spread, out=np.zeros_like(spread), where=spread > 0)
    down = (a - l1) ** 2 - 2 * phi * (a - l1) * (u2 - b) + (u2 - b) ** 2
    up = (u1 - a) ** 2 - 2 * phi * (u1 - a) * (b - l2) + (b - l2) ** 2
    return a - b, a - b - np.sqrt(np.maximum(down, 0)), a - b + np.sqrt(np.maximum(up, 0))


def mover_ratio(a: Floats, a_ends: Ends, b: Floats, b_ends: Ends) -> tuple[Floats, Floats, Floats]:
    """The ratio a / b of independent proportions by the MOVER method (Donner and Zou 2012, eq. 8).

    Args:
        a: the first proportions.
        a_ends: their low and high.
        b: the second proportions.
        b_ends: their low and high.

    Returns:
        Ratio, low and high; infinite where b, or its lower limit, is 0.
    """
    (la, ua), (lb, ub) = a_ends, b_ends
    product = a * b
    with np.errstate(divide="ignore", invalid="ignore"):
        value = a / b
        lower = (product - np.sqrt(np.maximum(product**2 - la * ub * (2 * a - la) * (2 * b - ub), 0))) / (
            ub * (2 * b - ub)
        )
        # where 2 b <= ub the quadratic has no lower root: the ratio may be as small as la / ub
        lower = np.where(2 * b > ub, lower, la / ub)
        upper = (product + np.sqrt(np.maximum(product**2 - ua * lb * (2 * a - ua) * (2 * b - lb), 0))) / (
            lb * (2 * b - lb)
        )
    return value, np.maximum(lower, 0.0), np.where(lb > 0, upper, np.inf)


def _mid_p_tails(p: Floats, n: Floats, rate: Floats) -> Ends:
    """P(X > x) + P(X = x) / 2 and P(X < x) + P(X = x) / 2 for x = p n, through the beta distribution."""
    hits, misses = np.asarray(p * n, float), np.asarray((1 - p) * n, float)
    tiny = np.finfo(float).tiny
    some, rest = np.maximum(hits, tiny), np.maximum(misses, tiny)
    at_least = np.where(hits > 0, special.betainc(some, misses + 1, rate), 1.0)
    more = np.where(misses > 0, special.betainc(hits + 1, rest, rate), 0.0)
    fewer = np.where(hits > 0, special.betaincc(some, misses + 1, rate), 0.0)
    at_most = np.where(misses > 0, special.betaincc(hits + 1, rest, rate), 1.0)
    return (at_least + more) / 2, (fewer + at_most) / 2


def _mid_p_low(p: Floats, n: Floats, z: Floats) -> Floats:
    """Where `mid_p_score` is z, by Newton's steps inside a shrinking bracket; 0 where there are no hits."""
    out = np.zeros(p.shape)
    left = np.nonzero(p > 0)
    low, high = np.zeros(left[0].shape), np.ones(left[0].shape)
    at = np.clip(wilson(p, n, z)[0][left], 1e-12, 1 - 1e-12)
    # doubles halve into each other within 100 steps, were Newton's never to help; about 5 are usual
    for _ in range(100):
        miss = mid_p_score(p[left], n[left], at) - z[left]
        low, high = np.where(miss >= 0, at, low), np.where(miss <= 0, at, high)
        step = miss / _fall(p[left], n[left], at)
        # quadratic: after a step this small the next one is lost in rounding
        done = (np.abs(step) <= 1e-8) | (high - low <= 1e-15 * high)
        to = special.expit(special.logit(at) + step)
        at = np.where(((to >= low) & (to <= high)) | done, to, (low + high) / 2)
        out[left] = at
        if done.all():
            break
        left = tuple(part[~done] for part in left)
        at, low, high = at[~done], low[~done], high[~done]
    return out


def _fall(p: Floats, n: Floats, rate: Floats) -> Floats:
    """How fast `mid_p_score` falls by the rate's logit: the tail's slope over the normal density at the score."""
    hits, misses = p * n, (1 - p) * n
    logs = special.xlogy(hits, rate) + special.xlog1py(misses, -rate)
    # q (1 - q) times the two beta densities, B(x, n - x + 1) and B(x + 1, n - x)
    first = np.exp(logs + np.log1p(-rate) - special.betaln(hits, misses + 1))
    with np.errstate(divide="ignore"):
        second = np.where(
            misses > 0, np.exp(logs + np.log(rate) - special.betaln(hits + 1, np.maximum(misses, 1e-300))), 0
        )
    z = mid_p_score(p, n, rate)
    density = np.exp(-z * z / 2) / np.sqrt(2 * np.pi)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray((first + second) / 2 / density)
