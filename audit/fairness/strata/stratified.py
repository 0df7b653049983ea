"""Rates compared within strata of a control variable: is a difference between groups one of who is where?

A crude difference mixes how groups are treated with where their members stand (Simpson's paradox). Mantel and Haenszel
compare like with like in every stratum and average; they hold for few large strata and for many small ones.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse, stats
from scipy.sparse import csgraph
from scipy.sparse.linalg import LinearOperator, cg

from audit.errors import DataError, nearest
from audit.fairness.counting.cube import Cube
from audit.fairness.counting.reshaping import unclustered
from audit.fairness.inference import intervals
from audit.fairness.strata.mantel_haenszel import Pair, Z, level, pooled
from audit.statistics import undefined
from reports.record import Estimate

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Association(NamedTuple):
    """The generalised Cochran-Mantel-Haenszel test: its statistic, degrees of freedom and p-value."""

    statistic: float
    freedom: int
    p: float


@dataclass(frozen=True, eq=False)
class Strata:
    """Hits and rows of every group in every stratum, one cell a combination with rows.

    Attributes:
        groups: keys of the compared groups.
        strata: keys of the strata.
        group: (m,) position of each cell's group.
        stratum: (m,) position of each cell's stratum.
        hits: (m,) weighted rows that count.
        total: (m,) weighted rows that the rate is taken over, > 0.
        effective: (m,) Kish's effective number of those rows.
    """

    groups: tuple[Hashable, ...]
    strata: tuple[Hashable, ...]
    group: Ints
    stratum: Ints
    hits: Floats
    total: Floats
    effective: Floats

    @classmethod
    def of(cls, cube: Cube, rate: str, attribute: str) -> Strata:
        """A rate of the groups of one attribute, within the combinations of all the others.

        Args:
            cube: counted over at least two attributes.
            rate: a rate that is one proportion.
            attribute: whose groups are compared.

        Raises:
            DataError: the cube has no such attribute, no other one, or clusters.
        """
        if attribute not in cube.attributes or len(cube.attributes) < 2:
            raise DataError(
                f"Expected a cube of attribute {attribute!r} and a control, found {list(cube.attributes)}"
                f"{nearest(attribute, cube.attributes)}"
            )
        at = cube.attributes.index(attribute)
        found = unclustered(cube, "rates within strata").proportions(rate)
        own, strata = dict[Hashable, int](), dict[Hashable, int]()
        place = np.empty((len(cube.groups), 2), dtype=np.int64)
        for row, key in enumerate(cube.groups):
            assert isinstance(key, tuple)
            rest = key[:at] + key[at + 1 :]
            stratum = rest[0] if len(rest) == 1 else rest
            place[row] = own.setdefault(key[at], len(own)), strata.setdefault(stratum, len(strata))
        seen = found.effective > 0
        return cls(
            groups=tuple(own),
            strata=tuple(strata),
            group=place[seen, 0],
            stratum=place[seen, 1],
            hits=found.hits[seen],
            total=found.total[seen],
            effective=found.effective[seen],
        )

    def pair(self, first: Hashable, second: Hashable) -> Pair:
        """Two groups side by side.

        Raises:
            DataError: there is no such group.
        """
        (a, n, crude), (c, m, other) = self._side(first), self._side(second)
        return Pair(first, second, a, n, crude, c, m, other)

    def _side(self, key: Hashable) -> tuple[Floats, Floats, tuple[float, float]]:
        """Hits and rows of a group in each stratum, and its crude rate with the rows behind it."""
        cells = self.group == self._place(key)
        # in effective rows, so that weights are worth what they are worth and unweighted counts are the counts
        scale = self.effective[cells] / self.total[cells]
        hits, rows = np.zeros(len(self.strata)), np.zeros(len(self.strata))
        hits[self.stratum[cells]] = self.hits[cells] * scale
        rows[self.stratum[cells]] = self.effective[cells]
        return hits, rows, pooled(self.hits[cells], self.total[cells], self.effective[cells])

    def _place(self, key: Hashable) -> int:
        if key not in self.groups:
            raise DataError(f"Expected a group, found {key!r}{nearest(str(key), map(str, self.groups))}")
        return self.groups.index(key)

    def association(self) -> Association | None:
        """Do the rates of any groups differ within strata? (Cochran 1954; Mantel and Haenszel 1959; Landis et al. 1978).

        Without continuity correction; chi-squared with one degree of freedom less than groups (less one for each
        further set of groups that share no stratum). None where no stratum can tell groups apart.
        """
        k, g = len(self.strata), len(self.groups)
        hits = self.hits * self.effective / self.total
        rows, own = (np.bincount(self.stratum, part, k) for part in (self.effective, hits))
        spread = np.divide(own * (rows - own), rows**2 * (rows - 1), out=np.zeros(k), where=rows > 1)
        if not (spread > 0).any():
            return None
        expected = self.effective * (own / rows)[self.stratum]
        excess = np.bincount(self.group, (hits - expected) * (spread > 0)[self.stratum], g)
        table = sparse.csr_matrix((self.effective, (self.stratum, self.group)), (k, g))
        diagonal = table.T @ (spread * rows)
        # strata join the groups that they hold; each joined set of groups loses one degree of freedom
        used = table.multiply((spread > 0)[:, None]).tocsr()
        _, label = csgraph.connected_components(sparse.bmat([[None, used], [used.T, None]]), directed=False)
        freedom = int((diagonal > 0).sum()) - len(np.unique(label[k:][diagonal > 0]))
        if not freedom:
            return None
        # the covariance is a graph Laplacian of the groups: never written out, so thousands of groups stay linear
        safe = np.where(diagonal > 0, diagonal, 1.0)
        covariance = LinearOperator((g, g), lambda x: diagonal * x - table.T @ (spread * (table @ x)), dtype=np.float64)
        scaled = LinearOperator((g, g), lambda x: x / safe, dtype=np.float64)
        solved, _ = cg(covariance, excess, rtol=1e-13, maxiter=20 * g + 200, M=scaled)
        statistic = float(excess @ solved)
        return Association(statistic, freedom, float(stats.chi2.sf(statistic, freedom)))

    def standardised(self, groups: Sequence[Hashable] | None = None, z: float = Z) -> dict[Hashable, Estimate]:
        """Each group's rate had it been spread over the strata as all rows are (direct adjustment).

        Taken over the strata in which every one of the groups has rows; weighted by all rows there. The interval is
        Wilson's on the size of a plain sample of the same weights, 1 / sum of W^2 / n, so that strata of one row have
        their uncertainty too.

        Args:
            groups: the groups compared; all of them where left out.
            z: critical value.
        """
        chosen = tuple(self.groups if groups is None else groups)
        index = [self._place(key) for key in chosen]
        own = np.isin(self.group, index)
        common = np.bincount(self.stratum[own], minlength=len(self.strata)) == len(chosen)
        weight = np.where(common, np.bincount(self.stratum, self.total, len(self.strata)), 0.0)
        out: dict[Hashable, Estimate] = {}
        for key, at in zip(chosen, index, strict=True):
            cells = (self.group == at) & common[self.stratum]
            if not cells.any():
                out[key] = undefined("no stratum has rows of every group", unit="fraction")
                continue
            w = weight[self.stratum[cells]] / weight.sum()
            value = np.clip(np.array([(w * self.hits[cells] / self.total[cells]).sum()]), 0, 1)
            size = 1 / np.array([(w**2 / self.effective[cells]).sum()])
            low, high = intervals.wilson(value, size, z)
            out[key] = Estimate(
                value=float(value[0]),
                low=float(low[0]),
                high=float(high[0]),
                n=round(float(self.effective[cells].sum())),
                method=f"standardised over {int(common.sum())} strata, Wilson {level(z)}",
                unit="fraction",
            )
        return out
