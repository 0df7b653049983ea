"""Rates of each protected group and intersection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from audit.check import Check
from audit.checks.fairness._groups import cubes, largest, withheld
from audit.fairness.attributes import NO_GROUPS, positive
from reports.record import Bar, Bars, Cell, Estimate, Figure, Measured, Table

if TYPE_CHECKING:
    import numpy as np

    from audit.datasets import Dataset
    from audit.fairness import Cube
    from audit.subject import Subject

#: in the table, and as figures of their own beside it
SHOWN = (
    "selection_rate",
    "true_positive_rate",
    "false_positive_rate",
    "positive_predictive_value",
    "accuracy",
)
BESIDE = ("base_rate", "negative_predictive_value", "balanced_accuracy", "f1")
#: with more than two classes: every class against the rest
CLASSWISE = ("macro_true_positive_rate", "worst_class_true_positive_rate")


@dataclass(frozen=True)
class Rates(Check):
    """Rates by protected group.

    What it measures:
        For each group of each protected attribute, and for their intersections: how often the model gives the
        favourable answer (selection rate), how often it does so rightly (true positive rate) and wrongly (false
        positive rate), how often that answer is right (positive predictive value), and the accuracy. With more than
        two classes also the true positive rate averaged over the classes, and that of the class it fares worst with.
    Why it matters:
        An average hides who pays for the errors. Equal accuracy can stand beside very unequal false alarms.
    How to read it:
        Compare intervals, not points: a group of few rows has a wide one. A rate over no rows is undefined, which is
        not the same as 0. Differences and their significance stand in the disparity check.

    References:
        Hardt, Price and Srebro 2016 (equalised odds); Buolamwini and Gebru 2018 (intersections); Wilson 1927 (intervals).
    """

    version: ClassVar[int] = 2

    #: attributes crossed at most; 1: single attributes only
    depth: int = 2
    #: groups listed of all attributes together, the largest first, and of each at least
    shown: int = 40
    least: int = 8

    def unfit(self, subject: Subject, data: Dataset) -> str | None:
        """Skip where nobody is to be compared."""
        return None if data.groups else NO_GROUPS

    def run(self, subject: Subject, data: Dataset, rng: np.random.Generator) -> Measured:
        """See the class."""
        estimates: dict[str, Estimate] = {}
        tables, figures, notes = [], list[Figure](), list[str]()
        many = len(data.classes) > 2
        names = SHOWN + CLASSWISE if many else SHOWN
        sets = cubes(subject, data, self.depth)
        most = max(self.least, self.shown // len(sets))
        for attribute, cube in sets.items():
            found = {rate: cube.rate(rate) for rate in (*SHOWN, *BESIDE)}
            if many:
                worst = {group: estimate for group, (_, estimate) in cube.worst("true_positive_rate").items()}
                found |= dict(zip(CLASSWISE, (cube.macro("true_positive_rate"), worst), strict=True))
            chosen = largest(cube.rows.sum((1, 2)), most)
            if len(chosen) < len(cube.groups):
                notes.append(
                    f"Of the {len(cube.groups):,} groups of {attribute}, the {len(chosen)} largest are listed."
                )
            rows: list[tuple[Cell, ...]] = []
            for at in chosen:
                group = cube.groups[at]
                rows.append((str(group), int(cube.rows[at].sum()), *(found[rate][group] for rate in names)))
                estimates |= {f"{rate}@{attribute}={group}": of_rate[group] for rate, of_rate in found.items()}
            tables.append(
                Table(
                    title=f"Rates by {attribute}",
                    columns=(attribute, "rows", *(rate.replace("_", " ") for rate in names)),
                    rows=tuple(rows),
                )
            )
            figures.append(_selected(attribute, cube, found["selection_rate"], chosen))
        favourable = data.classes[positive(data)]
        declared = "declared" if data.favourable is not None else "taken because none is declared (the last class)"
        return Measured(
            estimates=estimates,
            tables=tuple(tables),
            figures=tuple(figures),
            notes=(f"The favourable class is {favourable!r}, {declared}.", *notes, *withheld(data)),
        )


def _selected(attribute: str, cube: Cube, rate: dict[Any, Estimate], chosen: list[int]) -> Bars:
    """Selection rates as bars, at most twenty."""
    whole = cube.counts.sum((0, 1))
    bars = [(str(cube.groups[at]), rate[cube.groups[at]]) for at in chosen[:20]]
    return Bars(
        title=f"Selection rate by {attribute}",
        x_title="selection rate",
        bars=tuple(Bar(label=name, value=e.value, low=e.low, high=e.high) for name, e in bars if e.value is not None),
        reference=float(whole[cube.positive] / whole.sum()),
        percent=True,
        note="The line is the selection rate over all rows.",
    )
