"""Differences and ratios between protected groups, and whether they are more than chance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from audit import statistics
from audit.check import Check
from audit.checks.fairness._groups import cubes, told, withheld
from audit.fairness.attributes import NO_GROUPS
from audit.fairness.definitions.published import lower_first
from reports.record import Bar, Bars, Cell, Estimate, Measured, Table

if TYPE_CHECKING:
    import numpy as np

    from audit.datasets import Dataset
    from audit.fairness.inference.comparing import Decision
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
        accuracy, for each protected attribute and for the intersections. The groups named, the one with the lower rate
        first, stand apart most clearly, or may be farthest apart where none do; with small groups they need not be the
        two of the largest difference. The p-value says how often chance alone would set some two groups of the attribute as far apart;
        the adjusted one allows for every comparison in the table (Holm).
    Why it matters:
        It says whom the model treats worse. Selection ratios below 0.8 are what the four-fifths rule of United States
        employment practice looks at; a large difference in error rates is what equalised odds forbids.
    How to read it:
        The interval holds for all pairs of groups at once, so that the largest of many chance differences is not
        taken for bias: a difference whose interval includes 0, or a ratio whose interval includes 1, may be chance.
        Where the groups' true rates differ, no model can satisfy all definitions together; choose the one your use
        asks for (see the definitions below).

    References:
        Newcombe 1998; Lancaster 1961 (mid-p); Berger 1982 (intersection-union tests); Holm 1979; 29 CFR 1607.4(D);
        Chouldechova 2017 and Kleinberg et al. 2016 (definitions that exclude each other).
    """

    version: ClassVar[int] = 2

    #: attributes crossed at most; 1: single attributes only
    depth: int = 2
    #: chance of naming any difference where there is none
    alpha: float = 0.05

    def unfit(self, subject: Subject, data: Dataset) -> str | None:
        """Skip where nobody is to be compared."""
        return None if data.groups else NO_GROUPS

    def run(self, subject: Subject, data: Dataset, rng: np.random.Generator) -> Measured:
        """See the class."""
        estimates: dict[str, Estimate] = {}
        bars, headline = list[Bar](), list[str]()
        found: dict[tuple[str, str], Decision] = {}
        for attribute, cube in cubes(subject, data, self.depth).items():
            for definition, rate in DEFINITIONS.items():
                decision = cube.test(rate, margin=0.0, alpha=self.alpha)
                found[attribute, definition] = decision._replace(groups=lower_first(decision.groups, cube, rate))
                gap = decision.disparity
                estimates[f"{definition}_difference@{attribute}"] = gap
                estimates[f"{definition}_ratio@{attribute}"] = cube.disparity(rate, "ratio", alpha=self.alpha)
                if gap.value is not None:
                    words = definition.replace("_", " ")
                    bars.append(Bar(label=words, value=gap.value, low=gap.low, high=gap.high, series=attribute))
            headline += [
                f"{definition}_difference@{attribute}" for definition in ("demographic_parity", "equal_opportunity")
            ]
        adjusted = statistics.holm([1.0 if d.p is None else d.p for d in found.values()])
        rows = tuple(
            _row(attribute, definition, decision, p, estimates)
            for ((attribute, definition), decision), p in zip(found.items(), adjusted, strict=True)
        )
        real = [row for row, p in zip(rows, adjusted, strict=True) if p <= self.alpha]
        return Measured(
            estimates=estimates,
            headline=tuple(headline),
            tables=(
                Table(
                    title="Largest difference and smallest ratio between groups",
                    columns=("attribute", "definition", "difference", "ratio", "clearest between", "p", "p, all rows"),
                    rows=rows,
                    note="Intervals hold for all pairs of groups at once; 'p, all rows' for the whole table.",
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
            notes=(
                f"{len(real)} of {len(rows)} comparisons are more than chance, with at most a {100 * self.alpha:g} % risk of "
                "naming any that is not.",
                *withheld(data),
            ),
        )


def _row(
    attribute: str, definition: str, decision: Decision, adjusted: float, estimates: dict[str, Estimate]
) -> tuple[Cell, ...]:
    pair = tuple(estimates[f"{definition}_{kind}@{attribute}"] for kind in KINDS)
    between = "" if decision.groups is None else f"{decision.groups[0]} and {decision.groups[1]}"
    if decision.p is None:
        return (attribute, definition.replace("_", " "), *pair, between, "", "")
    return (attribute, definition.replace("_", " "), *pair, between, told(decision.p), told(adjusted))
