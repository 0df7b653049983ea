"""Definitions that cannot hold together once groups' true rates differ, and what each would then demand.

Where true rates are equal a model may satisfy all definitions at once. Where they differ it must choose, even if it is
never wrong (Chouldechova 2017; Kleinberg, Mullainathan and Raghavan 2016).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from audit.fairness.counting.cube import Cube
from audit.statistics import undefined
from reports.record import Estimate

Floats = NDArray[np.float64]


class Exclusion(NamedTuple):
    """Definitions that exclude each other where base rates differ.

    Attributes:
        definitions: their names.
        then: what would have to differ if both held.
        unless: the models that escape.
        source: who showed it.
    """

    definitions: str
    then: str
    unless: str
    source: str


PRECISION = Exclusion(
    "predictive parity and equalised odds",
    "with equal predictive values and equal true positive rates, the false positive rates differ",
    "no favourable answer is ever wrong",
    "Chouldechova 2017, eq. 2.6",
)
BALANCE = Exclusion(
    "calibration within groups and equal average scores of the deserving and of the undeserving",
    "with equal calibration, one of the two averages differs",
    "the model is never wrong",
    "Kleinberg et al. 2016, theorem 1.1",
)
ODDS = Exclusion(
    "demographic parity and equalised odds",
    "with equal true and false positive rates, the group of the higher true rate is selected more often",
    "answers are chance",
    "Barocas et al. 2023, ch. 3",
)
SUFFICIENCY = Exclusion(
    "demographic parity and conditional use accuracy equality",
    "with equal selection and equal predictive values, the true rates would be equal",
    "in no case",
    "Barocas et al. 2023, ch. 3",
)


class Demand(NamedTuple):
    """What definitions would demand of one group, beside what it has.

    Attributes:
        group: its key.
        base: its true rate of the favourable outcome.
        false_positive_rate: it has.
        under_parity: false positive rate under predictive parity and equal opportunity.
        under_demography: false positive rate under demographic parity and equal opportunity.
        selection: selection rate under equalised odds.
        precision: positive predictive value under equalised odds.
    """

    group: Hashable
    base: Estimate
    false_positive_rate: Estimate
    under_parity: Estimate
    under_demography: Estimate
    selection: Estimate
    precision: Estimate


def chouldechova(base: float, precision: float, recall: float) -> float:
    """The false positive rate that follows from a base rate p: p / (1 - p) (1 - PPV) / PPV TPR (2017, eq. 2.6)."""
    return base / (1 - base) * (1 - precision) / precision * recall


def exclusions(cube: Cube) -> tuple[Exclusion, ...]:
    """Which definitions this model cannot satisfy together, given that base rates differ."""
    own = np.arange(len(cube.classes)) == cube.positive
    whole = cube.counts.sum(0)
    alarms, missed = whole[np.outer(~own, own)].sum(), whole[np.outer(own, ~own)].sum()
    escapes = {
        PRECISION: not alarms,
        BALANCE: not alarms and not missed,
        ODDS: _overall(cube, "true_positive_rate") == _overall(cube, "false_positive_rate"),
        SUFFICIENCY: False,
    }
    return tuple(one for one, escaped in escapes.items() if not escaped)


def demands(cube: Cube) -> list[Demand]:
    """What each pair of definitions would demand of each group, all groups at the model's overall quality.

    The quality is the predictive value, the true and false positive rate and the selection rate over all rows; the
    intervals are those of the group's base rate, carried through. A demand above 100 % or below 0 cannot be met at all.

    Args:
        cube: the counts.
    """
    names = ("selection_rate", "true_positive_rate", "false_positive_rate", "positive_predictive_value")
    select, recall, alarm, precision = (_overall(cube, name) for name in names)
    base, false = cube.rate("base_rate"), cube.rate("false_positive_rate")
    out = []
    for group in cube.groups:
        own = base[group]
        out.append(
            Demand(
                group,
                own,
                false[group],
                _carried(own, lambda p: chouldechova(p, precision, recall)),
                _carried(own, lambda p: (select - recall * p) / (1 - p)),
                _carried(own, lambda p: recall * p + alarm * (1 - p)),
                _carried(own, lambda p: recall * p / (recall * p + alarm * (1 - p))),
            )
        )
    return out


def _overall(cube: Cube, name: str) -> float:
    """A rate over the rows of all groups; NaN where there are none."""
    found = cube.proportions(name)
    total = float(found.total.sum())
    return float(found.hits.sum()) / total if total else float("nan")


def _carried(base: Estimate, demand: Callable[[float], float]) -> Estimate:
    """A demand as a function of the base rate, monotone on (0, 1), with the base rate's limits carried through."""
    if base.value is None or base.low is None or base.high is None:
        return undefined(base.reason or "undefined", unit="fraction")
    with np.errstate(divide="ignore", invalid="ignore"):
        value, low, high = (float(demand(np.float64(p))) for p in (base.value, base.low, base.high))
    if not np.isfinite([value, low, high]).all():
        return undefined("no rate would do: the group is all of one outcome, or the model never gives it", n=base.n)
    ends = sorted((low, high))
    method = f"{base.method} of the base rate, carried through"
    return Estimate(
        value=value, low=min(ends[0], value), high=max(ends[1], value), n=base.n, method=method, unit="fraction"
    )
