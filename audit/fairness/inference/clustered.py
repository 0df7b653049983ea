"""What each group's rate rests on: its proportion, how many independent rows that is worth, and the limits that follow.

Rows of one weight count once each. Weighted rows count by Kish's effective number. Where rows repeat people, or stand in
other clusters, the variance is linearised over clusters (Binder 1983), the effective number is the one that would give a
proportion that variance (Korn and Graubard 1998), and Student's t with one degree of freedom less than clusters takes the
normal's place. Clusters with rows in several groups make these dependent; what compares groups then holds whatever the
dependence (Bonferroni), which is wide. For weights that go with the outcome, name every row a cluster of its own: that takes the same path.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from audit.fairness.counting import rates
from audit.fairness.inference import intervals
from audit.fairness.inference.intervals import Ends, Floats

if TYPE_CHECKING:
    from audit.fairness.counting.cube import Cube


@dataclass(frozen=True, eq=False)
class Sample:
    """A rate of each group and what it rests on; every array is (g,).

    Attributes:
        name: the rate.
        value: the rate itself; NaN where it is undefined.
        share: the proportion behind it, on whose scale the rows are counted.
        size: effective number of independent rows; 0 where the rate is undefined.
        freedom: degrees of freedom of the variance; None where rows are independent.
    """

    name: str
    value: Floats
    share: Floats
    size: Floats
    freedom: Floats | None = None

    def take(self, chosen: NDArray[Any]) -> Sample:
        """The same of some groups."""
        freedom = None if self.freedom is None else self.freedom[chosen]
        return Sample(self.name, self.value[chosen], self.share[chosen], self.size[chosen], freedom)

    def ends(self, method: str, z: Any) -> Ends:
        """Limits of each rate by one of `intervals.METHODS`, at a critical value of the standard normal."""
        if self.freedom is not None:
            z = -special.stdtrit(self.freedom, special.ndtr(-np.asarray(z, float)))
        low, high = intervals.METHODS[method](self.share, self.size, z)
        return self._rate(low), self._rate(high)

    def score(self, rate: float) -> Floats:
        """How far each group lies above a rate, as a standard normal deviate; the mid-p limits are its roots."""
        at = rate / (2 - rate) if self.name == rates.F1 else rate
        score = intervals.mid_p_score(self.share, self.size, at)
        if self.freedom is None:
            return score
        tail = special.ndtri(special.stdtr(self.freedom, -np.abs(score)))
        return np.asarray(np.sign(score) * np.minimum(-tail, intervals.FARTHEST))

    def _rate(self, share: Floats) -> Floats:
        return rates.combine(self.name, share[None]) if self.name == rates.F1 else share


def sample(cube: Cube, name: str) -> Sample:
    """What a rate of each group rests on.

    Raises:
        DataError: the rate is unknown.
    """
    parts = rates.parts(cube, name)
    found = [rates.proportions(cube, part) for part in parts]
    p, n = np.stack([part.value for part in found]), np.stack([part.effective for part in found])
    seen = np.asarray((n > 0).all(0))
    value = np.where(seen, rates.combine(name, p), np.nan)
    alone = len(parts) == 1
    share = np.where(seen, p[0], np.nan) if alone else value
    size = np.where(seen, n[0], 0.0) if alone else _of_parts(name, p, n, seen)
    if cube.moments is None or cube.clusters is None:
        return Sample(name, value, share, size)
    slope = _slope(cube, parts[0], found[0]) if alone else rates.gradient(cube, name)
    people = np.maximum(cube.clusters, 1)
    worth = effective(share, variance(slope, cube.moments, people))
    # at 0 and 1 nothing is known of how alike the rows of a cluster are: as if they were one
    size = np.where(seen, np.minimum(size, np.where(np.isnan(worth), people, np.maximum(worth, 1.0))), 0.0)
    return Sample(name, value, share, size, np.maximum(people - 1.0, 1.0))


def variance(slope: Floats, moments: Floats, clusters: NDArray[np.int64]) -> Floats:
    """(g,) the linearised variance a' M a of a rate, times m / (m - 1) for m clusters (Binder 1983, eq. 3.3).

    Args:
        slope: (g, k, k) derivative of the rate by each cell's weighted count.
        moments: (g, k * k, k * k) sums over clusters of v v', v a cluster's weighted cell totals.
        clusters: (g,) number of clusters; one tells nothing of their variance, which is then NaN.
    """
    a = slope.reshape(len(slope), -1)
    with np.errstate(divide="ignore", invalid="ignore"):
        small = np.where(clusters > 1, clusters / (clusters - 1.0), np.nan)
    return np.asarray(np.einsum("gi,gij,gj->g", a, moments, a) * small)


def effective(value: Floats, spread: Floats) -> Floats:
    """(g,) the number of independent rows that would give a proportion this variance; NaN where either is degenerate."""
    inside = (value > 0) & (value < 1) & (spread > 0)
    return np.asarray(np.divide(value * (1 - value), spread, out=np.full(value.shape, np.nan), where=inside))


def _slope(cube: Cube, part: rates.Part, found: rates.Proportions) -> Floats:
    total = np.where(found.total > 0, found.total, np.nan)[:, None, None]
    return np.asarray((part.hit - found.value[:, None, None] * part.given) / total + np.zeros_like(cube.counts))


def _of_parts(name: str, p: Floats, n: Floats, seen: NDArray[np.bool_]) -> Floats:
    """Effective rows of a mean of independent proportions, each drawn a little to 1/2 so that 0 and 1 have a variance."""
    inside = np.where(seen, (n * p + 1) / (n + 2), 0.5)
    spread = (inside * (1 - inside) / np.where(seen, n, 1)).sum(0) / len(p) ** 2
    middle = rates.combine(name, inside)
    return np.asarray(np.where(seen, middle * (1 - middle) / spread, 0.0))
