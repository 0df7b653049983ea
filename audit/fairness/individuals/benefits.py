"""How unevenly benefits fall on people, and how much of it lies between groups."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from audit.statistics import LEVEL, undefined
from reports.record import Estimate

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: a benefit is answer - truth + 1: 0 wrongly refused, 1 rightly answered, 2 wrongly favoured
BENEFITS = np.array([0.0, 1.0, 2.0])


def entropy(benefits: ArrayLike, counts: ArrayLike, alpha: float) -> Floats:
    """Generalised entropy of benefits (Speicher et al. 2018, eq. 2): 0 where all have the same; alpha 1 is Theil's index.

    Args:
        benefits: (b,) values >= 0.
        counts: (..., b) how many people have each.
        alpha: weight of those who have much, not 0.

    Returns:
        (...); NaN where nobody has anything.
    """
    b, c = np.asarray(benefits, dtype=np.float64), np.asarray(counts, dtype=np.float64)
    n = c.sum(-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        relative = b / ((c @ b) / n)[..., None]
        if alpha == 1:
            each = np.where(relative > 0, relative * np.log(np.where(relative > 0, relative, 1)), 0.0)
        else:
            each = (relative**alpha - 1) / (alpha * (alpha - 1))
        return np.asarray(np.where(c @ b > 0, (c * each).sum(-1) / n, np.nan))


def between(benefits: ArrayLike, counts: ArrayLike, alpha: float) -> Floats:
    """The part of the entropy that lies between groups (Speicher et al. 2018, eq. 4), as if all of a group had its mean.

    Args:
        benefits: (b,) values >= 0.
        counts: (..., groups, b) how many people of each group have each.
        alpha: see `entropy`.
    """
    b, c = np.asarray(benefits, dtype=np.float64), np.asarray(counts, dtype=np.float64)
    size = c.sum(-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(size > 0, (c @ b) / size, 0.0)
        relative = mean / ((size * mean).sum(-1) / size.sum(-1))[..., None]
        if alpha == 1:
            each = np.where(relative > 0, relative * np.log(np.where(relative > 0, relative, 1)), 0.0)
        else:
            each = (relative**alpha - 1) / (alpha * (alpha - 1))
        return np.asarray((size * each).sum(-1) / size.sum(-1))


@dataclass(frozen=True)
class Unevenness:
    """How unevenly benefits fall, each beside what chance gives.

    Attributes:
        theil: generalised entropy with alpha 1.
        entropy: with alpha 2, half the squared coefficient of variation.
        independent: entropy (alpha 2) of answers given as often, but without regard to the truth.
        shares: attribute -> share of the entropy (alpha 2) that lies between its groups.
        chance: attribute -> the same with people put into groups of the same sizes at random.
    """

    theil: Estimate
    entropy: Estimate
    independent: Estimate
    shares: Mapping[str, Estimate]
    chance: Mapping[str, Estimate]


def unevenness(
    favoured: ArrayLike,
    deserving: ArrayLike,
    groups: Mapping[str, Ints],
    rng: np.random.Generator,
    replicates: int = 1000,
) -> Unevenness:
    """Measure how unevenly benefits fall; all of it from counts.

    Args:
        favoured: (n,) bool, who gets the favourable answer.
        deserving: (n,) bool, for whom it is true.
        groups: attribute -> (n,) the group of each row, -1 for none.
        rng: source of the bootstrap and of the random groups.
        replicates: draws of each.
    """
    yes, true = np.asarray(favoured, dtype=bool), np.asarray(deserving, dtype=bool)
    benefit = yes.astype(np.int64) - true + 1
    counts = np.bincount(benefit, minlength=3)
    if len(benefit) < 2:
        nothing = undefined(f"needs at least 2 rows, found {len(benefit)}", n=len(benefit))
        return Unevenness(nothing, nothing, nothing, dict.fromkeys(groups, nothing), dict.fromkeys(groups, nothing))
    drawn = rng.multinomial(len(benefit), counts / counts.sum(), replicates)
    theil, whole = (
        _drawn(float(entropy(BENEFITS, counts, alpha)), entropy(BENEFITS, drawn, alpha), len(benefit))
        for alpha in (1, 2)
    )
    p, q = yes.mean(), true.mean()
    loose = float(entropy(BENEFITS, np.array([q * (1 - p), p * q + (1 - p) * (1 - q), p * (1 - q)]), 2))
    independent = (
        Estimate(value=loose, low=loose, high=loose, n=len(benefit), method="exact, from both rates")
        if np.isfinite(loose)
        else undefined("nobody has any benefit", n=len(benefit))
    )
    shares, chance = {}, {}
    for name, code in groups.items():
        own = code[code >= 0]
        table = np.bincount(own * 3 + benefit[code >= 0], minlength=3 * (own.max(initial=0) + 1)).reshape(-1, 3)
        shares[name], chance[name] = _between(table, rng, replicates)
    return Unevenness(theil, whole, independent, shares, chance)


def _between(table: Ints, rng: np.random.Generator, replicates: int) -> tuple[Estimate, Estimate]:
    n = int(table.sum())
    if not n:
        return undefined("no rows", unit="fraction"), undefined("no rows", unit="fraction")

    def share(counts: Ints) -> Floats:
        whole = entropy(BENEFITS, counts.sum(-2), 2)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(np.where(whole > 0, between(BENEFITS, counts, 2) / whole, np.nan))

    drawn = rng.multinomial(n, table.ravel() / n, replicates).reshape(replicates, *table.shape)
    value = _drawn(float(share(table)), share(drawn), n, "fraction")
    random = stats.random_table(table.sum(1), table.sum(0), seed=rng).rvs(replicates).astype(np.int64)
    null = share(random)
    method = f"{replicates} random groupings, range of 95 %"
    return value, _drawn(float(null.mean()), null, n, "fraction", method)


def _drawn(value: float, draws: Floats, n: int, unit: str = "", method: str = "") -> Estimate:
    draws = draws[np.isfinite(draws)]
    if not np.isfinite(value) or not draws.size:
        return undefined("all have the same benefit, or nobody has any", n=n, unit=unit)
    # what a few hundred draws say of an end is not in its seventh decimal
    low, high = np.quantile(draws, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2]).round(6)
    method = method or f"multinomial bootstrap 95 % ({len(draws)} resamples)"
    return Estimate(
        value=value, low=min(float(low), value), high=max(float(high), value), n=n, method=method, unit=unit
    )
