"""Published definitions of fairness by their names: what each compares, and how far a model is from it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from audit.errors import DataError, nearest
from audit.fairness.counting.cube import Cube
from audit.fairness.strata.mantel_haenszel import Pair
from audit.fairness.strata.stratified import Strata
from audit.statistics import LEVEL, holm, undefined
from reports.record import Estimate

Floats = NDArray[np.float64]
#: score bins within which calibration is compared; groups that are compared within strata, those of most rows
BINS, COMPARED = 10, 200


@dataclass(frozen=True)
class Definition:
    """A definition that asks for equal rates.

    Attributes:
        name: as in the literature.
        rates: rates that are to be equal between groups; more than one are to be equal together.
        compares: the same in words.
        source: where it is defined.
    """

    name: str
    rates: tuple[str, ...]
    compares: str
    source: str


class Distance(NamedTuple):
    """How far groups are from equal.

    Attributes:
        estimate: the largest difference between two groups.
        p: p-value that there is none, over all groups; None where nothing can be compared.
        groups: two groups, the one with the lower rate first; None likewise. Those that stand apart most clearly where
            any do, else those that may be farthest apart.
    """

    estimate: Estimate
    p: float | None
    groups: tuple[Hashable, Hashable] | None


TREATMENT, CALIBRATION = "treatment equality", "calibration within groups"
CONDITIONAL = "conditional statistical parity"
DEFINITIONS: tuple[Definition, ...] = (
    Definition("demographic parity", ("selection_rate",), "favourable answers", "Dwork et al. 2012"),
    Definition("equal opportunity", ("true_positive_rate",), "favourable answers, where deserved", "Hardt et al. 2016"),
    Definition(
        "predictive equality", ("false_positive_rate",), "favourable answers, where not deserved", "Chouldechova 2017"
    ),
    Definition(
        "equalised odds",
        ("true_positive_rate", "false_positive_rate"),
        "the last two together",
        "Hardt et al. 2016",
    ),
    Definition(
        "predictive parity",
        ("positive_predictive_value",),
        "how often a favourable answer is right",
        "Chouldechova 2017",
    ),
    Definition(
        "conditional use accuracy equality",
        ("positive_predictive_value", "negative_predictive_value"),
        "how often either answer is right",
        "Berk et al. 2021",
    ),
    Definition("overall accuracy equality", ("accuracy",), "how often answers are right", "Berk et al. 2021"),
    Definition(TREATMENT, (), "the share of favourable answers wrongly refused among all errors", "Berk et al. 2021"),
    Definition(CALIBRATION, (), "truly favourable outcomes among equal scores", "Kleinberg et al. 2016"),
    Definition(
        CONDITIONAL,
        (),
        "favourable answers among people alike in what is legitimate",
        "Kamiran et al. 2013; Corbett-Davies et al. 2017",
    ),
)


def find(name: str) -> Definition:
    """The definition of this name.

    Raises:
        DataError: there is none.
    """
    for definition in DEFINITIONS:
        if definition.name == name:
            return definition
    raise DataError(f"Expected a definition, found {name!r}{nearest(name, [d.name for d in DEFINITIONS])}")


def distance(cube: Cube, definition: Definition, alpha: float = 1 - LEVEL) -> Distance:
    """How far groups are from equal under a definition of one or more rates.

    Of several rates it is the largest difference in any; interval and p-value hold for them together (Sidak).

    Raises:
        DataError: the definition is not one of rates alone.
    """
    if definition.name == TREATMENT:
        return _tested(errors(cube), "selection_rate", alpha)
    if not definition.rates:
        raise DataError(f"Expected a definition of rates alone, found {definition.name!r}; try `adjusted`.")
    several = len(definition.rates)
    return _largest([_tested(cube, rate, 1 - (1 - alpha) ** (1 / several)) for rate in definition.rates])


def _tested(cube: Cube, rate: str, alpha: float) -> Distance:
    found = cube.test(rate, margin=0.0, alpha=alpha)
    return Distance(found.disparity, found.p, lower_first(found.groups, cube, rate))


def lower_first(groups: tuple[Hashable, Hashable] | None, cube: Cube, rate: str) -> tuple[Hashable, Hashable] | None:
    """Two groups by their rates; which of them is worse off depends on what the answer means to them."""
    if groups is None:
        return None
    value = dict(zip(cube.groups, cube.proportions(rate).value.tolist(), strict=True))
    first, second = sorted(groups, key=lambda group: value[group])
    return first, second


def errors(cube: Cube) -> Cube:
    """The errors of a cube: false positives against false negatives, so that "selection_rate" is the latter's share.

    Berk et al. compare the ratio of the two counts; their share says the same, and stays defined where one is 0.
    """
    own = np.arange(len(cube.classes)) == cube.positive

    def cells(table: NDArray[np.generic]) -> NDArray[np.generic]:
        out = np.zeros((len(table), 2, 2), dtype=table.dtype)
        out[:, 0, 0] = table[:, ~own][:, :, own].sum((1, 2))
        out[:, 1, 1] = table[:, own][:, :, ~own].sum((1, 2))
        return out

    return Cube(
        groups=cube.groups,
        classes=("false positive", "false negative"),
        counts=cells(cube.counts).astype(np.float64),
        squares=cells(cube.squares).astype(np.float64),
        rows=cells(cube.rows).astype(np.int64),
        positive=1,
        attributes=cube.attributes,
    )


def adjusted(table: Strata, alpha: float = 1 - LEVEL) -> Distance:
    """The largest difference between a group and the largest one among rows of one stratum (Mantel-Haenszel).

    With strata of equal scores and the base rate, calibration within groups; with strata of a legitimate ground and the
    selection rate, conditional statistical parity. Interval and p-value hold for all groups at once (Sidak).
    """
    size = np.bincount(table.group, table.total, len(table.groups))
    if len(size) < 2:
        return Distance(undefined("fewer than two groups have rows", unit="fraction"), None, None)
    top = table.groups[int(np.argsort(-size, kind="stable")[0])]
    ranked = np.argsort(-size, kind="stable")[1 : COMPARED + 1]
    pairs = [table.pair(table.groups[at], top) for at in sorted(ranked)]
    z = float(stats.norm.ppf(0.5 + (1 - alpha) ** (1 / len(pairs)) / 2))
    return _largest([Distance(_absolute(pair, z), pair.p(), _pair_lower_first(pair)) for pair in pairs])


def _pair_lower_first(pair: Pair) -> tuple[Hashable, Hashable]:
    return (pair.first, pair.second) if (pair.difference().value or 0.0) < 0 else (pair.second, pair.first)


def score_bins(scores: ArrayLike, bins: int = BINS) -> NDArray[np.int64]:
    """(n,) bins of equal scores: quantiles of all rows, ties together."""
    x = np.asarray(scores, dtype=np.float64)
    cuts = np.unique(np.quantile(x, np.linspace(0, 1, bins + 1)[1:-1]))
    return np.searchsorted(cuts, x, side="left").astype(np.int64)


def significant(p: Mapping[str, float | None], alpha: float = 1 - LEVEL) -> dict[str, bool]:
    """Which differences are no chance, with family-wise error `alpha` over all of them (Holm 1979).

    Args:
        p: name -> p-value; None of what is undefined, which is in no family.
        alpha: probability that any of them is called a difference by chance.
    """
    known = {name: value for name, value in p.items() if value is not None}
    clear = dict(zip(known, holm(list(known.values())) <= alpha, strict=True))
    return {name: bool(clear.get(name, False)) for name in p}


def _largest(found: list[Distance]) -> Distance:
    """The largest of several distances; their intervals hold together, and so does the smallest p-value (Sidak)."""
    there = [one for one in found if one.estimate.value is not None]
    if len(found) == 1 or not there:
        return found[0]
    top = max(there, key=lambda one: one.estimate.value or 0.0)
    value = top.estimate.value or 0.0
    low, high = (max(getattr(one.estimate, end) or 0.0 for one in there) for end in ("low", "high"))
    # of equally sure ones the larger: with many rows all are as sure as numbers go
    clearest = min(there, key=lambda one: (1.0 if one.p is None else one.p, -(one.estimate.value or 0.0)))
    p = 1.0 if clearest.p is None else clearest.p
    method = f"{top.estimate.method}, the largest of {len(found)}"
    estimate = top.estimate.model_copy(update={"low": min(low, value), "high": max(high, value), "method": method})
    return Distance(estimate, 1 - (1 - p) ** len(found), clearest.groups)


def _absolute(pair: Pair, z: float) -> Estimate:
    """The size of a common difference; its interval reaches 0 where the difference's does."""
    one = pair.difference(z)
    if one.value is None or one.low is None or one.high is None:
        return one
    ends = sorted((abs(one.low), abs(one.high)))
    low = 0.0 if one.low <= 0 <= one.high else ends[0]
    return one.model_copy(update={"value": abs(one.value), "low": low, "high": ends[1]})
