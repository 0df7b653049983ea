"""Calibration and ranking within protected groups."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from audit.check import Check, Effort
from audit.checks.fairness._groups import largest, withheld
from audit.checks.fairness._scores import histograms
from audit.fairness.attributes import NO_GROUPS, positive
from audit.fairness.scoring import reliability
from reports.record import Cell, Curves, Estimate, Measured, Point, Table

if TYPE_CHECKING:
    from audit.datasets import Dataset
    from audit.fairness import Scores
    from audit.subject import Subject

#: measured in each group, and compared between groups
MEASURES = ("calibration_gap", "calibration_error", "auc")
WORDS = ("gap", "calibration error", "AUC")


@dataclass(frozen=True)
class Calibration(Check):
    """Calibration by protected group.

    What it measures:
        For each group and intersection: the mean predicted probability of the favourable class minus its true share
        (the gap, or calibration in the large), the expected calibration error over bins of equally many rows, and the
        area under the ROC curve (AUC): how often a row of the favourable class is scored above one that is not. Then
        the largest difference of each between any two groups, and the reliability curve of each group: among rows with
        a like prediction, how often the favourable class is true. With more than two classes the favourable one stands
        against all others.
    Why it matters:
        Where a score of 0.7 means 70 % for one group and 50 % for another, one threshold treats them unequally, and
        whoever acts on the score is misled about one of them. Where the AUC is lower, the model tells people of that
        group apart less well, and no threshold mends that.
    How to read it:
        A positive gap says the model expects more of the group than is true. The intervals of the differences hold for
        all pairs of groups at once: one that reaches 0 may be chance. The calibration error of a small group is large
        by chance alone; where its interval reaches 0, chance explains it. Curves of well calibrated groups follow the
        diagonal; look where they part by more than their intervals.

    References:
        Chouldechova 2017; Pleiss et al. 2017 (calibration and equalised odds); Naeini et al. 2015 (calibration error);
        DeLong et al. 1988, Newcombe 2006 (intervals of the AUC); Zou and Donner 2008 (differences); Wilson 1927 (curves).
    """

    version: ClassVar[int] = 2
    efforts: ClassVar[Mapping[Effort, Mapping[str, Any]]] = {Effort.QUICK: {"shown": 15}}

    bins: int = 10
    #: groups with fewer rows get no curve, only a row in the table
    smallest: int = 100
    #: attributes crossed at most; 1: single attributes only
    depth: int = 2
    #: groups compared of one attribute, the largest first
    shown: int = 30
    #: groups listed, of all attributes together; intersections come last
    listed: int = 17
    #: curves drawn of one attribute
    drawn: int = 6

    def unfit(self, subject: Subject, data: Dataset) -> str | None:
        """Skip where nobody is to be compared."""
        return None if data.groups else NO_GROUPS

    def run(self, subject: Subject, data: Dataset, rng: np.random.Generator) -> Measured:
        """See the class."""
        estimates: dict[str, Estimate] = {}
        rows, apart, figures = list[tuple[Cell, ...]](), list[tuple[Cell, ...]](), list[Curves]()
        found, notes = histograms(subject, data, self.depth, self.shown)
        seed = int(rng.integers(2**31))
        for attribute, scores in found.items():
            of_groups = {name: scores.measure(name, seed) for name in MEASURES}
            farthest = {name: scores.disparity(name, seed=seed) for name in MEASURES}
            size = scores.rows.sum((1, 2))
            for at in largest(size, self.listed - len(rows)):
                group = scores.groups[at]
                rows.append((attribute, str(group), int(size[at]), *(of_groups[name][group] for name in MEASURES)))
                estimates |= {f"{name}@{attribute}={group}": of_groups[name][group] for name in MEASURES}
            apart.append((attribute, len(scores.groups), *farthest.values()))
            estimates |= {f"{name}_difference@{attribute}": difference for name, difference in farthest.items()}
            if attribute in data.groups and len(figures) < 2:
                figures += self._figure(attribute, scores)
        return Measured(
            estimates=estimates,
            headline=tuple(
                f"{name}_difference@{attribute}"
                for attribute in found
                if attribute in data.groups
                for name in ("calibration_gap", "auc")
            ),
            tables=(
                Table(
                    title="Largest differences between groups",
                    columns=("attribute", "groups", *WORDS),
                    rows=tuple(apart),
                    note="Intervals hold for all pairs of groups at once.",
                ),
                Table(
                    title="Calibration and ranking of each group",
                    columns=("attribute", "group", "rows", *WORDS),
                    rows=tuple(rows),
                    note="The gap is the mean predicted probability minus the true share of the favourable class. "
                    f"At most {self.listed} groups are listed; the differences are of all.",
                ),
            ),
            figures=tuple(figures),
            notes=(
                f"The favourable class is {data.classes[positive(data)]!r}"
                + (", held against all others." if len(data.classes) > 2 else "."),
                *notes,
                *withheld(data),
            ),
        )

    def _figure(self, attribute: str, scores: Scores) -> list[Curves]:
        """One reliability curve a group; none where all groups are small."""
        curves = reliability.curve(scores, self.bins)
        drawn = [scores.groups[at] for at in largest(scores.rows.sum((1, 2)), self.drawn)]
        points = [
            Point(x=round(float(x), 4), y=float(y), low=float(low), high=float(high), series=str(group))
            for group, curve in curves.items()
            if group in drawn and curve.rows.sum() >= self.smallest
            for x, y, low, high in zip(curve.score, curve.share, curve.low, curve.high, strict=True)
        ]
        if not points:
            return []
        return [
            Curves(
                title=f"Reliability by {attribute}",
                x_title="predicted probability",
                y_title="true share",
                points=tuple(points),
                diagonal=True,
                x_percent=True,
                y_percent=True,
                note=f"Each interval holds at 95 % by itself. At most {self.drawn} groups are drawn, none of fewer than "
                f"{self.smallest} rows.",
            )
        ]
