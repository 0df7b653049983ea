"""Calibration within protected groups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from audit import statistics
from audit.check import Check
from audit.fairness.attributes import NO_GROUPS, masks, positive
from reports.record import Cell, Curves, Measured, Point, Table

if TYPE_CHECKING:
    from audit.datasets import Dataset
    from audit.subject import Subject


@dataclass(frozen=True)
class Calibration(Check):
    """Calibration by protected group.

    What it measures:
        For each group: the mean predicted probability of the favourable class minus its true share (calibration in
        the large), and the reliability curve: among rows with a like prediction, how often the favourable class is
        true.
    Why it matters:
        Where a score of 0.7 means 70 % for one group and 50 % for another, one threshold treats them unequally, and
        whoever acts on the score is misled about one of them.
    How to read it:
        A positive gap says the model expects more of the group than is true. Curves of well calibrated groups follow
        the diagonal; look where they part by more than their intervals.

    References:
        Chouldechova 2017; Pleiss et al. 2017 (calibration and equalised odds); Wilson 1927 (intervals).
    """

    bins: int = 10
    #: groups with fewer rows get no curve, only a row in the table
    smallest: int = 100

    def unfit(self, subject: Subject, data: Dataset) -> str | None:
        """Skip where nobody is to be compared."""
        return None if data.groups else NO_GROUPS

    def run(self, subject: Subject, data: Dataset, rng: np.random.Generator) -> Measured:
        """See the class."""
        at = positive(data)
        probability = subject.scores(data).double().softmax(1)[:, at].numpy()
        true = data.labels.numpy() == at
        estimates, rows = {}, list[tuple[Cell, ...]]()
        points: dict[str, list[Point]] = {name: [] for name in data.groups}
        for (attribute, group), mask in masks(data).items():
            gap = statistics.mean(probability[mask] - true[mask], unit="fraction")
            estimates[f"calibration_gap@{attribute}={group}"] = gap
            rows.append((attribute, group, int(mask.sum()), gap))
            if mask.sum() >= self.smallest:
                points[attribute] += self._curve(probability[mask], true[mask], group)
        widest = max(
            (name for name, e in estimates.items() if e.value is not None),
            key=lambda name: abs(estimates[name].value or 0.0),
            default=None,
        )
        return Measured(
            estimates=estimates,
            headline=() if widest is None else (widest,),
            tables=(
                Table(
                    title="Predicted minus true share of the favourable class",
                    columns=("attribute", "group", "rows", "gap"),
                    rows=tuple(rows),
                ),
            ),
            figures=tuple(
                Curves(
                    title=f"Reliability by {attribute}",
                    x_title="predicted probability",
                    y_title="true share",
                    points=tuple(part),
                    diagonal=True,
                    x_percent=True,
                    y_percent=True,
                    note=f"Groups of fewer than {self.smallest} rows have no curve.",
                )
                for attribute, part in points.items()
                if part
            ),
            notes=(f"The favourable class is {data.classes[at]!r}.",),
        )

    def _curve(self, probability: np.ndarray[Any, Any], true: np.ndarray[Any, Any], group: str) -> list[Point]:
        """Bins of equal numbers of rows, so that every point rests on as many."""
        order = np.argsort(probability, kind="stable")
        out = []
        for part in np.array_split(order, min(self.bins, len(order) // 10 or 1)):
            share = statistics.proportion(int(true[part].sum()), len(part))
            if share.value is not None:
                out.append(
                    Point(
                        x=float(probability[part].mean()), y=share.value, low=share.low, high=share.high, series=group
                    )
                )
        return out
