"""What the noise checks share: answers under several kinds of noise at several levels, on the same rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from audit import statistics
from reports.record import Cell, Estimate, Point, Table

if TYPE_CHECKING:
    from audit.datasets import Dataset, Inputs
    from audit.subject import Subject

Answers = NDArray[np.int64]


def answers(subject: Subject, inputs: Inputs) -> Answers:
    """Predicted classes, (n,)."""
    predicted: Answers = subject.predict(inputs).argmax(1).numpy()
    return predicted


def draw_seed(rng: np.random.Generator) -> int:
    """A seed for whatever takes one."""
    return int(rng.integers(2**31 - 1))


class Grid:
    """Answers under noise, held against the truth and against the answers without noise.

    Args:
        data: the sampled rows.
        clean: answers on them as they are, (n,).
        noisy: (kind, level) -> answers under noise, (n,).
    """

    def __init__(self, data: Dataset, clean: Answers, noisy: Mapping[tuple[str, float], Answers]) -> None:
        self._truth: Answers = data.labels.numpy()
        self._clean, self._noisy = clean, noisy
        self.clean_accuracy = _share(clean == self._truth)

    def estimates(self) -> dict[str, Estimate]:
        """Clean accuracy, then accuracy, its drop and the share of changed answers of each cell."""
        out = {"clean_accuracy": self.clean_accuracy}
        for (kind, level), cell in self._noisy.items():
            accuracy, drop, changed = self._cell(cell)
            slice_ = f"{kind}:{level:.4g}"
            out[f"accuracy@{slice_}"] = accuracy
            out[f"accuracy_drop@{slice_}"] = drop
            out[f"changed_answers@{slice_}"] = changed
        return out

    def table(self, title: str, level_title: str, names: Mapping[str, str]) -> Table:
        """One row a cell; `names` puts the kinds in words."""
        rows: list[tuple[Cell, ...]] = [("none", None, self.clean_accuracy, None, None)]
        rows += [(names[kind], level, *self._cell(cell)) for (kind, level), cell in self._noisy.items()]
        return Table(
            title=title,
            columns=("noise", level_title, "accuracy", "accuracy lost", "answers changed"),
            rows=tuple(rows),
            note="All rows of this table are measured on the same examples.",
        )

    def points(self, kind: str, series: str = "") -> list[Point]:
        """Accuracy over the level of one kind, from no noise on."""
        found = [(0.0, self.clean_accuracy)]
        found += [(level, self._cell(cell)[0]) for (k, level), cell in self._noisy.items() if k == kind]
        return [point(x, estimate, series) for x, estimate in found if estimate.value is not None]

    def _cell(self, cell: Answers) -> tuple[Estimate, Estimate, Estimate]:
        right, before = cell == self._truth, self._clean == self._truth
        # paired: both answers are to the same example
        drop = statistics.paired_difference(before, right)
        return _share(right), drop, _share(cell != self._clean)


def point(x: float, estimate: Estimate, series: str = "") -> Point:
    """A defined estimate on a curve."""
    assert estimate.value is not None
    return Point(x=x, y=estimate.value, low=estimate.low, high=estimate.high, series=series)


def _share(hits: NDArray[np.bool_]) -> Estimate:
    return statistics.proportion(int(hits.sum()), len(hits))
