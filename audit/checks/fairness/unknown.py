"""Disparities where the protected attribute is missing in some rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from audit.check import Check
from audit.checks.fairness._groups import withheld
from audit.fairness import bounds
from audit.fairness.attributes import MISSING, NO_GROUPS, groups, positive
from audit.fairness.counting.cube import Cube
from reports.record import Cell, Estimate, Measured, Table

if TYPE_CHECKING:
    import numpy as np

    from audit.datasets import Dataset
    from audit.subject import Subject

RATES = ("selection_rate", "true_positive_rate", "false_positive_rate")
#: rows of the table of groups; a longer one would be read by nobody
SHOWN = 40


@dataclass(frozen=True)
class Unknown(Check):
    """What missing protected attributes leave open.

    What it measures:
        For each protected attribute that some rows lack: the largest difference between groups among the rows that
        have it, beside the smallest and the largest difference that is possible if each of the other rows may belong to
        any group; the same for each group's rate.
    Why it matters:
        People leave such questions open for reasons, so the rows that lack the answer are not like those that have it.
        Leaving them out can hide a difference or make one up. The bounds hold whatever the reason was.
    How to read it:
        A smallest possible difference above 0 says that groups are treated differently whoever the unknown people are. A
        largest possible difference that is small says that they cannot matter. Everything between is open: no
        statistics, only the missing answers, can narrow it. The intervals add sampling error on the outer sides.

    References:
        Manski 2003 (worst-case bounds); Imbens and Manski 2004 (intervals); Kallus, Mao and Zhou 2022 (fairness with
        unobserved groups).
    """

    def unfit(self, subject: Subject, data: Dataset) -> str | None:
        """Skip where nothing is missing."""
        if not data.groups:
            return NO_GROUPS
        if not _lacking(data):
            if any(None in set(values.tolist()) for values in data.groups.values()):
                return "a protected attribute is missing, but in all rows, or in so few that they are told with others"
            return f"no row lacks a protected attribute ({', '.join(data.groups)})"
        return None

    def run(self, subject: Subject, data: Dataset, rng: np.random.Generator) -> Measured:
        """See the class."""
        true, predicted = data.labels.numpy(), subject.scores(data).argmax(1).numpy()
        at, found = positive(data), groups(data)
        estimates: dict[str, Estimate] = {}
        rows, per_group, notes = list[tuple[Cell, ...]](), list[tuple[Cell, ...]](), []
        headline = []
        for attribute in _lacking(data):
            keep = found[attribute].code >= 0
            cube = Cube.count(
                true[keep],
                predicted[keep],
                found[attribute].column()[keep],
                classes=range(len(data.classes)),
                positive=at,
            )
            share = float(cube.rows[cube.groups.index(MISSING)].sum() / cube.rows.sum())
            notes.append(f"{share:.1%} of the rows lack {attribute}.")
            for rate in RATES:
                known = bounds.known(cube, MISSING).disparity(rate)
                possible = bounds.unknown(cube, rate, MISSING)
                gap = possible.disparity()
                estimates |= {
                    f"{rate}_difference_known@{attribute}": known,
                    f"{rate}_difference_at_least@{attribute}": gap.least,
                    f"{rate}_difference_at_most@{attribute}": gap.most,
                }
                rows.append((attribute, rate.replace("_", " "), known, gap.least, gap.most))
                if rate == RATES[0]:
                    own = bounds.known(cube, MISSING).rate(rate)
                    per_group += [
                        (attribute, str(group), own[group], *_ends(possible.rate(group)))
                        for group in possible.groups[:SHOWN]
                    ]
            headline.append(f"{RATES[0]}_difference_at_least@{attribute}")
            headline.append(f"{RATES[0]}_difference_at_most@{attribute}")
        return Measured(
            estimates=estimates,
            headline=tuple(headline),
            tables=(
                Table(
                    title="Largest difference between groups, whoever the unknown people are",
                    columns=("attribute", "rate", "among known rows", "at least", "at most"),
                    rows=tuple(rows),
                    note="The last two hold for every way in which the unknown rows may belong to groups.",
                ),
                Table(
                    title="Selection rate of each group, whoever the unknown people are",
                    columns=("attribute", "group", "among known rows", "at least", "at most"),
                    rows=tuple(per_group),
                    note=f"At most {SHOWN} groups of an attribute are shown.",
                ),
            ),
            notes=(f"The favourable class is {data.classes[at]!r}.", *notes, *withheld(data)),
        )


def _lacking(data: Dataset) -> list[str]:
    """Attributes with missing values and at least one group beside them."""
    return [name for name, found in groups(data).items() if MISSING in found.names and len(found.names) > 1]


def _ends(found: bounds.Range) -> tuple[Estimate, Estimate]:
    return found.least, found.most
