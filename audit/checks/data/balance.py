"""How evenly the classes are filled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from audit import statistics
from audit.check import Check, Effort
from audit.checks.data._rows import splits
from reports.record import Bar, Bars, Cell, Estimate, Measured, Table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from audit.datasets import Dataset
    from audit.subject import Subject


@dataclass(frozen=True)
class Balance(Check):
    """Class balance.

    What it measures:
        The share of each class, the imbalance ratio (rows of the commonest class for one row of the rarest), and the
        entropy of the class shares divided by its largest possible value: 1 where all classes are equally common,
        0 where there is only one.
    Why it matters:
        A model can reach high accuracy on unbalanced data by neglecting rare classes, and figures about a rare class
        are imprecise. A metric that ignores balance, such as accuracy, must be read against the commonest class.
    How to read it:
        A ratio up to about 3 rarely matters; from about 10, read macro F1 and the recall of each class before the
        accuracy, and consider weighting or resampling in training. The test data should be as unbalanced as use is.

    References:
        Wilson 1927 (shares); Efron 1979 (bootstrap of ratio and entropy); Shannon 1948 (entropy).
    """

    resamples: int = 1000

    efforts: ClassVar[Mapping[Effort, Mapping[str, Any]]] = {Effort.QUICK: {"resamples": 300}}

    def run(self, subject: Subject, data: Dataset, rng: np.random.Generator) -> Measured:
        """See the class."""
        estimates: dict[str, Estimate] = {}
        shares: dict[str, list[Estimate]] = {}
        for split, part in splits(data).items():
            labels = part.labels.numpy()
            counts = np.bincount(labels, minlength=len(part.classes))
            shares[split] = [statistics.proportion(int(c), len(labels)) for c in counts]
            estimates[f"imbalance_ratio@{split}"] = _ratio(counts, labels, rng, self.resamples)
            estimates[f"normalised_entropy@{split}"] = _evenness(counts, labels, rng, self.resamples)
        for name, share in zip(data.classes, shares["test"], strict=True):
            estimates[f"share@class={name}"] = share
        rows: list[tuple[Cell, ...]] = []
        for index, name in enumerate(data.classes):
            rows.append((name, *(of_split[index] for of_split in shares.values())))
        return Measured(
            estimates=estimates,
            headline=("imbalance_ratio@test", "normalised_entropy@test"),
            tables=(Table(title="Share of each class", columns=("class", *shares), rows=tuple(rows)),),
            figures=(
                Bars(
                    title="Share of each class",
                    x_title="share of rows",
                    bars=tuple(
                        Bar(label=name, value=share.value, low=share.low, high=share.high, series=split)
                        for split, of_split in shares.items()
                        for name, share in zip(data.classes, of_split, strict=True)
                        if share.value is not None
                    ),
                    reference=1 / len(data.classes),
                    percent=True,
                    note="The line is an equal share for every class.",
                ),
            ),
        )


def _ratio(counts: NDArray[np.int64], labels: NDArray[np.int64], rng: np.random.Generator, resamples: int) -> Estimate:
    empty = int((counts == 0).sum())
    if empty:
        return statistics.undefined(f"{empty} of {len(counts)} classes have no rows", n=len(labels))

    def ratio(drawn: NDArray[np.int64]) -> float:
        found = np.bincount(drawn, minlength=len(counts))
        return float(found.max() / found.min()) if found.min() else float("nan")

    return statistics.bootstrap(ratio, labels, rng=rng, replicates=resamples)


def _evenness(
    counts: NDArray[np.int64], labels: NDArray[np.int64], rng: np.random.Generator, resamples: int
) -> Estimate:
    if len(counts) < 2:
        return statistics.undefined("needs at least 2 classes, found 1", n=len(labels))

    def evenness(drawn: NDArray[np.int64]) -> float:
        share = np.bincount(drawn, minlength=len(counts)) / len(drawn)
        present = share[share > 0]
        # abs: a single class gives -0.0
        return abs(float(-(present * np.log(present)).sum() / np.log(len(counts))))

    return statistics.bootstrap(evenness, labels, rng=rng, replicates=resamples)
