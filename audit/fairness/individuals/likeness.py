"""Like people, like answers: neighbours, consistency, and local Lipschitz violations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from audit.errors import DataError
from audit.statistics import LEVEL, undefined
from reports.record import Estimate

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: distances held at once
BLOCK = 1 << 22
#: differences of scores that are rounding
ROUNDING = 1e-6


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The nearest rows of some rows.

    Attributes:
        rows: (m,) the rows asked about.
        near: (m, k + 1) their nearest rows, without themselves, nearest first; the last stands in for one that is left
            out.
        distance: (m, k + 1).
        size: rows that could be neighbours.
    """

    rows: Ints
    near: Ints
    distance: Floats
    size: int

    @property
    def k(self) -> int:
        """Neighbours that count."""
        return int(self.near.shape[1]) - 1


def neighbours(vectors: ArrayLike, k: int, rows: Ints | None = None) -> Neighbours:
    """Find the k nearest rows of each row (and one more), by Euclidean distance, in blocks of bounded memory.

    Which of the rows that are equally far at the edge count is settled by rounding.

    Args:
        vectors: (n, d) finite numbers.
        k: neighbours, at most n - 2.
        rows: (m,) the rows asked about; all where left out.

    Raises:
        DataError: there are too few rows for k.
    """
    x = np.asarray(vectors, dtype=np.float32)
    n = len(x)
    if not 1 <= k <= n - 2:
        raise DataError(f"Expected k from 1 to {max(n - 2, 1)} for {n} rows, found {k}; try fewer neighbours.")
    asked = np.arange(n) if rows is None else np.asarray(rows, dtype=np.int64)
    # distances hardly suffer in single precision when numbers stand around 0
    x = x - x.mean(0)
    square = (x.astype(np.float64) ** 2).sum(1).astype(np.float32)
    near = np.empty((len(asked), k + 1), dtype=np.int64)
    distance = np.empty((len(asked), k + 1))
    step = max(BLOCK // n, 1)
    for start in range(0, len(asked), step):
        part = asked[start : start + step]
        apart = square - 2 * (x[part] @ x.T)
        apart[np.arange(len(part)), part] = np.inf
        least = np.argpartition(apart, k, axis=1)[:, : k + 1]
        # what the product cancelled is measured again
        exact = np.stack([((x[least[:, j]].astype(np.float64) - x[part]) ** 2).sum(1) for j in range(k + 1)], axis=1)
        order = np.lexsort((least, exact), axis=1)
        near[start : start + step] = np.take_along_axis(least, order, axis=1)
        distance[start : start + step] = np.sqrt(np.take_along_axis(exact, order, axis=1))
    return Neighbours(asked, near, distance, n)


def consistency(found: Neighbours, answers: ArrayLike, members: ArrayLike | None = None) -> Estimate:
    """How far answers agree with those of like people: 1 - mean |y_i - mean of its k neighbours| (Zemel et al. 2013).

    Args:
        found: the neighbours.
        answers: (n,) numbers in [0, 1], of all rows that could be neighbours.
        members: (m,) bool, which of the rows asked about count; all where left out.
    """
    y = np.asarray(answers, dtype=np.float64)
    return _jackknife(found, lambda own, near: 1 - np.abs(own[:, 0] - near.mean(1)), y, members)


def violations(found: Neighbours, scores: ArrayLike, scale: float, members: ArrayLike | None = None) -> Estimate:
    """Share of near pairs whose scores lie further apart than the people: |s_i - s_j| > d(i, j) / scale.

    The Lipschitz condition of Dwork et al. (2012, definition 2.1) asked of the k nearest neighbours only (John et al.
    2020).

    Args:
        found: the neighbours.
        scores: (n,) numbers in [0, 1], of all rows that could be neighbours.
        scale: distance over which a score may go all the way from 0 to 1.
        members: (m,) bool, which of the rows asked about count; all where left out.
    """
    s = np.asarray(scores, dtype=np.float64)
    slack = found.distance / scale + ROUNDING
    return _jackknife(found, lambda own, near, slack: (np.abs(own - near) > slack).mean(1), s, members, slack)


def by_chance(
    measure: Callable[[Floats], Estimate], values: ArrayLike, draws: int, rng: np.random.Generator
) -> tuple[Estimate, float]:
    """What a measure says when values are shuffled among people, and how often it then says as much.

    Args:
        measure: e.g. `consistency` with the neighbours given.
        values: (n,) answers or scores.
        draws: shuffles.
        rng: source of them.

    Returns:
        Mean of the shuffles with the range that holds 95 % of them; the share of shuffles that reach the measure from
        below, (1 + at or above) / (1 + draws).
    """
    x = np.asarray(values, dtype=np.float64)
    observed = measure(x)
    null = np.array([measure(rng.permutation(x)).value for _ in range(draws)], dtype=np.float64)
    if observed.value is None or not np.isfinite(null).all():
        return undefined(observed.reason or "no rows", n=observed.n, unit=observed.unit), 1.0
    low, high = np.quantile(null, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2])
    value = float(null.mean())
    estimate = Estimate(
        value=value,
        low=min(float(low), value),
        high=max(float(high), value),
        n=observed.n,
        method=f"{draws} shuffles, range of 95 %",
        unit=observed.unit,
    )
    return estimate, float((1 + (null >= observed.value - 1e-12).sum()) / (1 + draws))


def _jackknife(
    found: Neighbours,
    term: Callable[..., Floats],
    values: Floats,
    members: ArrayLike | None,
    *aligned: Floats,
) -> Estimate:
    """Mean of a term of every row and its neighbours, every row left out once, as row and as neighbour.

    Where a row is left out, the next nearest takes its place with whoever had it as a neighbour. The jackknife's variance
    is too large rather than too small (Efron and Stein 1981).
    """
    counted = np.ones(len(found.rows), dtype=bool) if members is None else np.asarray(members, dtype=bool)
    m, k = int(counted.sum()), found.k
    if m < 2:
        return undefined(f"needs at least 2 rows, found {m}", n=m, unit="fraction")
    own, near = values[found.rows[counted]][:, None], values[found.near[counted]]
    beside = [part[counted] for part in aligned]
    full = term(own, near[:, :k], *(part[:, :k] for part in beside))
    change = np.zeros(found.size)
    for j in range(k):
        kept = [i for i in range(k + 1) if i != j]
        without = term(own, near[:, kept], *(part[:, kept] for part in beside))
        change += np.bincount(found.near[counted][:, j], without - full, found.size)
    left = np.zeros(found.size)
    left[found.rows[counted]] = full
    each = np.full(found.size, float(m))
    each[found.rows[counted]] -= 1
    total = float(full.sum())
    drawn = (total - left + change) / each
    value = total / m
    error = float(((found.size - 1) / found.size * ((drawn - drawn.mean()) ** 2).sum()) ** 0.5)
    half = float(stats.t.ppf(0.5 + LEVEL / 2, m - 1)) * error
    return Estimate(
        value=value,
        low=min(max(value - half, 0.0), value),
        high=max(min(value + half, 1.0), value),
        n=m,
        method="jackknife 95 %, rows and neighbours",
        unit="fraction",
    )
