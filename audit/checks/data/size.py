"""How many rows there are, and how many they are worth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from audit import statistics
from audit.check import Check
from audit.checks.data._rows import fingerprints, splits
from reports.record import Bar, Bars, Estimate, Measured, Table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from audit.datasets import Dataset
    from audit.subject import Subject


@dataclass(frozen=True)
class Size(Check):
    """Amount of data.

    What it measures:
        Rows, distinct rows (exact repetitions of an input count once), and effective rows: the distinct rows of a
        data set with equally many in every class that would determine a class-averaged figure, such as macro F1 or
        balanced accuracy, as precisely as these do. With d rows in each of K classes this is K squared over the sum of
        1/d (Kish's effective size when every class weighs the same). The resolution is the half-width of the 95 %
        interval of a share of 50 % measured on the effective rows. Rows per parameter compares the training data
        with the model.
    Why it matters:
        The effective rows, not the rows, say how fine a difference an audit on this data can see. A gate tighter than
        the resolution cannot be decided, however good the model is.
    How to read it:
        With a resolution of 3 points, accuracies of 85 % and 87 % are the same result. If effective rows fall far
        below rows, the smallest class or repetition is to blame: collect more of that class. A deep model with far
        fewer than one training row per parameter is usual, but then the gap between training and test accuracy
        deserves attention.

    References:
        Kish 1965 (effective sample size); Wilson 1927 (interval of a proportion).
    """

    def run(self, subject: Subject, data: Dataset, rng: np.random.Generator) -> Measured:
        """See the class."""
        estimates: dict[str, Estimate] = {}
        rows, bars = [], []
        for split, part in splits(data).items():
            per_class = distinct_per_class(part)
            total, distinct = len(part), len(np.unique(fingerprints(part.inputs)))
            estimates[f"rows@{split}"] = statistics.exact(total, total, "rows")
            estimates[f"distinct_rows@{split}"] = statistics.exact(distinct, total, "rows")
            effective = _effective(per_class)
            estimates[f"effective_rows@{split}"] = effective
            estimates[f"smallest_class@{split}"] = statistics.exact(int(per_class.min()), total, "rows")
            for name, count in zip(part.classes, per_class.tolist(), strict=True):
                bars.append(Bar(label=name, value=count, low=count, high=count, series=split))
            rows.append((split, total, distinct, effective, int(per_class.min())))
        estimates["resolution@test"] = _resolution(estimates["effective_rows@test"])
        parameters = sum(p.numel() for p in subject.model.parameters())
        if data.train is not None and parameters:
            per_parameter = statistics.exact(len(data.train) / parameters, len(data.train), "rows per parameter")
        else:
            why = "no training data was given" if parameters else "the model has no parameters"
            per_parameter = statistics.undefined(why, unit="rows per parameter")
        estimates["rows_per_parameter"] = per_parameter
        return Measured(
            estimates=estimates,
            headline=("rows@test", "effective_rows@test", "resolution@test"),
            tables=(
                Table(
                    title="Rows of each split",
                    columns=("split", "rows", "distinct rows", "effective rows", "distinct rows of the smallest class"),
                    rows=tuple(rows),
                ),
            ),
            figures=(Bars(title="Distinct rows of each class", x_title="rows", bars=tuple(bars)),),
        )


def distinct_per_class(data: Dataset) -> NDArray[np.int64]:
    """Number of different inputs in each class, (classes,)."""
    labels = data.labels.numpy()
    pairs = np.unique(np.column_stack([fingerprints(data.inputs), labels.astype(np.uint64)]), axis=0)
    return np.bincount(pairs[:, 1].astype(np.int64), minlength=len(data.classes))


def _effective(per_class: NDArray[np.int64]) -> Estimate:
    empty = int((per_class == 0).sum())
    n = int(per_class.sum())
    if empty:
        return statistics.undefined(f"{empty} of {len(per_class)} classes have no rows", n=n, unit="rows")
    return statistics.exact(
        round(len(per_class) ** 2 / float((1 / per_class).sum()), 6), n, "rows", "Kish, classes weighing the same"
    )


def _resolution(effective: Estimate) -> Estimate:
    if effective.value is None:
        return statistics.undefined(effective.reason or "undefined", n=effective.n, unit="fraction")
    n = max(1, int(effective.value))
    half = statistics.proportion(n // 2, n)
    assert half.low is not None and half.high is not None
    return statistics.exact((half.high - half.low) / 2, n, "fraction", "half-width of the Wilson interval at 50 %")
