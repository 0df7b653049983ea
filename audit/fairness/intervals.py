"""Closed-form intervals for group rates, pairwise differences and ratios, and their simultaneous critical values."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]


def wilson(p: Floats, n: Floats, z: float) -> tuple[Floats, Floats]:
    """Wilson's score interval (Wilson 1927, eq. 4) for real-valued n, as an effective sample size needs.

    Args:
        p: proportions.
        n: sample sizes, > 0.
        z: critical value of the standard normal.
    """
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return np.minimum(np.clip(centre - half, 0, 1), p), np.maximum(np.clip(centre + half, 0, 1), p)


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


def difference(p: Floats, low: Floats, high: Floats) -> tuple[Floats, Floats, Floats]:
    """All pairwise differences p_i - p_j with Newcombe's hybrid interval (Newcombe 1998, method 10).

    Args:
        p: (g,) proportions.
        low: (g,) lower ends of their intervals.
        high: (g,) upper ends.

    Returns:
        value, low and high, each (g, g).
    """
    d = p[:, None] - p[None, :]
    down = np.hypot((p - low)[:, None], (high - p)[None, :])
    up = np.hypot((high - p)[:, None], (p - low)[None, :])
    return d, d - down, d + up


def ratio(p: Floats, low: Floats, high: Floats) -> tuple[Floats, Floats, Floats]:
    """All pairwise ratios p_i / p_j by the MOVER method (Donner and Zou 2012, eq. 8), with Wilson limits.

    Args:
        p: (g,) proportions.
        low: (g,) lower ends of their intervals.
        high: (g,) upper ends.

    Returns:
        value, low and high, each (g, g); infinite where p_j, or its lower limit, is 0.
    """
    pi, pj = p[:, None], p[None, :]
    li, ui, lj, uj = low[:, None], high[:, None], low[None, :], high[None, :]
    product = pi * pj
    with np.errstate(divide="ignore", invalid="ignore"):
        value = pi / pj
        lower = (product - np.sqrt(np.maximum(product**2 - li * uj * (2 * pi - li) * (2 * pj - uj), 0))) / (
            uj * (2 * pj - uj)
        )
        # where 2 p_j <= u_j the quadratic has no lower root: the ratio may be as small as l_i / u_j
        lower = np.where(2 * pj > uj, lower, li / uj)
        upper = (product + np.sqrt(np.maximum(product**2 - ui * lj * (2 * pi - ui) * (2 * pj - lj), 0))) / (
            lj * (2 * pj - lj)
        )
    upper = np.where(lj > 0, upper, np.inf)
    return value, np.maximum(lower, 0.0), upper
