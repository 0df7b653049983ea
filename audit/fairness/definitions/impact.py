"""Impact ratios as two rules write them: 29 CFR 1607.4(D) and New York City's Local Law 144.

Both divide a group's rate by that of the most favoured group; neither says that a model is fair or unfair.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from audit.errors import DataError
from audit.fairness.counting.cube import Cube
from audit.fairness.counting.reshaping import unclustered
from audit.fairness.inference import intervals
from audit.statistics import LEVEL, exact, undefined
from reports.record import Estimate

Floats = NDArray[np.float64]
Combine = Callable[[Floats, intervals.Ends, Floats, intervals.Ends], tuple[Floats, Floats, Floats]]
#: "less than four-fifths (4/5) (or eighty percent)": the federal rule's own number
FOUR_FIFTHS = 0.8
#: "a category that represents less than 2 % of the data": the city's own number
SMALL = 0.02


class Adverse(NamedTuple):
    """A group against the one with the highest rate of the favourable outcome.

    Attributes:
        group: its key.
        rate: of the favourable outcome.
        ratio: of favourable rates; at most 1.
        opposite: of the rates of the unfavourable outcome, with the same group below the line.
        difference: of favourable rates; significant where its interval excludes 0.
        flips: whether one decision in this group's favour and one to the other's cost would bring four fifths.
        reading: what the rule says of such numbers.
    """

    group: Hashable
    rate: Estimate
    ratio: Estimate
    opposite: Estimate
    difference: Estimate
    flips: bool
    reading: str


class Category(NamedTuple):
    """One line of the table that the city asks for."""

    group: Hashable
    rows: int
    share: float
    hits: int
    rate: Estimate
    ratio: Estimate


def four_fifths(cube: Cube, favourable: bool = True) -> list[Adverse]:
    """The four-fifths rule with its two provisos: significance, and numbers too small to say.

    Intervals and significance hold for all pairs of groups at once, as the highest group is found from the data.

    Args:
        cube: the counts.
        favourable: whether the positive class is what people want; if not, rates are of not getting it.

    Raises:
        DataError: the cube has clusters, whose rows are not independent.
    """
    own = unclustered(cube, "the four-fifths rule").proportions("selection_rate")
    seen = np.flatnonzero(own.effective > 0)
    if len(seen) < 2:
        return []
    chosen = own.value[seen]
    good, n = (chosen if favourable else 1 - chosen), own.effective[seen]
    top = int(good.argmax())
    z = intervals.critical(len(seen), "pairs", 1 - LEVEL)
    single = intervals.wilson(good, n, intervals.critical(2, "reference", 1 - LEVEL))
    ratios, opposites = _ratios(good, n, top, z), _ratios(1 - good, n, top, z)
    differences = _differences(good, n, top, z)
    out = []
    for at, group in enumerate(seen):
        rate = Estimate(
            value=float(good[at]),
            low=float(single[0][at]),
            high=float(single[1][at]),
            n=round(float(n[at])),
            method="Wilson 95 %",
            unit="fraction",
        )
        ratio, difference = ratios[at], differences[at]
        hits, rivals = good[at] * n[at] + 1, good[top] * n[top] - 1
        flips = at != top and rivals > 0 and bool(hits / n[at] >= FOUR_FIFTHS * rivals / n[top] and _below(ratio))
        reading = "highest rate" if at == top else _reading(ratio, difference, flips)
        out.append(Adverse(cube.groups[group], rate, ratio, opposites[at], difference, flips, reading))
    return out


def impact_ratios(cube: Cube, missing: Hashable = None, least: float = SMALL) -> tuple[list[Category], int]:
    """The table of 6 RCNY 5-301: rows, rate and impact ratio of every category, and the number of unknown ones.

    Args:
        cube: selections, or scores above the median (see `above_median`).
        missing: the category of people of unknown category; left out of everything but its number. Of crossed
            attributes, a tuple with this part.
        least: categories with a smaller share of the known rows are left out of the ratios, and listed.

    Returns:
        The categories in the cube's order, and how many rows are of unknown category.

    Raises:
        DataError: the cube has clusters, whose rows are not independent.
    """
    own, rows = unclustered(cube, "impact ratios").proportions("selection_rate"), cube.rows.sum((1, 2))
    unknown = np.array([group == missing or (isinstance(group, tuple) and missing in group) for group in cube.groups])
    counted = ~unknown & (rows > 0)
    share = rows / max(int(rows[counted].sum()), 1)
    index = np.flatnonzero(counted)
    inside = [at for at in index if share[at] >= least]
    out = []
    if inside:
        p, n = own.value[inside], own.effective[inside]
        z = intervals.critical(max(len(inside), 2), "pairs", 1 - LEVEL)
        ratios = dict(zip(inside, _ratios(p, n, int(p.argmax()), z), strict=True))
    rates = cube.rate("selection_rate")
    hits = cube.rows[:, :, cube.positive].sum(1)
    for at in index:
        small = undefined(f"under {100 * least:g} % of the rows", n=int(rows[at]))
        group = cube.groups[at]
        ratio = ratios[at] if share[at] >= least else small
        out.append(Category(group, int(rows[at]), float(share[at]), int(hits[at]), rates[group], ratio))
    return out, int(rows[unknown].sum())


def above_median(scores: ArrayLike, groups: ArrayLike) -> tuple[Cube, float, int]:
    """Who scores above the median of everybody: the city's scoring rate is this cube's selection rate.

    Args:
        scores: (n,) the tool's scores, higher is better.
        groups: (n,) category of each row, unknown ones too: the median is the full sample's.

    Returns:
        The cube, the median, and how many rows tie with it (none of them is above).

    Raises:
        DataError: a score is no finite number.
    """
    x = np.asarray(scores, dtype=np.float64)
    if x.ndim != 1 or not len(x) or not np.isfinite(x).all():
        raise DataError("Expected scores: one finite number a row, found others; try probabilities of the outcome.")
    median = float(np.median(x))
    above = (x > median).astype(np.int64)
    return Cube.count(above, above, groups, classes=[0, 1]), median, int((x == median).sum())


def _ratios(p: Floats, n: Floats, top: int, z: float) -> list[Estimate]:
    """Every rate over that of one group."""
    out = []
    for at, (value, low, high) in enumerate(zip(*_against(intervals.mover_ratio, p, n, top, z), strict=True)):
        size = round(float(n[at] + n[top]))
        if at == top and p[top] > 0:
            out.append(exact(1.0, size, method="compared with itself"))
        elif p[top] == 0 or not np.isfinite(high):
            out.append(undefined("the rate of the group compared with is 0", n=size))
        else:
            ends = {"low": min(low, value), "high": max(high, value)}
            out.append(Estimate(value=value, **ends, n=size, method=f"mid-p MOVER, Tukey over {len(p)} groups"))
    return out


def _differences(p: Floats, n: Floats, top: int, z: float) -> list[Estimate]:
    """Every rate minus that of one group."""
    out = []
    for at, (value, low, high) in enumerate(zip(*_against(intervals.newcombe, p, n, top, z), strict=True)):
        size = round(float(n[at] + n[top]))
        if at == top:
            out.append(exact(0.0, size, unit="fraction", method="compared with itself"))
            continue
        ends = {"low": min(low, value), "high": max(high, value)}
        how = f"mid-p Newcombe, Tukey over {len(p)} groups"
        out.append(Estimate(value=value, **ends, n=size, method=how, unit="fraction"))
    return out


def _against(combine: Combine, p: Floats, n: Floats, top: int, z: float) -> list[list[float]]:
    """Values, lows and highs against one group; mid-p, as Wilson's limits fall short far out in the tail."""
    low, high = intervals.mid_p(p, n, z)
    rival = tuple(np.broadcast_to(part[top], p.shape) for part in (p, low, high))
    return [part.tolist() for part in combine(p, (low, high), rival[0], (rival[1], rival[2]))]


def _below(ratio: Estimate) -> bool:
    return ratio.value is not None and ratio.value < FOUR_FIFTHS


def _reading(ratio: Estimate, difference: Estimate, flips: bool) -> str:
    clear = difference.high is not None and difference.high < 0
    if ratio.value is None:
        return "nobody has the favourable outcome"
    if not _below(ratio):
        return "at least four fifths, yet significant" if clear else "at least four fifths"
    if clear and not flips:
        return "below four fifths, significant"
    return "below four fifths, small numbers" if flips else "below four fifths, may be chance"
