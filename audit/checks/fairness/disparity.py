"""Differences and ratios between protected groups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from audit.check import Check
from audit.checks.fairness._groups import cubes
from audit.fairness.attributes import NO_GROUPS
from reports.record import Bar, Bars, Cell, Estimate, Measured, Table

if TYPE_CHECKING:
    import numpy as np

    from audit.datasets import Dataset
    from audit.subject import Subject

KINDS: tuple[Literal["difference", "ratio"], ...] = ("difference", "ratio")
#: definition -> the rate that it compares
DEFINITIONS = {
    "demographic_parity": "selection_rate",
    "equal_opportunity": "true_positive_rate",
    "false_positive_rate": "false_positive_rate",
    "predictive_parity": "positive_predictive_value",
    "accuracy": "accuracy",
}


@dataclass(frozen=True)
class Disparity(Check):
    """Differences between protected groups.

    What it measures:
        The largest difference and the smallest ratio between any two groups of selection rate (demographic parity),
        true positive rate (equal opportunity), false positive rate, positive predictive value (predictive parity) and
        accuracy, for each protected attribute and for the intersections.
    Why it matters:
        It says whom the model treats worse. Selection ratios below 0.8 are what the four-fifths rule of United States
        employment practice looks at; a large difference in error rates is what equalised odds forbids.
    How to read it:
        The interval holds for all pairs of groups at once, so that the largest of many chance differences is not
        taken for bias: a difference whose interval includes 0, or a ratio whose interval includes 1, may be chance.
        Where the groups' true rates differ, no model can satisfy all definitions together; choose the one your use
        asks for.

    References:
        Newcombe 1998; Donner and Zou 2012; Tukey's studentised range (Hayter 1984); 29 CFR 1607.4(D); Chouldechova
        2017 and Kleinberg et al. 2016 (definitions that exclude each other).
    """

    #: 1: single attributes only; 2: their intersection too
    depth: int = 2

    def unfit(self, subject: Subject, data: Dataset) -> str | None:
        """Skip where nobody is to be compared."""
        return None if data.groups else NO_GROUPS

    def run(self, subject: Subject, data: Dataset, rng: np.random.Generator) -> Measured:
        """See the class."""
        estimates: dict[str, Estimate] = {}
        rows, bars = list[tuple[Cell, ...]](), []
        headline = []
        for attribute, cube in cubes(subject, data, self.depth).items():
            for definition, rate in DEFINITIONS.items():
                pair = {kind: cube.disparity(rate, kind) for kind in KINDS}
                estimates |= {f"{definition}_{kind}@{attribute}": pair[kind] for kind in KINDS}
                rows.append((attribute, definition.replace("_", " "), *pair.values()))
                gap = pair["difference"]
                if gap.value is not None:
                    words = definition.replace("_", " ")
                    bars.append(Bar(label=words, value=gap.value, low=gap.low, high=gap.high, series=attribute))
            headline.append(f"demographic_parity_difference@{attribute}")
            headline.append(f"equal_opportunity_difference@{attribute}")
        return Measured(
            estimates=estimates,
            headline=tuple(headline),
            tables=(
                Table(
                    title="Largest difference and smallest ratio between groups",
                    columns=("attribute", "definition", "difference", "ratio"),
                    rows=tuple(rows),
                    note="Intervals hold for all pairs of groups at once.",
                ),
            ),
            figures=(
                Bars(
                    title="Largest difference between groups",
                    x_title="difference",
                    bars=tuple(bars),
                    percent=True,
                    note="An interval that reaches 0 may be chance.",
                ),
            ),
        )
