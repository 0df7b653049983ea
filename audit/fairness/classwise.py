"""A rate of every class against the rest, taken together: the macro average and the worst class."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

from audit.fairness import inference, rates
from audit.statistics import LEVEL, undefined
from reports.record import Estimate

if TYPE_CHECKING:
    from audit.fairness.cube import Cube


def macro(cube: Cube, name: str) -> dict[Hashable, Estimate]:
    """See `Cube.macro`.

    The classes share their rows, so their errors are not independent; the mean of the half-widths holds however they
    depend on each other.
    """
    found = _every(cube, name, LEVEL)
    missing = np.isnan(found.value)
    out: dict[Hashable, Estimate] = {}
    for g, group in enumerate(cube.groups):
        if missing[:, g].any():
            without = cube.classes[int(np.argmax(missing[:, g]))]
            out[group] = undefined(
                cube.hidden.get(group, f"no rows to take the {name.replace('_', ' ')} of class {without!r} over"),
                unit="fraction",
            )
            continue
        out[group] = Estimate(
            value=float(found.value[:, g].mean()),
            low=float(found.low[:, g].mean()),
            high=float(found.high[:, g].mean()),
            n=round(float(found.effective[:, g].min())),
            method=f"mean over {len(cube.classes)} classes of Wilson {100 * LEVEL:g} %",
            unit="fraction",
        )
    return out


def worst(cube: Cube, name: str) -> dict[Hashable, tuple[Any, Estimate]]:
    """See `Cube.worst`."""
    sign = -1.0 if name in rates.ERRORS else 1.0
    k = len(cube.classes)
    found = _every(cube, name, LEVEL ** (1 / k))
    seen = ~np.isnan(found.value)
    out: dict[Hashable, tuple[Any, Estimate]] = {}
    for g, group in enumerate(cube.groups):
        at = np.flatnonzero(seen[:, g])
        if not len(at):
            reason = cube.hidden.get(group, f"no rows to take the {name.replace('_', ' ')} over")
            out[group] = (None, undefined(reason, unit="fraction"))
            continue
        index = at[np.argmin(sign * found.value[at, g])]
        pick = np.max if sign < 0 else np.min
        out[group] = (
            cube.classes[index],
            Estimate(
                value=float(found.value[index, g]),
                low=float(pick(found.low[at, g])),
                high=float(pick(found.high[at, g])),
                n=round(float(found.effective[index, g])),
                method=f"Wilson, Sidak over {k} classes, {100 * LEVEL:g} %"
                + ("" if len(at) == k else f"; {k - len(at)} of them without rows"),
                unit="fraction",
            ),
        )
    return out


def _every(cube: Cube, name: str, level: float) -> inference.Limits:
    """Limits of every class, each (classes, g)."""
    z = float(stats.norm.ppf(0.5 + level / 2))
    each = [inference.limits(cube.against(c), name, z) for c in cube.classes]
    return inference.Limits(*(np.stack(side) for side in zip(*each, strict=True)))
