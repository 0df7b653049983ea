"""Which of several remedied models to take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from audit.errors import DataError, PlanError, nearest

RULES = ("pareto", "difference")
#: what a choice is made on; the test rows may say something else
ROWS = "the training rows kept to choose on"


class Spot(NamedTuple):
    """Where a model stands on some rows: its difference between groups (less is better) and its accuracy."""

    difference: float | None
    accuracy: float | None


def front(spots: Mapping[str, Spot]) -> frozenset[str]:
    """Names of the models that no other beats: as good in one respect and better in the other."""
    known = {name: spot for name, spot in spots.items() if spot.difference is not None and spot.accuracy is not None}
    return frozenset(name for name, spot in known.items() if not any(_beats(other, spot) for other in known.values()))


def _beats(one: Spot, other: Spot) -> bool:
    ours, theirs = (-(one.difference or 0.0), one.accuracy or 0.0), (-(other.difference or 0.0), other.accuracy or 0.0)
    return ours != theirs and ours[0] >= theirs[0] and ours[1] >= theirs[1]


def refuse_rule(rule: str, methods: Sequence[str]) -> None:
    """Refuse a rule that is none, or a method that is not tried.

    Raises:
        PlanError: it is one.
    """
    if rule not in (*RULES, *methods):
        raise PlanError(f"Expected a rule to choose by, or a method, found {rule!r}{nearest(rule, [*RULES, *methods])}")


def choose(spots: Mapping[str, Spot], rule: str, margin: float) -> tuple[str, str]:
    """The model to take, and why, in a sentence.

    Args:
        spots: by method; on rows that no method saw.
        rule: "pareto", "difference" or a method's name.
        margin: difference that is no fault.

    Raises:
        DataError: the difference is defined for none, or the named method is not there.
    """
    known = {name: spot for name, spot in spots.items() if spot.difference is not None}
    if rule not in RULES:
        if rule not in spots:
            raise DataError(f"Expected the method {rule!r} to be tried, found it left out; try choose: pareto.")
        return rule, f"{rule}: the plan names it."
    if not known:
        raise DataError(
            "Expected the difference between groups on the rows to choose on, found it defined for no method; try more "
            "training rows, or a larger mitigate.held."
        )
    if rule == "difference":
        name = min(known, key=lambda n: (known[n].difference or 0.0, -(known[n].accuracy or 0.0)))
        return name, f"{name}: the smallest difference between groups on {ROWS}."
    best = front(known)
    within = [name for name in known if name in best and (known[name].difference or 0.0) <= margin]
    if within:
        name = max(within, key=lambda n: known[n].accuracy or 0.0)
        return (
            name,
            f"{name}: on {ROWS}, the most accurate on the Pareto front with a difference of at most {margin:g}.",
        )
    name = min((n for n in known if n in best), key=lambda n: known[n].difference or 0.0)
    return name, f"{name}: the smallest difference on {ROWS}, where none comes within {margin:g}."
