"""Which candidates are worse on rows that did not choose them, all of them tested together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from audit.fairness.inference import intervals
from audit.fairness.subgroups.counting import Losses

Floats = NDArray[np.float64]

#: draws worked on at once
TOGETHER = 64
#: rows from which on draws are rotations of one random order
ROTATE = 20_000


@dataclass(frozen=True)
class Confirmed:
    """What the held-out rows say of each candidate, arrays (candidates,).

    Attributes:
        rows: rows.
        rate: mean loss inside; NaN without rows.
        rest: mean loss outside.
        low: lower ends of the simultaneous intervals of `rate - rest`.
        high: upper ends.
        p: adjusted over all candidates.
        critical: standard deviations that each had to exceed.
    """

    rows: Floats
    rate: Floats
    rest: Floats
    low: Floats
    high: Floats
    p: Floats
    critical: Floats


def confirm(member: NDArray[np.bool_], losses: Losses, alpha: float, draws: int, rng: np.random.Generator) -> Confirmed:
    """Test candidates against the same losses dealt to other rows: the smallest weighted p-value of each deal.

    Candidates stand in the order of how promising the discovery rows made them; the i-th gets a share of `alpha` in
    proportion to 1 / i, so that a long list costs the first ones little (weighted max-T: Westfall and Young 1993;
    Genovese, Roeder and Wasserman 2006). All slices are counted in each deal, so that their overlap counts too.

    Args:
        member: (candidates, n) which rows belong to which.
        losses: of the n rows.
        alpha: chance of a false finding over all candidates, and that any interval lies above, or below, its truth.
        draws: deals.
        rng: their source.
    """
    candidates, n = member.shape
    weight = 1 / np.arange(1, candidates + 1)
    weight /= weight.sum()
    pattern, sets = _patterns(member)
    rows, lost, squares = (
        np.bincount(pattern, values, len(sets)) @ sets for values in (None, losses.values, losses.values**2)
    )
    own = _statistic(rows, lost, None if losses.binary else squares, losses)
    score = stats.norm.logsf(own) - np.log(weight)
    least = np.empty(draws)
    pattern = pattern[rng.permutation(n)]
    for start in range(0, draws, TOGETHER):
        size = min(TOGETHER, draws - start)
        sums = _deals(pattern, sets, losses, size, rng)
        dealt = _statistic(rows, sums[0], sums[1] if len(sums) > 1 else None, losses)
        least[start : start + size] = (stats.norm.logsf(dealt) - np.log(weight)).min(1)
    # equal up to rounding counts as equal
    at_least = (least[None, :] <= score[:, None] + 1e-9).sum(1)
    p = (1 + at_least) / (draws + 1)
    limit = np.sort(least)[max(int(np.floor(alpha * (draws + 1))) - 1, 0)]
    if not losses.binary:
        # dealing real losses evens out their spread: a slice of wilder losses is held to its own t as well (Bonferroni)
        p, limit = np.maximum(p, np.minimum(np.exp(score), 1)), min(limit, np.log(alpha))
    critical = stats.norm.isf(np.exp(np.minimum(limit + np.log(weight), np.log(0.5))))
    rate, rest, low, high = _intervals(rows, lost, squares, losses, critical)
    return Confirmed(rows, rate, rest, low, high, p, critical)


def _patterns(member: NDArray[np.bool_]) -> tuple[NDArray[np.int64], Floats]:
    """Rows by the set of candidates that they belong to: the set of each row, and (sets, candidates) what is in it."""
    key = np.zeros(member.shape[1], dtype=np.uint64)
    for i, row in enumerate(member):
        key |= row.astype(np.uint64) << np.uint64(i)
    seen, pattern = np.unique(key, return_inverse=True)
    places = np.arange(len(member), dtype=np.uint64)
    return pattern.astype(np.int64), (seen[:, None] >> places & np.uint64(1)).astype(np.float64)


def _deals(
    pattern: NDArray[np.int64], sets: Floats, losses: Losses, size: int, rng: np.random.Generator
) -> list[Floats]:
    """Sums of the losses, and of their squares where they are real, over each candidate in each deal.

    Few rows are permuted anew each time. Of many, which come in a random order, the losses are rotated: rotations are a
    group, so that the test stays exact (Hemerik and Goeman 2018), at a fraction of the time.
    """
    n, at = losses.n, losses.at
    values = [None] if losses.binary else [losses.values[at], losses.values[at] ** 2]
    found = [np.empty((size, len(sets))) for _ in values]
    for i in range(size):
        dealt = (at + rng.integers(n)) % n if n > ROTATE else rng.permutation(n)[: len(at)]
        hit = pattern[dealt]
        for out, weights in zip(found, values, strict=True):
            out[i] = np.bincount(hit, weights, len(sets))
    return [one @ sets for one in found]


def _statistic(rows: Floats, lost: Floats, squares: Floats | None, losses: Losses) -> Floats:
    """How sure it is that slices are worse than the rest, in standard normal units, (..., candidates).

    Of counts: see `Losses.score`. Of real losses: Welch's t, so that a slice of the same mean and a larger spread is
    not taken for a worse one.
    """
    if squares is None:
        return losses.score(rows, lost)
    difference, error, freedom = _welch(rows, lost, squares, losses)
    t = np.divide(difference, error, out=np.zeros_like(difference), where=error > 0)
    # Wallace 1959: the normal score of Student's t
    root = np.sqrt(freedom * np.log1p(t**2 / freedom))
    return np.asarray(np.sign(t) * root * (8 * freedom + 1) / (8 * freedom + 3))


def _welch(rows: Floats, lost: Floats, squares: Floats, losses: Losses) -> tuple[Floats, Floats, Floats]:
    """Difference of the means inside and outside, its standard error, and the degrees of freedom of that."""
    inside, outside = np.maximum(rows, 1), np.maximum(losses.n - rows, 1)
    every = float((losses.values**2).sum())
    a, b = lost / inside, (losses.total - lost) / outside
    va = np.maximum(squares / inside - a**2, 0) / np.maximum(inside - 1, 1)
    vb = np.maximum((every - squares) / outside - b**2, 0) / np.maximum(outside - 1, 1)
    usable = (rows > 1) & (losses.n - rows > 1)
    spread = va**2 / np.maximum(inside - 1, 1) + vb**2 / np.maximum(outside - 1, 1)
    freedom = np.divide((va + vb) ** 2, spread, out=np.ones_like(spread), where=spread > 0)
    return np.where(usable, a - b, 0.0), np.where(usable, np.sqrt(va + vb), 0.0), np.maximum(freedom, 1.0)


def _intervals(
    rows: Floats, lost: Floats, squares: Floats, losses: Losses, critical: Floats
) -> tuple[Floats, Floats, Floats, Floats]:
    """Mean inside and outside, and the ends of their difference; NaN where a side has no rows."""
    empty = (rows == 0) | (rows == losses.n)
    inside, outside = np.where(empty, np.nan, rows), np.where(empty, np.nan, losses.n - rows)
    rate, rest = lost / inside, (losses.total - lost) / outside
    if not losses.binary:
        difference, error, freedom = _welch(rows, lost, squares, losses)
        half = stats.t.isf(stats.norm.sf(critical), freedom) * error
        return rate, rest, difference - half, difference + half
    low, high = intervals.wilson(rate, inside, critical)
    other_low, other_high = intervals.wilson(rest, outside, critical)
    d = rate - rest
    return rate, rest, d - np.hypot(rate - low, other_high - rest), d + np.hypot(high - rate, rest - other_low)
