"""Rates of each protected group and intersection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from audit.check import Check
from audit.checks.fairness._groups import cubes
from audit.fairness.attributes import NO_GROUPS, group_name, positive
from reports.record import Bar, Bars, Cell, Estimate, Figure, Measured, Table

if TYPE_CHECKING:
    import numpy as np

    from audit.datasets import Dataset
    from audit.subject import Subject

SHOWN = (
    "selection_rate",
    "true_positive_rate",
    "false_positive_rate",
    "positive_predictive_value",
    "accuracy",
)


@dataclass(frozen=True)
class Rates(Check):
    """Rates by protected group.

    What it measures:
        For each group of each protected attribute, and for their intersections: how often the model gives the
        favourable answer (selection rate), how often it does so rightly (true positive rate) and wrongly (false
        positive rate), how often that answer is right (positive predictive value), and the accuracy.
    Why it matters:
        An average hides who pays for the errors. Equal accuracy can stand beside very unequal false alarms.
    How to read it:
        Compare intervals, not points: a group of few rows has a wide one. A rate over no rows is undefined, which is
        not the same as 0. Differences and their significance stand in the disparity check.

    References:
        Hardt, Price and Srebro 2016 (equalised odds); Wilson 1927 (intervals).
    """

    #: 1: single attributes only; 2: their intersection too
    depth: int = 2

    def unfit(self, subject: Subject, data: Dataset) -> str | None:
        """Skip where nobody is to be compared."""
        return None if data.groups else NO_GROUPS

    def run(self, subject: Subject, data: Dataset, rng: np.random.Generator) -> Measured:
        """See the class."""
        estimates: dict[str, Estimate] = {}
        tables, figures = [], list[Figure]()
        for attribute, cube in cubes(subject, data, self.depth).items():
            found = {rate: cube.rate(rate) for rate in SHOWN}
            rows: list[tuple[Cell, ...]] = []
            for index, group in enumerate(cube.groups):
                name = group_name(group)
                rows.append((name, round(float(cube.counts[index].sum())), *(found[rate][group] for rate in SHOWN)))
                estimates |= {f"{rate}@{attribute}={name}": found[rate][group] for rate in SHOWN}
            tables.append(
                Table(
                    title=f"Rates by {attribute}",
                    columns=(attribute, "rows", *(rate.replace("_", " ") for rate in SHOWN)),
                    rows=tuple(rows),
                )
            )
            selected = found["selection_rate"]
            whole = cube.counts.sum((0, 1))
            figures.append(
                Bars(
                    title=f"Selection rate by {attribute}",
                    x_title="selection rate",
                    bars=tuple(
                        Bar(label=group_name(group), value=e.value, low=e.low, high=e.high)
                        for group, e in selected.items()
                        if e.value is not None
                    ),
                    reference=float(whole[cube.positive] / whole.sum()),
                    percent=True,
                    note="The line is the selection rate over all rows.",
                )
            )
        favourable = data.classes[positive(data)]
        declared = "declared" if data.favourable is not None else "taken because none is declared (the last class)"
        return Measured(
            estimates=estimates,
            tables=tuple(tables),
            figures=tuple(figures),
            notes=(f"The favourable class is {favourable!r}, {declared}.",),
        )
