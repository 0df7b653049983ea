"""Which groups differ, all at once: limits so set that all groups of one rate meet in them as often as promised.

Give each group an interval at one common critical value c. If all groups share one rate, all intervals meet, but for a
chance that depends on c and on the groups' sizes alone: `alarm`. The c that makes it alpha gives comparison intervals:
groups whose intervals stand apart by more than a margin differ by more than it, with that error over all pairs together.
For groups of one size this is Tukey's range test; the extremes alone are needed, so that g groups cost O(g), not O(g^2).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy import optimize, special

from audit.fairness.inference.clustered import Sample
from audit.fairness.inference.intervals import FARTHEST, Floats

#: steps of the trapezoid rule over the smallest group's interval; the integrand is smooth, so that it converges fast
POINTS = 161
#: up to here all pairs are looked at
FEW = 64
#: angles of `farthest` beyond that; its answer is at most 1e-5 of a half-width too far
ANGLES = 361


def alarm(c: float, spread: Floats, reference: int | None = None) -> float:
    """Chance that not all intervals meet, of independent normal values of one mean.

    Args:
        c: half-widths in units of spread.
        spread: (g,) standard deviations, > 0.
        reference: the group that all others are to meet; None: all are to meet each other.
    """
    s = spread / spread.min()
    if reference is not None:
        # given the reference, the others meet it independently
        own, others = s[reference], np.delete(s, reference)
        x, weight = _nodes(c, others / own)
        x = x[:, None]
        reach = c * (others + own)
        meet = special.ndtr((x * own + reach) / others) - special.ndtr((x * own - reach) / others)
        chance = meet.prod(1) @ (weight * _density(x[:, 0]))
    else:
        # over the highest lower limit t, whichever group's it is, with all other intervals around t
        t = np.linspace(-(c + 9), c + 9, POINTS)
        sizes, times = np.unique(s, return_counts=True)
        x = t[:, None] / sizes
        around = np.maximum(special.ndtr(x + c) - special.ndtr(x - c), np.finfo(float).tiny)
        chance = np.trapezoid(
            (times * _density(x + c) / sizes / around).sum(1) * np.exp((times * np.log(around)).sum(1)), t
        )
    return float(np.clip(1 - chance, 0.0, 1.0))


def critical(spread: Floats, alpha: float, reference: int | None = None) -> float:
    """The critical value at which `alarm` is alpha."""
    return _critical(np.asarray(spread / spread.min(), dtype=np.float64).tobytes(), alpha, reference)


@lru_cache(maxsize=64)
def _critical(spread: bytes, alpha: float, reference: int | None) -> float:
    """The same, kept: every rate over all rows of the groups asks for it again."""
    s = np.frombuffer(spread, dtype=np.float64)
    widest = -float(special.ndtri(alpha / 4 / len(s)))
    return float(optimize.brentq(lambda c: alarm(c, s, reference) - alpha, 1e-9, widest, xtol=1e-10))


def highest_low(groups: Sample, c: float) -> float:
    """The highest of the groups' lower mid-p limits at critical value c."""
    top = float(groups.value.max())
    # few clusters may reach no limit inside
    if top == 0 or float(groups.score(0.0).max()) <= c:
        return 0.0
    return float(optimize.brentq(lambda rate: float(groups.score(rate).max()) - c, 0.0, top, xtol=1e-15))


def lowest_high(groups: Sample, c: float) -> float:
    """The lowest of the groups' upper mid-p limits at critical value c."""
    bottom = float(groups.value.min())
    if bottom == 1 or float(groups.score(1.0).min()) >= -c:
        return 1.0
    return float(optimize.brentq(lambda rate: float(groups.score(rate).min()) + c, bottom, 1.0, xtol=1e-15))


class Parting(NamedTuple):
    """At which critical value intervals stop standing apart, and whose they are."""

    c: float
    low: int
    high: int


def parting(top: Sample, bottom: Sample, shift: Callable[[float], float], last: float) -> Parting:
    """The smallest critical value at which no interval of `top` lies beyond the margin of one of `bottom`.

    Args:
        top: groups that may be too high.
        bottom: groups that may be too low.
        shift: from a rate to the highest one that is within the margin of it; increasing.
        last: the rate that is shifted to 1.

    Returns:
        It, at least 0, and the positions of the groups that part last in `bottom` and `top`.
    """

    def above(rate: float) -> Floats:
        return top.score(min(shift(rate), 1.0))

    def below(rate: float) -> Floats:
        return -bottom.score(rate)

    def excess(rate: float) -> float:
        return float(above(rate).max() - below(rate).max())

    if excess(0.0) <= 0:
        rate = 0.0
    elif excess(last) >= 0:
        rate = last
    else:
        rate = float(optimize.brentq(excess, 0.0, last, xtol=1e-15))
    highs, lows = above(rate), below(rate)
    c = float(np.clip(max(highs.max(), lows.max()), 0.0, FARTHEST))
    return Parting(c, int(lows.argmax()), int(highs.argmax()))


class Farthest(NamedTuple):
    """The farthest upper limit over pairs, and whose it is."""

    limit: float
    low: int
    high: int


def farthest(value: Floats, down: Floats, up: Floats, reference: int | None = None) -> Farthest:
    """The largest v_i - v_j + hypot(up_i, down_j) over pairs i != j: the farthest of Newcombe's upper limits.

    Many groups are swept by angle: hypot(a, b) is the maximum over angles of a cos + b sin, and for each angle i and j are
    found apart from each other. That is O(g), and errs by less than 1e-5 of a half-width, to the safe side.

    Args:
        value: (g,) values.
        down: (g,) distances to their lower limits.
        up: (g,) distances to their upper limits.
        reference: look at pairs with this group only.
    """
    g = len(value)
    if g <= FEW or reference is not None:
        rows, columns = np.divmod(np.arange(g * g), g) if reference is None else _with(reference, g)
        limit = value[rows] - value[columns] + np.hypot(up[rows], down[columns])
        at = int(np.where(rows == columns, -np.inf, limit).argmax())
        return Farthest(float(limit[at]), int(columns[at]), int(rows[at]))
    best = Farthest(-np.inf, 0, 0)
    step = np.pi / 2 / (ANGLES - 1)
    for angle in np.arange(ANGLES) * step:
        highs = value + up * np.cos(angle) / np.cos(step / 2)
        lows = -value + down * np.sin(angle) / np.cos(step / 2)
        # the two best of each side: where one group is best on both, it meets another's second
        for i in np.argpartition(-highs, 1)[:2]:
            for j in np.argpartition(-lows, 1)[:2]:
                if i != j and highs[i] + lows[j] > best.limit:
                    best = Farthest(float(highs[i] + lows[j]), int(j), int(i))
    return best


def _with(reference: int, g: int) -> tuple[np.ndarray[tuple[int], np.dtype[np.int64]], ...]:
    """Pairs of every other group with the reference, both ways round."""
    others = np.delete(np.arange(g), reference)
    same = np.full(g - 1, reference)
    return np.concatenate([others, same]), np.concatenate([same, others])


def _nodes(c: float, widths: Floats) -> tuple[Floats, Floats]:
    """Nodes and weights of Gauss-Legendre panels, narrow where groups sharper than the reference let go of it."""
    sharp = np.quantile(widths, np.linspace(0, 1, 5))[:, None]
    edges = c * (1 + sharp) + sharp * np.linspace(-9, 9, 7)
    ends = np.concatenate([np.linspace(-9, 9, 25), edges.ravel(), -edges.ravel()])
    ends = np.unique(ends[np.abs(ends) <= 9])
    node, weight = np.polynomial.legendre.leggauss(8)
    half, middle = np.diff(ends)[:, None] / 2, (ends[1:] + ends[:-1])[:, None] / 2
    return (middle + half * node).ravel(), (half * weight).ravel()


def _density(x: Floats) -> Floats:
    return np.asarray(np.exp(-x * x / 2) / np.sqrt(2 * np.pi))
