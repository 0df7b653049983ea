"""A rate of every class against the rest, taken together: the macro average and the worst class."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

import numpy as np

from audit.fairness.counting import rates
from audit.fairness.inference import rating
from audit.statistics import LEVEL, undefined
from reports.record import Estimate

if TYPE_CHECKING:
    from audit.fairness.counting.cube import Cube


def macro(cube: Cube, name: str) -> dict[Hashable, Estimate]:
    """See `Cube.macro`.

    The classes share their rows, so their errors are not independent; the mean of the half-widths holds however they
    depend on each other.
    """
    every = [rating.rate(cube.against(c), name) for c in cube.classes]
    out: dict[Hashable, Estimate] = {}
    for group in cube.groups:
        found = [each[group] for each in every]
        missing = [estimate.value is None for estimate in found]
        if any(missing):
            reason = f"no rows to take the {name.replace('_', ' ')} of class {cube.classes[missing.index(True)]!r} over"
            out[group] = undefined(cube.hidden.get(group, reason), unit="fraction")
            continue
        low, value, high = (float(np.mean([getattr(e, side) for e in found])) for side in ("low", "value", "high"))
        out[group] = Estimate(
            value=value,
            low=low,
            high=high,
            n=min(e.n for e in found),
            method=f"mean over {len(found)} classes of {found[0].method}",
            unit="fraction",
        )
    return out


def worst(cube: Cube, name: str) -> dict[Hashable, tuple[Any, Estimate]]:
    """See `Cube.worst`."""
    worse = max if name in rates.ERRORS else min
    k = len(cube.classes)
    every = {c: rating.rate(cube.against(c), name, level=LEVEL ** (1 / k)) for c in cube.classes}
    out: dict[Hashable, tuple[Any, Estimate]] = {}
    for group in cube.groups:
        found = {c: each[group] for c, each in every.items() if each[group].value is not None}
        if not found:
            reason = cube.hidden.get(group, f"no rows to take the {name.replace('_', ' ')} over")
            out[group] = (None, undefined(reason, unit="fraction"))
            continue
        values = {side: {c: float(getattr(e, side)) for c, e in found.items()} for side in ("low", "value", "high")}
        at = worse(found, key=values["value"].__getitem__)
        unseen = "" if len(found) == k else f"; {k - len(found)} of them without rows"
        out[group] = (
            at,
            Estimate(
                value=values["value"][at],
                low=worse(values["low"].values()),
                high=worse(values["high"].values()),
                n=found[at].n,
                method=f"worst of {k} classes, {100 * LEVEL:g} % together, each {found[at].method}{unseen}",
                unit="fraction",
            ),
        )
    return out
