"""Rates of the groups of a cube, each with its interval."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING

import numpy as np

from audit.errors import DataError, nearest
from audit.fairness.inference import bootstrap, intervals
from audit.fairness.inference.clustered import Sample, sample
from audit.fairness.inference.intervals import Floats
from audit.statistics import LEVEL, undefined
from reports.record import Estimate

if TYPE_CHECKING:
    from audit.fairness.counting.cube import Cube


def rate(
    cube: Cube,
    name: str,
    method: str | None = None,
    level: float = LEVEL,
    simultaneous: bool = False,
    seed: int = 0,
    replicates: int = bootstrap.REPLICATES,
) -> dict[Hashable, Estimate]:
    """See `Cube.rate`."""
    between(level, "level")
    if method is None:
        # score intervals of many groups at once fall short far out in the tail; exact ones cannot
        method = "clopper-pearson" if simultaneous else "wilson"
    if method not in (*intervals.METHODS, bootstrap.NAME):
        raise DataError(
            f"Expected the name of an interval, found {method!r}{nearest(method, [*intervals.METHODS, bootstrap.NAME])}"
        )
    found = sample(cube, name)
    seen = found.size > 0
    # groups have rows of their own, so that independent intervals hold together with the product of their levels; where
    # clusters cross groups, by Bonferroni
    g = max(int(seen.sum()), 1)
    each = level if not simultaneous else 1 - (1 - level) / g if cube.crossing else level ** (1 / g)
    together = f", {int(seen.sum())} groups together" if simultaneous else ""
    ends = _ends(cube, found, method, each, seed, replicates)
    out: dict[Hashable, Estimate] = {}
    for group, value, low, high, size, written in zip(
        cube.groups, found.value, *ends[:2], found.size, ends[2], strict=True
    ):
        if size == 0:
            reason = f"no rows to take the {name.replace('_', ' ')} over"
            out[group] = undefined(cube.hidden.get(group, reason), unit="fraction")
            continue
        out[group] = Estimate(
            value=float(value),
            low=float(min(low, value)),
            high=float(max(high, value)),
            n=round(float(size)),
            method=f"{written} {100 * level:g} %{together}",
            unit="fraction",
        )
    return out


def _ends(
    cube: Cube, found: Sample, method: str, level: float, seed: int, replicates: int
) -> tuple[Floats, Floats, list[str]]:
    """Low, high and the method's name of each group; NaN where the rate is undefined."""
    seen = found.size > 0
    low, high = (np.full(len(seen), np.nan) for _ in range(2))
    # a resample of equal rows has no spread: at 0 and 1 the exact interval takes the bootstrap's place
    plain = seen & ((found.share == 0) | (found.share == 1)) if method == bootstrap.NAME else seen
    fallback = "clopper-pearson" if method == bootstrap.NAME else method
    low[plain], high[plain] = found.take(plain).ends(fallback, intervals.normal(level))
    closed = intervals.WRITTEN[fallback] + ("" if found.freedom is None else " on clusters")
    if method != bootstrap.NAME:
        return low, high, [closed] * len(seen)
    drawn = bootstrap.rate_ends(cube, found.name, level, seed, replicates)
    resampled = bootstrap.written(cube, replicates)
    low, high = np.where(plain, low, drawn[0]), np.where(plain, high, drawn[1])
    return low, high, [closed if alone else resampled for alone in plain]


def between(value: float, name: str) -> None:
    """Refuse what is no probability.

    Raises:
        DataError: it is not above 0 and below 1.
    """
    if not 0 < value < 1:
        raise DataError(f"Expected {name} to be a number between 0 and 1, found {value!r}.")
