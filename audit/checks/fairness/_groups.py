"""Counts by group of a data set, shared by the fairness checks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from audit.fairness import Cube
from audit.fairness.attributes import groups, positive

if TYPE_CHECKING:
    from audit.datasets import Dataset
    from audit.subject import Subject


def cubes(subject: Subject, data: Dataset, depth: int) -> dict[str, Cube]:
    """One cube an attribute and a combination of attributes, over class indices; see `attributes.groups`."""
    predicted = subject.scores(data).argmax(1).numpy()
    return {
        name: Cube.count(
            data.labels.numpy(), predicted, found.column(), classes=range(len(data.classes)), positive=positive(data)
        )
        for name, found in groups(data, depth).items()
    }
