"""Intervals of rates, disparities between groups, and the test that gates them, all read off a cube."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from audit.errors import DataError, nearest
from audit.fairness import intervals, rates
from audit.statistics import LEVEL, undefined
from reports.record import Estimate, Outcome

if TYPE_CHECKING:
    from audit.fairness.cube import Cube

Floats = NDArray[np.float64]


class Decision(NamedTuple):
    """What `test` concludes, and from which disparity."""

    outcome: Outcome
    disparity: Estimate


class Limits(NamedTuple):
    """A rate of each group with its limits and effective n, each (g,); NaN and n = 0 where it is undefined."""

    value: Floats
    low: Floats
    high: Floats
    effective: Floats


def limits(cube: Cube, name: str, z: float) -> Limits:
    """Wilson limits of each part on Kish's effective n, put together by MOVER (Zou and Donner 2008).

    Args:
        cube: the counts.
        name: one of `rates.NAMES`.
        z: critical value of the standard normal.
    """
    found = [rates.proportions(cube, part) for part in rates.parts(cube, name)]
    p = np.stack([part.value for part in found])
    n = np.stack([part.effective for part in found])
    seen = (n > 0).all(0)
    value, low, high = (np.full(len(cube.groups), np.nan) for _ in range(3))
    down, up = intervals.wilson(p[:, seen], n[:, seen], z)
    value[seen] = rates.combine(name, p[:, seen])
    if len(found) == 1:
        low[seen], high[seen] = rates.combine(name, down), rates.combine(name, up)
    else:
        low[seen] = value[seen] - np.sqrt(((p[:, seen] - down) ** 2).sum(0)) / len(found)
        high[seen] = value[seen] + np.sqrt(((up - p[:, seen]) ** 2).sum(0)) / len(found)
    return Limits(value, low, high, np.where(seen, n.sum(0), 0.0))


def rate(cube: Cube, name: str) -> dict[Hashable, Estimate]:
    """See `Cube.rate`."""
    found = limits(cube, name, float(stats.norm.ppf(0.5 + LEVEL / 2)))
    out: dict[Hashable, Estimate] = {}
    for group, value, low, high, size in zip(cube.groups, *found, strict=True):
        if size == 0:
            out[group] = undefined(
                cube.hidden.get(group, f"no rows to take the {name.replace('_', ' ')} over"), unit="fraction"
            )
            continue
        out[group] = Estimate(
            value=float(value),
            low=float(low),
            high=float(high),
            n=round(float(size)),
            method="Wilson 95 %",
            unit="fraction",
        )
    return out


def disparity(
    cube: Cube,
    name: str,
    kind: Literal["difference", "ratio"] = "difference",
    reference: Hashable | None = None,
    alpha: float = 1 - LEVEL,
) -> Estimate:
    """See `Cube.disparity`."""
    if kind not in ("difference", "ratio"):
        raise DataError(f"Expected kind to be difference or ratio, found {kind!r}.")
    if reference is not None and reference not in cube.groups:
        raise DataError(
            f"Expected a group as reference, found {reference!r}{nearest(str(reference), map(str, cube.groups))}"
        )
    n = limits(cube, name, 1.0).effective
    n_total = round(float(n.sum()))
    seen = n > 0
    if int(seen.sum()) < 2:
        return undefined("fewer than two groups have rows", n=n_total)
    keys = [group for group, there in zip(cube.groups, seen, strict=True) if there]
    if reference is not None and reference not in keys:
        return undefined(f"the reference group {reference!r} has no rows", n=n_total)
    z = intervals.critical(len(keys), "pairs" if reference is None else "reference", alpha)
    p, low, high, _ = (part[seen] for part in limits(cube, name, z))
    chosen = ~np.eye(len(keys), dtype=bool)
    if reference is not None:
        at = keys.index(reference)
        only = np.zeros_like(chosen)
        only[at, :] = only[:, at] = True
        chosen &= only
    method = f"{'Tukey' if reference is None else 'Sidak'} over {len(keys)} groups, {100 * (1 - alpha):g} %"
    if kind == "difference":
        value, lower, upper = intervals.difference(p, low, high)
        # both orders of a pair are present, so the largest signed one is the largest absolute one
        v = float(value[chosen].max())
        return Estimate(
            value=v,
            low=min(max(0.0, float(lower[chosen].max())), v),
            high=min(1.0, float(upper[chosen].max())),
            n=n_total,
            method=f"Newcombe, {method}",
            unit="fraction",
        )
    if not p.any():
        return undefined("the rate is 0 in every group", n=n_total)
    value, lower, upper = intervals.ratio(p, low, high)
    defined = chosen & np.isfinite(value)
    v = min(1.0, float(value[defined].min()))
    return Estimate(
        value=v,
        low=min(v, float(np.nanmin(lower[defined]))),
        high=max(v, min(1.0, float(np.nanmin(upper[defined])))),
        n=n_total,
        method=f"MOVER, {method}",
    )


def test(cube: Cube, name: str, margin: float, alpha: float) -> Decision:
    """See `Cube.test`."""
    found = disparity(cube, name, alpha=alpha)
    if found.value is None:
        return Decision(Outcome.INSUFFICIENT, found)
    assert found.low is not None and found.high is not None
    if found.low > margin:
        return Decision(Outcome.FAIL, found)
    complete = bool((limits(cube, name, 1.0).effective > 0).all())
    return Decision(Outcome.PASS if complete and found.high <= margin else Outcome.INSUFFICIENT, found)
