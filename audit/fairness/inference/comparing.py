"""Disparities between groups, and the test that gates them, read off a cube."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from scipy import special

from audit.errors import DataError, nearest
from audit.fairness.counting import rates
from audit.fairness.inference import intervals, parting
from audit.fairness.inference.clustered import Sample, sample
from audit.fairness.inference.intervals import Floats
from audit.fairness.inference.rating import between
from audit.statistics import LEVEL, undefined
from reports.record import Estimate, Outcome

if TYPE_CHECKING:
    from audit.fairness.counting.cube import Cube

Kind = Literal["difference", "ratio"]
#: what `test` tolerates where it is told nothing: ten points, or the four fifths of 29 CFR 1607.4(D)
MARGINS: dict[str, float] = {"difference": 0.1, "ratio": 0.8}


class Decision(NamedTuple):
    """What `test` concludes, and from which disparity.

    Attributes:
        outcome: FAIL, PASS or INSUFFICIENT.
        disparity: the disparity, with the interval that decides.
        p: family-wise p-value of "the disparity is within the margin"; None where there is nothing to compare.
        groups: the pair that decides, the one with the lower rate first, for a rate of errors with the higher; None likewise.
        reason: the conclusion in words.
    """

    outcome: Outcome
    disparity: Estimate
    p: float | None
    groups: tuple[Hashable, Hashable] | None
    reason: str


class _Compared(NamedTuple):
    """A disparity and what `test` needs besides."""

    estimate: Estimate
    #: groups with a rate, and which of them is the reference
    groups: Sample
    keys: tuple[Hashable, ...]
    reference: int | None
    #: none where clusters cross groups
    spreads: tuple[Floats, ...]
    farthest: parting.Farthest


def disparity(
    cube: Cube,
    name: str,
    kind: Kind = "difference",
    reference: Hashable | None = None,
    alpha: float = 1 - LEVEL,
) -> Estimate:
    """See `Cube.disparity`."""
    found = _compare(cube, name, kind, reference, alpha)
    return found if isinstance(found, Estimate) else found.estimate


def test(
    cube: Cube,
    name: str,
    margin: float | None,
    alpha: float,
    kind: Kind,
    reference: Hashable | None,
) -> Decision:
    """See `Cube.test`."""
    found = _compare(cube, name, kind, reference, alpha)
    margin = MARGINS[kind] if margin is None else margin
    if not 0 <= margin <= 1:
        raise DataError(f"Expected margin to be a number from 0 to 1, found {margin!r}.")
    if isinstance(found, Estimate):
        return Decision(Outcome.INSUFFICIENT, found, None, None, f"Nothing can be compared: {found.reason}.")
    e = found.estimate
    assert e.value is not None and e.low is not None and e.high is not None
    beyond, within = (e.low > margin, e.high <= margin) if kind == "difference" else (e.high < margin, e.low >= margin)
    parted = _parted(found, kind, margin)
    p = _alarm(found, parted.c) if parted.c > 0 else 1.0
    pair = parted if beyond else found.farthest
    low, high = found.keys[pair.low], found.keys[pair.high]
    groups = (high, low) if name in rates.ERRORS else (low, high)
    seen = set(found.keys)
    missing = [str(key) for key in cube.groups if key not in seen]
    outcome = Outcome.FAIL if beyond else Outcome.PASS if within and not missing else Outcome.INSUFFICIENT
    return Decision(outcome, e, p, groups, _reason(outcome, name, kind, margin, e, p, groups, missing))


def _compare(cube: Cube, name: str, kind: Kind, reference: Hashable | None, alpha: float) -> _Compared | Estimate:
    """The disparity; where it is undefined, the estimate that says so."""
    if kind not in MARGINS:
        raise DataError(f"Expected kind to be difference or ratio, found {kind!r}.")
    if reference is not None and reference not in cube.groups:
        raise DataError(
            f"Expected a group as reference, found {reference!r}{nearest(str(reference), map(str, cube.groups))}"
        )
    between(alpha, "alpha")
    everyone = sample(cube, name)
    n = round(float(everyone.size.sum()))
    seen = everyone.size > 0
    keys = tuple(group for group, there in zip(cube.groups, seen, strict=True) if there)
    if len(keys) < 2:
        return undefined("fewer than two groups have rows", n=n)
    if reference is not None and reference not in keys:
        return undefined(f"the reference group {reference!r} has no rows", n=n)
    groups = everyone.take(seen)
    if kind == "ratio" and not groups.value.any():
        return undefined("the rate is 0 in every group", n=n)
    at = None if reference is None else keys.index(reference)
    if cube.crossing:
        spreads: tuple[Floats, ...] = ()
        c = intervals.normal(1 - alpha / len(keys))
        # whatever the dependence, a + b holds where the limits do at half the error; it is at most sqrt(2) hypot(a, b)
        far = _farthest(groups, kind, at, intervals.normal(1 - alpha / 2), np.sqrt(2))
    else:
        spreads = _spreads(groups, kind)
        c = max(parting.critical(spread, alpha, at) for spread in spreads)
        far = _farthest(groups, kind, at, intervals.normal(1 - alpha))
    near = [(parting.lowest_high(bottom, c), parting.highest_low(top, c)) for bottom, top in _sides(groups, at)]
    against = f"the other {len(keys) - 1}" if at is not None else f"{len(keys)} groups"
    method = f"mid-p limits that stand apart, {against} at once, and Newcombe's farthest limit, {100 * (1 - alpha):g} %"
    if cube.crossing:
        method += f", Bonferroni for {cube.crossing} clusters that cross groups"
    value, low, high = _interval(groups, kind, at, near, far)
    unit = "fraction" if kind == "difference" else ""
    estimate = Estimate(value=value, low=min(low, value), high=max(high, value), n=n, method=method, unit=unit)
    return _Compared(estimate, groups, keys, at, spreads, far)


def _interval(
    groups: Sample,
    kind: Kind,
    reference: int | None,
    near: list[tuple[float, float]],
    far: parting.Farthest,
) -> tuple[float, float, float]:
    """Value, low and high of the disparity, from where groups stand apart at least and how far at most."""
    p = groups.value
    ends = (p.min(), p.max()) if reference is None else (p, p[reference])
    if kind == "difference":
        value = float(np.abs(ends[1] - ends[0]).max())
        return value, max(0.0, *(high - low for low, high in near)), min(1.0, far.limit)
    smaller, larger = np.minimum(*ends), np.maximum(*ends)
    value = float(np.divide(smaller, larger, out=np.ones_like(larger), where=larger > 0).min())
    parted = min(low / high if high > 0 else np.inf for low, high in near)
    return value, float(np.exp(-far.limit)), min(1.0, parted)


def _spreads(groups: Sample, kind: Kind) -> tuple[Floats, Floats]:
    """Standard deviations of the groups but for a factor: were their rates equal, and at the rates they have.

    The first makes the test of equality exact in large samples; the second keeps its error where the margin lets the
    rates differ. The more cautious of the two decides.
    """
    low, high = groups.ends("wilson", 1.0)
    own = (high - low) / 2
    return 1 / np.sqrt(groups.size), own if kind == "difference" else own / ((high + low) / 2)


def _farthest(groups: Sample, kind: Kind, reference: int | None, z: float, stretch: float = 1.0) -> parting.Farthest:
    """How far the groups may lie apart: as a difference, or as minus the logarithm of a ratio.

    If the disparity is beyond a margin, then one pair is; that pair's own limit is within it with chance at most alpha / 2,
    so that no pair need share its error with another (the intersection-union test of Berger 1982).
    """
    low, high = groups.ends("mid-p", z)
    p = groups.value
    if kind == "difference":
        return parting.farthest(p, stretch * (p - low), stretch * (high - p), reference)
    if (p == 0).any():
        lowest, highest = int(p.argmin()), int(p.argmax())
        if reference is not None:
            lowest, highest = (reference, highest) if p[reference] == 0 else (lowest, reference)
        return parting.Farthest(np.inf, lowest, highest)
    # limits of a logarithm are logarithms of limits (Zou and Donner 2008)
    with np.errstate(divide="ignore"):
        down, up = np.log(p) - np.log(low), np.log(high) - np.log(p)
    return parting.farthest(np.log(p), stretch * down, stretch * up, reference)


def _alarm(found: _Compared, c: float) -> float:
    """Chance that intervals at critical value c do not all meet; Bonferroni's bound where clusters cross groups."""
    if found.spreads:
        return max(parting.alarm(c, spread, found.reference) for spread in found.spreads)
    return float(min(1.0, 2 * len(found.keys) * special.ndtr(-c)))


def _sides(groups: Sample, reference: int | None) -> list[tuple[Sample, Sample]]:
    """Who may be low and who may be high: everyone, or the reference on either side."""
    if reference is None:
        return [(groups, groups)]
    one = groups.take(np.array([reference]))
    return [(groups, one), (one, groups)]


def _parted(found: _Compared, kind: Kind, margin: float) -> parting.Parting:
    """The pair that stands apart most clearly by more than the margin."""
    best = parting.Parting(0.0, 0, 0)
    for bottom, top in _sides(found.groups, found.reference):
        if kind == "difference":
            parted = parting.parting(top, bottom, lambda rate: rate + margin, 1 - margin)
        else:
            parted = parting.parting(top, bottom, lambda rate: rate / margin if margin else 1.0, margin)
        if parted.c > best.c:
            low, high = (
                found.reference if len(side.value) == 1 else at
                for side, at in ((bottom, parted.low), (top, parted.high))
            )
            best = parting.Parting(parted.c, low or 0, high or 0)
    return best


def _reason(
    outcome: Outcome,
    name: str,
    kind: Kind,
    margin: float,
    e: Estimate,
    p: float,
    groups: tuple[Hashable, Hashable],
    missing: list[str],
) -> str:
    what = f"The largest {kind}" if kind == "difference" else "The smallest ratio"
    what += f" in {name.replace('_', ' ')} between groups"
    seen = f"{e.value:.3g} ({e.low:.3g} to {e.high:.3g})"
    pair = f"{groups[0]} and {groups[1]}"
    bound = f"the margin of {margin:g}"
    if outcome is Outcome.FAIL:
        return f"{what} is {seen}, significantly beyond {bound}; {pair} stand apart most clearly (p = {p:.2g})."
    if outcome is Outcome.PASS:
        return f"{what} is {seen}, significantly within {bound}; {pair} may be the farthest apart."
    if missing:
        shown = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        return f"{what} is {seen}, but the rate is undefined for {shown}."
    return f"{what} is {seen}, which leaves open whether it is beyond {bound}; {pair} may be the farthest apart."
