"""Exact tests that two groups of few rows share one rate: Fisher's, its mid-p, and the unconditional ones."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, special, stats

from audit.errors import DataError
from audit.fairness.inference.intervals import Floats

#: possible tables up to which unconditional tests try them all
MOST = 40_000
#: probabilities this close count as equal, as in R's fisher.test
EQUAL = 1 + 1e-7
#: rates that are tried before the best one is refined
GRID = 2001
#: outcomes held at once
BLOCK = 1 << 20


def fisher(hits: ArrayLike, rows: ArrayLike, other_hits: ArrayLike, other_rows: ArrayLike) -> Floats:
    """Two-sided p-values of Fisher's exact test: outcomes of the same totals that are as probable or less (Fisher 1934).

    Args:
        hits: rows of one group that count.
        rows: all its rows.
        other_hits: rows of the other group that count.
        other_rows: all its rows; the four broadcast.

    Returns:
        p-values in the broadcast shape.

    Raises:
        DataError: hits lie outside 0 to rows, or are no whole numbers.
    """
    return _fisher(hits, rows, other_hits, other_rows)[0]


def fisher_mid_p(hits: ArrayLike, rows: ArrayLike, other_hits: ArrayLike, other_rows: ArrayLike) -> Floats:
    """Fisher's p-value less half the probability of the table at hand (Lancaster 1961): of the right size on average.

    Args, Returns, Raises: as `fisher`.
    """
    p, own = _fisher(hits, rows, other_hits, other_rows)
    return p - own / 2


def unconditional(
    hits: int, rows: int, other_hits: int, other_rows: int, statistic: Literal["boschloo", "barnard"] = "boschloo"
) -> float:
    """Two-sided p-value that is exact whatever the common rate: the largest over all rates.

    Args:
        hits: rows of one group that count.
        rows: all its rows.
        other_hits: rows of the other group that count.
        other_rows: all its rows.
        statistic: what orders the tables: Fisher's p-value ("boschloo", Boschloo 1970; never above Fisher's own), or the
            pooled score statistic ("barnard", Barnard 1947; Suissa and Shuster 1985).

    Raises:
        DataError: the table is impossible or too large.
    """
    a, m, b, n = (int(part) for part in _whole(hits, rows, other_hits, other_rows))
    if (m + 1) * (n + 1) > MOST:
        raise DataError(f"Expected groups small enough to try every table, found {m} and {n} rows; try fisher_mid_p.")
    if statistic not in ("boschloo", "barnard"):
        raise DataError(f"Expected statistic to be boschloo or barnard, found {statistic!r}.")
    every, other = np.meshgrid(np.arange(m + 1.0), np.arange(n + 1.0), indexing="ij")
    if statistic == "boschloo":
        closer = fisher(every, m, other, n)
    else:
        pooled = (every + other) / (m + n)
        variance = pooled * (1 - pooled) * (1 / m + 1 / n)
        closer = -np.divide(
            np.abs(every / m - other / n), np.sqrt(variance), out=np.zeros_like(variance), where=variance > 0
        )
    extreme = closer <= closer[a, b] + 1e-9 * abs(closer[a, b])
    # all tables of one total share a power of the rate, which leaves one polynomial in it
    ways = np.where(extreme, np.exp(_choose(m, every) + _choose(n, other) - _choose(m + n, every + other)), 0.0)
    totals = np.arange(m + n + 1)
    share = np.bincount((every + other).astype(np.int64).ravel(), ways.ravel(), m + n + 1)

    def chance(rate: Any) -> Floats:
        return np.asarray(stats.binom.pmf(totals, m + n, np.asarray(rate)[..., None]) @ share)

    grid = np.linspace(0, 1, GRID)
    best = int(chance(grid).argmax())
    ends = grid[max(best - 1, 0)], grid[min(best + 1, GRID - 1)]
    finest = optimize.minimize_scalar(
        lambda rate: -float(chance(rate)), bounds=ends, method="bounded", options={"xatol": 1e-10}
    )
    return float(min(1.0, max(chance(grid[best]), -finest.fun)))


def _fisher(hits: ArrayLike, rows: ArrayLike, other_hits: ArrayLike, other_rows: ArrayLike) -> tuple[Floats, Floats]:
    """p-values, and the probability of each table itself."""
    parts = np.broadcast_arrays(*_whole(hits, rows, other_hits, other_rows))
    a, m, b, n = (part.ravel() for part in parts)
    total = a + b
    first, last = np.maximum(0, total - n), np.minimum(m, total)
    p, own = np.ones(a.shape), np.ones(a.shape)
    width = int((last - first).max(initial=0)) + 1
    for start in range(0, len(a), max(1, BLOCK // width)):
        at = slice(start, start + max(1, BLOCK // width))
        x = first[at, None] + np.arange(width)
        chance = np.where(
            x <= last[at, None], _hypergeometric(np.minimum(x, last[at, None]), m[at], n[at], total[at]), 0
        )
        own[at] = np.take_along_axis(chance, (a[at] - first[at])[:, None].astype(np.int64), 1)[:, 0]
        p[at] = np.minimum(1.0, np.where(chance <= own[at, None] * EQUAL, chance, 0).sum(1))
    return p.reshape(parts[0].shape), own.reshape(parts[0].shape)


def _hypergeometric(x: Floats, m: Floats, n: Floats, total: Floats) -> Floats:
    """Probability of x hits among m rows and total - x among n."""
    m, n, total = m[:, None], n[:, None], total[:, None]
    return np.asarray(np.exp(_choose(m, x) + _choose(n, total - x) - _choose(m + n, total)))


def _choose(n: Any, k: Any) -> Floats:
    return np.asarray(-special.betaln(n - k + 1, k + 1) - np.log1p(n))


def _whole(*parts: Any) -> tuple[Floats, ...]:
    hits, rows, other_hits, other_rows = (np.asarray(part, dtype=np.float64) for part in parts)
    for name, count, of in (("hits", hits, rows), ("other_hits", other_hits, other_rows)):
        if (count < 0).any() or (count > of).any() or (count % 1 != 0).any() or (of % 1 != 0).any():
            raise DataError(f"Expected {name} to be whole numbers from 0 to their rows, found {np.ravel(count)[:3]}.")
    return hits, rows, other_hits, other_rows
