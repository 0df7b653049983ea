"""Two groups compared within strata: common difference, ratio and odds ratio, and whether the strata agree."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from audit.fairness.inference import intervals
from audit.statistics import LEVEL, undefined
from reports.record import Estimate

Floats = NDArray[np.float64]
#: rows expected in each cell of a stratum, below which the strata are too small to say whether they agree
EXPECTED = 5
#: critical value of one interval
Z = float(stats.norm.ppf(0.5 + LEVEL / 2))


class Finding(StrEnum):
    """What a control does to the direction of a difference; a direction is clear where the interval excludes 0."""

    REVERSED = "reversed"
    FADES = "no longer clear"
    APPEARS = "appears only within strata"
    STAYS = "same direction"
    UNCLEAR = "unclear both ways"


@dataclass(frozen=True, eq=False)
class Pair:
    """Two groups over the same strata; differences are first minus second, ratios first over second.

    Attributes:
        first: key of the first group.
        second: key of the second group.
        a: (s,) effective hits of the first in each stratum.
        n: (s,) effective rows of the first.
        pooled: rate and effective rows of the first, strata ignored.
        c: (s,) effective hits of the second.
        m: (s,) effective rows of the second.
        other: rate and effective rows of the second, strata ignored.
    """

    first: Hashable
    second: Hashable
    a: Floats
    n: Floats
    pooled: tuple[float, float]
    c: Floats
    m: Floats
    other: tuple[float, float]

    @cached_property
    def both(self) -> NDArray[np.bool_]:
        """(s,) strata with rows of both groups; nothing can be compared in the others."""
        return np.asarray((self.n > 0) & (self.m > 0))

    @property
    def left_out(self) -> int:
        """Strata with rows of one of the two groups only."""
        return int(((self.n + self.m > 0) & ~self.both).sum())

    @property
    def kept(self) -> float:
        """Share of the two groups' rows that stand in strata with both."""
        rows = self.n + self.m
        return float(rows[self.both].sum() / rows.sum()) if rows.sum() else 0.0

    @cached_property
    def cells(self) -> tuple[Floats, Floats, Floats, Floats, Floats]:
        """Hits and rows of the first, of the second, and rows of both, in strata with both."""
        a, n, c, m = (part[self.both] for part in (self.a, self.n, self.c, self.m))
        return a, n, c, m, n + m

    def crude(self, z: float = Z) -> Estimate:
        """The difference of the rates, strata ignored (Newcombe 1998, method 10)."""
        (p, size), (q, other) = self.pooled, self.other
        if not size or not other:
            return undefined("one of the two groups has no rows", unit="fraction")
        return _newcombe(p - q, (p, size), (q, other), f"Newcombe {level(z)}", z)

    def difference(self, z: float = Z) -> Estimate:
        """The common difference: Mantel-Haenszel weights, Sato's variance, in Klingenberg's score form.

        Greenland and Robins 1985; Sato 1989; Klingenberg 2014 (the interval). Where nobody or everybody counts, the
        variance is no guide and the interval is Newcombe's of the strata together.
        """
        if not self.both.any():
            return undefined("no stratum has rows of both groups", unit="fraction")
        a, n, c, m, total = self.cells
        value, weight, p, q = self._sato()
        method = f"Mantel-Haenszel over {len(a)} strata, "
        if a.sum() + c.sum() in (0, total.sum()):
            side = float(a.sum() > 0)
            return _newcombe(0.0, (side, n.sum()), (side, m.sum()), f"{method}Newcombe {level(z)}", z)
        centre = value + z**2 * p / weight**2 / 2
        half = max(centre**2 - value**2 + z**2 * q / weight**2, 0.0) ** 0.5
        return Estimate(
            value=value,
            low=min(max(centre - half, -1.0), value),
            high=max(min(centre + half, 1.0), value),
            n=round(float(total.sum())),
            method=f"{method}Sato-Klingenberg {level(z)}",
            unit="fraction",
        )

    def p(self) -> float | None:
        """P-value that the common difference is 0, of the score that its interval inverts; None where undefined."""
        if not self.both.any():
            return None
        value, weight, _, q = self._sato()
        return float(2 * stats.norm.sf(abs(value) * weight / q**0.5)) if q > 0 else 1.0

    def _sato(self) -> tuple[float, float, float, float]:
        """The common difference, the sum of the weights, and Sato's P and Q (1989, eq. 3)."""
        a, n, c, m, total = self.cells
        weight = float((n * m / total).sum())
        value = float(((a * m - c * n) / total).sum()) / weight
        p = float(((n**2 * c - m**2 * a + n * m * (m - n) / 2) / total**2).sum())
        q = float(((a * (m - c) + c * (n - a)) / total).sum()) / 2
        return float(np.clip(value, -1, 1)), weight, p, q

    def ratio(self, z: float = Z) -> Estimate:
        """The common ratio of the rates (Greenland and Robins 1985, eq. 4 and 13), in the score form of Sato 1990.

        With R / S the ratio and V their variance sum, the interval is where (R - phi S)^2 <= z^2 phi V; it has a width
        where the first group has no hits.
        """
        if not self.both.any():
            return undefined("no stratum has rows of both groups")
        a, n, c, m, total = self.cells
        r, s = float((a * m / total).sum()), float((c * n / total).sum())
        size = round(float(total.sum()))
        if s == 0:
            return undefined(f"group {self.second!r} has no hits to compare with", n=size)
        v = float((((a + c) * n * m - a * c * total) / total**2).sum())
        centre, root = r * s + z**2 * v / 2, max(z**2 * v * r * s + z**4 * v**2 / 4, 0.0) ** 0.5
        return Estimate(
            value=r / s,
            low=min(max(centre - root, 0.0) / s**2, r / s),
            high=max((centre + root) / s**2, r / s),
            n=size,
            method=f"Mantel-Haenszel over {len(a)} strata, Greenland-Robins score {level(z)}",
        )

    def odds_ratio(self, z: float = Z) -> Estimate:
        """The common odds ratio (Mantel and Haenszel 1959), variance by Robins, Breslow and Greenland (1986, eq. 2)."""
        if not self.both.any():
            return undefined("no stratum has rows of both groups")
        a, n, c, m, total = self.cells
        b, d = n - a, m - c
        r, s, p, q = a * d / total, b * c / total, (a + d) / total, (b + c) / total
        if not r.sum() or not s.sum():
            return undefined("one of the two groups has only hits, or none", n=round(float(total.sum())))
        variance = (
            (p * r).sum() / (2 * r.sum() ** 2)
            + (p * s + q * r).sum() / (2 * r.sum() * s.sum())
            + (q * s).sum() / (2 * s.sum() ** 2)
        )
        value, spread = float(r.sum() / s.sum()), float(np.exp(z * variance**0.5))
        return Estimate(
            value=value,
            low=value / spread,
            high=value * spread,
            n=round(float(total.sum())),
            method=f"Mantel-Haenszel over {len(a)} strata, Robins-Breslow-Greenland {level(z)}",
        )

    def homogeneity(self) -> float | None:
        """P-value that the odds ratio is one and the same in every stratum (Breslow and Day 1980; Tarone 1985).

        Over the strata where at least `EXPECTED` rows are expected in each cell: in smaller ones the test finds
        differences that are not there. None where fewer than two are left.
        """
        a, n, c, m, _ = self.cells
        common = self.odds_ratio().value
        if common is None:
            return None
        large = _cells(common, a, n, c, m).min(0) >= EXPECTED
        a, n, c, m = a[large], n[large], c[large], m[large]
        common = _odds(a, n, c, m)
        if len(a) < 2 or common is None:
            return None
        cells = _cells(common, a, n, c, m)
        excess, variance = a - cells[0], 1 / (1 / cells).sum(0)
        # Tarone's term: the common odds ratio was estimated by Mantel-Haenszel, not by maximum likelihood
        value = (excess**2 / variance).sum() - excess.sum() ** 2 / variance.sum()
        return float(stats.chi2.sf(max(value, 0.0), len(a) - 1))

    def influence(self) -> Floats:
        """What one more row adds to the common difference, (s, 2, 2): stratum, first or second group, miss or hit.

        The derivatives of sum of (a m - c n) / N over sum of n m / N by the cells; 0 in strata with one group only.
        """
        out = np.zeros((len(self.n), 2, 2))
        if not self.both.any():
            return out
        a, n, c, m, total = self.cells
        value, weight, _, _ = self._sato()
        top, bottom = (a * m - c * n) / total, n * m / total
        # rows of `above`: first group missing and hitting, second group missing and hitting
        above = np.array([[-c, m - c], [a, a - n]]) / total - top / total
        below = np.array([m, n])[:, None] / total - bottom / total
        slope = np.moveaxis(above - value * below, -1, 0)
        out[self.both] = slope / weight
        return out

    def crude_influence(self) -> Floats:
        """What one more row adds to the crude difference, (2, 2): first or second group, miss or hit."""
        (p, size), (q, other) = self.pooled, self.other
        out = np.zeros((2, 2))
        if size:
            out[0] = -p / size, (1 - p) / size
        if other:
            out[1] = q / other, (q - 1) / other
        return out

    def change(self, z: float = Z) -> Estimate:
        """The common difference minus the crude one, by the delta method: they share their rows."""
        crude, adjusted = self.crude(z), self.difference(z)
        if crude.value is None or adjusted.value is None:
            return undefined(crude.reason or adjusted.reason or "undefined", unit="fraction")
        rows = np.stack([self.n - self.a, self.a, self.m - self.c, self.c], -1).reshape(-1, 2, 2)
        half = z * float((rows * (self.influence() - self.crude_influence()) ** 2).sum() ** 0.5)
        value = adjusted.value - crude.value
        return Estimate(
            value=value,
            low=max(value - half, -2.0),
            high=min(value + half, 2.0),
            n=adjusted.n,
            method=f"delta method {level(z)}",
            unit="fraction",
        )

    def finding(self, z: float = Z) -> Finding:
        """What the strata do to the direction; `z` is to hold for all comparisons that are made at once."""
        crude, adjusted = (direction(e) for e in (self.crude(z), self.difference(z)))
        if crude and adjusted:
            return Finding.STAYS if crude == adjusted else Finding.REVERSED
        if crude:
            return Finding.FADES
        return Finding.APPEARS if adjusted else Finding.UNCLEAR


def direction(difference: Estimate) -> int:
    """1 or -1 where the interval excludes 0, else 0."""
    if difference.low is None or difference.high is None:
        return 0
    return int(difference.low > 0) - int(difference.high < 0)


def pooled(hits: Floats, total: Floats, effective: Floats) -> tuple[float, float]:
    """Rate and Kish's effective rows of cells together."""
    if not total.sum():
        return 0.0, 0.0
    return float(min(hits.sum() / total.sum(), 1.0)), float(total.sum() ** 2 / (total**2 / effective).sum())


def _newcombe(value: float, first: tuple[float, float], second: tuple[float, float], method: str, z: float) -> Estimate:
    p, n = (np.array([float(x), float(y)]) for x, y in zip(first, second, strict=True))
    low, high = intervals.wilson(p, n, z)
    return Estimate(
        value=value,
        low=min(value - float(np.hypot(p[0] - low[0], high[1] - p[1])), value),
        high=max(value + float(np.hypot(high[0] - p[0], p[1] - low[1])), value),
        n=round(float(n.sum())),
        method=method,
        unit="fraction",
    )


def level(z: float) -> str:
    """An interval's level in words: one of its own, or wider so that several hold together."""
    return f"95 %{'' if abs(z - Z) < 1e-9 else ' together'}"


def _odds(a: Floats, n: Floats, c: Floats, m: Floats) -> float | None:
    """Mantel and Haenszel's common odds ratio; None where it is 0 or infinite."""
    r, s = float((a * (m - c) / (n + m)).sum()), float((c * (n - a) / (n + m)).sum())
    return r / s if r and s else None


def _cells(common: float, a: Floats, n: Floats, c: Floats, m: Floats) -> Floats:
    """(4, s) cells expected under a common odds ratio, given the margins: the root of Breslow and Day's quadratic."""
    hits = a + c
    square, linear = 1 - common, m - hits + common * (n + hits)
    # the form of the root that does not cancel, nor divides by 0 at an odds ratio of 1
    root = linear + np.sqrt(np.maximum(linear**2 + 4 * square * common * n * hits, 0))
    first = np.divide(2 * common * n * hits, root, out=np.zeros_like(root), where=root > 0)
    return np.stack([first, n - first, hits - first, m - hits + first])
