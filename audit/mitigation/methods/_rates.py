"""Rates of favourable predictions between groups, as methods need them while they learn."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from audit.errors import DataError
from audit.mitigation.remedy import Aim, Bench, Definition, Part

#: rows of a group below which nothing is learnt from it alone
LEAST = 20


def strata(aim: Aim, labels: NDArray[np.int64]) -> tuple[NDArray[np.bool_], ...]:
    """Rows within which the aim's definition compares groups, each (n,)."""
    truth = labels == aim.favourable
    if aim.definition is Definition.DEMOGRAPHIC_PARITY:
        return (np.ones(len(labels), dtype=np.bool_),)
    return (truth,) if aim.definition is Definition.EQUAL_OPPORTUNITY else (truth, ~truth)


def sizeable(aim: Aim, part: Part, groups: int) -> NDArray[np.bool_]:
    """(groups,) which have at least `LEAST` rows wherever the definition looks."""
    counts = [
        np.bincount(part.groups[rows & (part.groups >= 0)], minlength=groups) for rows in strata(aim, part.labels)
    ]
    return np.asarray(np.min(counts, axis=0) >= LEAST)


def compared(bench: Bench, part: Part, what: str) -> NDArray[np.bool_]:
    """`sizeable`, of at least two groups.

    Raises:
        DataError: there are fewer.
    """
    found = sizeable(bench.aim, part, len(bench.groups))
    if found.sum() < 2:
        raise DataError(
            f"Expected at least two groups of {bench.aim.attribute!r} with {LEAST} {what} rows wherever "
            f"{str(bench.aim.definition).replace('_', ' ')} compares them, found {int(found.sum())}; try more rows, or "
            "coarser groups."
        )
    return found


def difference(
    aim: Aim,
    chosen: NDArray[np.floating] | NDArray[np.bool_],
    labels: NDArray[np.int64],
    groups: NDArray[np.int64],
    counted: NDArray[np.bool_],
) -> float:
    """Largest difference between two groups' rates, over the strata of the definition.

    Args:
        aim: whose definition.
        chosen: (n,) probability, or 0 and 1, of the favourable prediction.
        labels: (n,).
        groups: (n,) codes.
        counted: which groups take part, one a code; each has rows in every stratum.
    """
    widest = 0.0
    for rows in strata(aim, labels):
        rates = [chosen[rows & (groups == group)].mean() for group in np.flatnonzero(counted)]
        widest = max(widest, float(max(rates) - min(rates)))
    return widest


def margin(scores: NDArray[np.float64], favourable: int) -> NDArray[np.float64]:
    """(n, classes) -> (n,) how far the favourable class is ahead of the best other one; it is predicted above 0."""
    rest = np.delete(scores, favourable, axis=1).max(1)
    return np.asarray(scores[:, favourable] - rest)


def small(bench: Bench, counted: NDArray[np.bool_], what: str) -> tuple[str, ...]:
    """A note about the groups that are not counted, if any."""
    names = [bench.groups[group] for group in np.flatnonzero(~counted)]
    return (f"{listed(names)}: fewer than {LEAST} rows where the definition looks, so {what}.",) if names else ()


def listed(names: Iterable[str]) -> str:
    """At most eight names and how many more there are."""
    all_names = list(names)
    more = len(all_names) - 8
    return ", ".join(all_names[:8]) + (f" and {more} more" if more > 0 else "")
