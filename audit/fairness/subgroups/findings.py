"""What a subgroup search hands back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from audit.fairness.subgroups.coding import Column, Condition
from audit.fairness.subgroups.confirming import Confirmed
from audit.fairness.subgroups.counting import Losses
from audit.fairness.subgroups.folding import Slice, membership
from audit.statistics import proportion, undefined
from reports.record import Estimate

#: chance with which a subgroup of the size that `Search.detectable` names is found
POWER = 0.8


@dataclass(frozen=True)
class Subgroup:
    """A conjunction of conditions, and how it fares on rows that did not choose it.

    Attributes:
        conditions: what its rows have in common.
        rate: mean loss of its held-out rows.
        difference: that, less the mean loss of all other held-out rows; the interval holds for all candidates at once.
        discovered: the same difference on the rows that chose it, which flatters it.
        rows: how many rows it has, held-out or not.
        share: of all rows.
        excess: losses of its held-out rows beyond what the rate of the others would have made.
        explained: `excess` as a share of all held-out losses.
        p: of its being worse than the rest, adjusted over all candidates.
        folded: how many conjunctions say nothing beyond it.
    """

    conditions: tuple[Condition, ...]
    rate: Estimate
    difference: Estimate
    discovered: float
    rows: int
    share: float
    excess: float
    explained: float
    p: float
    folded: int

    @property
    def words(self) -> str:
        """E.g. "sex = Female and 25 < age <= 37"."""
        return " and ".join(condition.words for condition in self.conditions)


@dataclass(frozen=True, eq=False)
class Search:
    """What a search found.

    Attributes:
        confirmed: worse than the rest on held-out rows, beyond chance, each saying something beyond those before it.
        candidates: all that were tested, the most promising first.
        looked: conjunctions that had enough rows.
        discovery: rows that chose the candidates.
        held_out: rows that tested them.
        rate: mean loss of the held-out rows.
        left_out: attribute -> why it is no part of the search.
        least: rows that a subgroup needed.
        columns: the attributes as they were coded.
        binary: whether every loss is 0 or 1.
        reach: score that a candidate needed on the rows that chose it; NaN where there was none.
        critical: score that the last candidate needed on the others; NaN where there was none.
    """

    confirmed: tuple[Subgroup, ...]
    candidates: tuple[Subgroup, ...]
    looked: int
    discovery: int
    held_out: int
    rate: float
    left_out: Mapping[str, str]
    least: int
    columns: Sequence[Column]
    binary: bool
    reach: float
    critical: float

    def rows(self, subgroup: Subgroup) -> NDArray[np.bool_]:
        """(n,) which of the rows searched belong to a subgroup."""
        place = {column.name: i for i, column in enumerate(self.columns)}
        return np.asarray(membership(self.columns, [_slice(subgroup, place)])[0])

    def detectable(self, share: float) -> float | None:
        """The smallest difference that a subgroup of this share of the rows is found with in 80 % of searches.

        It has to be among the candidates on one part of the rows and to pass their last one's hurdle on the other; None
        where no rate can be that high, where the loss is not 0 or 1, and where the subgroup is smaller than was looked at.
        """
        rows = min(self.discovery, self.held_out) * share
        if not self.binary or isnan(self.reach) or share * (self.discovery + self.held_out) < self.least:
            return None
        each = float(stats.norm.ppf(POWER**0.5))
        p = self.rate
        hurdle = max(self.reach, self.critical) * (p * (1 - p) / (rows * (1 - share))) ** 0.5
        grid = np.linspace(p, 1, 2001)[1:]
        spread = np.sqrt(grid * (1 - grid) / rows + p * (1 - p) / (rows / share * (1 - share)))
        found = grid - p - each * spread >= hurdle
        return float(grid[found.argmax()] - p) if found.any() else None


def _slice(subgroup: Subgroup, place: Mapping[str, int]) -> Slice:
    return tuple((place[c.column], c.first, c.last) for c in subgroup.conditions)


def subgroup(
    conditions: tuple[Condition, ...],
    inside: NDArray[np.bool_],
    discovery: Losses,
    held_out: Losses,
    result: Confirmed,
    i: int,
    folded: int,
    alpha: float,
) -> Subgroup:
    """What is known of the i-th candidate; `inside` are its rows among the discovery rows."""
    count = int(result.rows[i])
    unit = "fraction" if held_out.binary else ""
    difference = float(result.rate[i] - result.rest[i])
    if isnan(difference):
        gap = rate = undefined("no held-out rows", unit=unit)
    else:
        method = f"{'Newcombe' if held_out.binary else 'Welch'} {100 * (1 - alpha):g} % either end, {len(result.p)} together (max-T)"
        gap = Estimate(
            value=difference,
            low=min(float(result.low[i]), difference),
            high=max(float(result.high[i]), difference),
            n=count,
            method=method,
            unit=unit,
        )
        rate = _rate(result, i, held_out, gap)
    excess = 0.0 if isnan(difference) else count * difference
    chosen = discovery.values[inside]
    return Subgroup(
        conditions=conditions,
        rate=rate,
        difference=gap,
        discovered=float(chosen.mean() - discovery.values[~inside].mean()),
        rows=count + len(chosen),
        share=(count + len(chosen)) / (discovery.n + held_out.n),
        excess=excess,
        explained=excess / held_out.total if held_out.total else 0.0,
        p=float(result.p[i]),
        folded=folded,
    )


def _rate(result: Confirmed, i: int, held_out: Losses, gap: Estimate) -> Estimate:
    count = int(result.rows[i])
    if held_out.binary:
        return proportion(round(float(result.rate[i]) * count), count)
    assert gap.value is not None and gap.low is not None and gap.high is not None
    # the rest is so many rows that its own error adds next to nothing
    value, rest = float(result.rate[i]), float(result.rest[i])
    return Estimate(value=value, low=rest + gap.low, high=rest + gap.high, n=count, method=gap.method)
