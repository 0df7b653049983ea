"""Numbers of each group with their limits, and the largest difference between any two of them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from audit.fairness import extremes
from audit.fairness.inference import intervals
from audit.statistics import LEVEL, undefined
from reports.record import Estimate

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Limits:
    """A number of each group.

    Attributes:
        value: (g,) NaN where it is undefined.
        low: (g,) lower limits.
        high: (g,) upper limits.
        n: (g,) effective number of rows behind each.
        reason: what a group lacks whose value is undefined.
        method: how value and limits were made, without the level.
        unit: as `Estimate` has it.
    """

    value: Floats
    low: Floats
    high: Floats
    n: Floats
    reason: str
    method: str
    unit: str = ""


def critical(together: int = 1) -> float:
    """Two-sided 95 % critical value of the normal; for so many limits at once by Bonferroni."""
    return float(stats.norm.ppf(1 - (1 - LEVEL) / 2 / together))


def estimates(groups: Sequence[Hashable], found: Limits) -> dict[Hashable, Estimate]:
    """One estimate a group, at 95 %."""
    out: dict[Hashable, Estimate] = {}
    for group, value, low, high, n in zip(groups, found.value, found.low, found.high, found.n, strict=True):
        if not np.isfinite(value):
            out[group] = undefined(found.reason, n=round(float(n)), unit=found.unit)
            continue
        out[group] = Estimate(
            value=float(value),
            low=min(float(low), float(value)),
            high=max(float(high), float(value)),
            n=round(float(n)),
            method=f"{found.method} 95 %",
            unit=found.unit,
        )
    return out


def largest_difference(limits: Callable[[float], Limits], groups: int, alpha: float, most: float = np.inf) -> Estimate:
    """The largest difference between two groups, with an interval that holds for all pairs at once.

    Each group's limits are taken at Tukey's critical value and joined by MOVER (Zou and Donner 2008), so that the
    largest of many chance differences is not taken for bias.

    Args:
        limits: critical value -> the limits of each group.
        groups: how many there are, those without a value too.
        alpha: one minus the simultaneous level.
        most: the largest difference there can be.
    """
    found = limits(intervals.critical(max(groups, 2), "pairs", alpha))
    seen = np.isfinite(found.value)
    n = round(float(found.n.sum()))
    defined = int(seen.sum())
    if defined < 2:
        return undefined(f"fewer than two groups have a value ({found.reason})", n=n, unit=found.unit)
    if defined < groups:
        found = limits(intervals.critical(defined, "pairs", alpha))
    value, low, high = found.value[seen], found.low[seen], found.high[seen]
    down, up = np.maximum(value - low, 0), np.maximum(high - value, 0)
    widest = float(value.max() - value.min())
    lower = extremes.nearest(value, down, value, up)
    upper = extremes.farthest(value, up, value, down)
    return Estimate(
        value=widest,
        low=min(max(0.0, lower), widest),
        high=max(min(most, upper), widest),
        n=n,
        method=f"{found.method}, MOVER, Tukey over {defined} groups, {100 * (1 - alpha):g} %",
        unit=found.unit,
    )
