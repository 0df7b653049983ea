"""The same person twice: what changes with the group alone, and whether it goes one way."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from audit.statistics import LEVEL, undefined
from reports.record import Estimate

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
#: draws held at once, so that many permutations of many rows need little memory
BLOCK = 1 << 22


@dataclass(frozen=True, eq=False)
class Answers:
    """What the model says of each row as it is, and in the version of each group.

    Attributes:
        own: (n,) the group that a row is of; -1 where it is of none or of several.
        answer: (n, groups) the class answered; -1 where there is no such version.
        score: (n, groups) log-odds or probability of the favourable class; NaN where there is no such version.
        before: (n,) the answer to the row as it is.
        now: (n,) its score.
        favourable: the favourable class.
    """

    own: NDArray[np.int64]
    answer: NDArray[np.int64]
    score: Floats
    before: NDArray[np.int64]
    now: Floats
    favourable: int

    def turned(self) -> Bools:
        """(n,) whether some version gets another answer than the row as it is."""
        return np.asarray(((self.answer >= 0) & (self.answer != self.before[:, None])).any(1))

    def favour(self, group: int, rows: Bools) -> Floats:
        """Whether a row gets the favourable answer as one of `group`, less the share of other versions that do.

        Args:
            group: a row of the group stands for itself, any other row is taken in its version.
            rows: (n,) the rows asked for.

        Returns:
            For each such row, in [-1, 1]; NaN where there is nothing to hold against each other.
        """
        answered = np.where(self.answer < 0, np.nan, self.answer == self.favourable)
        return self._against(answered, (self.before == self.favourable).astype(np.float64), group, rows)

    def effect(self, group: int, rows: Bools) -> Floats:
        """The score of a row as one of `group` less the mean score of its other versions; see `favour`."""
        return self._against(self.score, self.now, group, rows)

    def _against(self, versions: Floats, own: Floats, group: int, rows: Bools) -> Floats:
        others = np.delete(versions[rows], group, axis=1)
        seen = ~np.isnan(others)
        base = np.where(self.own[rows] == group, own[rows], versions[rows, group])
        mean = np.where(seen, others, 0).sum(1) / np.where(seen.any(1), seen.sum(1), np.nan)
        return np.asarray(base - mean)


def mcnemar(more: int, fewer: int) -> float:
    """Mid-p value of McNemar's test: are as many pairs turned one way as the other (Fagerland et al. 2013, eq. 5)?

    Args:
        more: pairs turned one way.
        fewer: pairs turned the other way.
    """
    turned = more + fewer
    if turned == 0:
        return 1.0
    least = min(more, fewer)
    return float(min(2 * stats.binom.cdf(least, turned, 0.5) - stats.binom.pmf(least, turned, 0.5), 1.0))


def sign_flip(changes: ArrayLike, permutations: int, rng: np.random.Generator) -> float:
    """P-value of a mean change being 0, under random signs of the pairs (Fisher 1935, section 21); exact for few pairs.

    Args:
        changes: (n,) change of each pair.
        permutations: draws of the signs, where not all of them are fewer.
        rng: source of the draws.
    """
    x = np.asarray(changes, dtype=np.float64)
    x = x[x != 0]
    if x.size == 0:
        return 1.0
    observed = abs(float(x.sum())) * (1 - 1e-12)
    if 2**x.size <= permutations:
        signs = np.where((np.arange(2**x.size)[:, None] >> np.arange(x.size)) & 1, 1.0, -1.0)
        return float((np.abs(signs @ x) >= observed).mean())
    reached, left = 0, permutations
    while left:
        now = min(left, max(BLOCK // x.size, 1))
        signs = rng.integers(0, 2, (now, x.size), dtype=np.int8) * 2 - 1
        reached += int((np.abs(signs @ x) >= observed).sum())
        left -= now
    return (1 + reached) / (1 + permutations)


def one_way(favour: ArrayLike, permutations: int, rng: np.random.Generator) -> float:
    """P-value of answers changing one way: McNemar's where each pair turns or does not, else under random signs.

    Args:
        favour: (n,) in [-1, 1], what each pair adds to either side.
        permutations: see `sign_flip`.
        rng: see `sign_flip`.
    """
    x = np.asarray(favour, dtype=np.float64)
    if np.isin(x, (-1.0, 0.0, 1.0)).all():
        return mcnemar(int((x > 0).sum()), int((x < 0).sum()))
    return sign_flip(x, permutations, rng)


def net(favour: ArrayLike, of: int = 1) -> Estimate:
    """Mean of pairs turned one way (1), the other way (-1), not (0), or partly, by Agresti and Min's interval (2005).

    Half a pair is added to each of the four cells, so that no pair turned does not make a certain 0.

    Args:
        favour: (n,) in [-1, 1].
        of: intervals that are to hold together, this one among them (Bonferroni).
    """
    x = np.asarray(favour, dtype=np.float64)
    n = x.size
    if n == 0:
        return undefined("no rows", unit="fraction")
    centre = float(x.sum()) / (n + 2)
    error = max((float((x**2).sum()) + 1) / (n + 2) - centre**2, 0.0) ** 0.5 / (n + 2) ** 0.5
    half = float(stats.norm.ppf(1 - (1 - LEVEL) / 2 / of)) * error
    value = float(x.mean())
    together = f", {of} together" if of > 1 else ""
    return Estimate(
        value=value,
        low=min(max(centre - half, -1.0), value),
        high=max(min(centre + half, 1.0), value),
        n=n,
        method=f"Agresti-Min 95 %, paired{together}",
        unit="fraction",
    )
