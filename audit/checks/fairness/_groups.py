"""Group columns of a data set, shared by the fairness checks."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

import numpy as np

from audit.fairness import Cube

if TYPE_CHECKING:
    from audit.datasets import Dataset
    from audit.subject import Subject

NO_GROUPS = "no protected attribute is declared; name columns under data.protected in the plan"


def attributes(data: Dataset, depth: int) -> dict[str, Any]:
    """Each protected attribute, and their intersection where there are several and `depth` allows.

    Returns:
        Name, e.g. "sex" or "sex x race", -> what `Cube.count` takes as groups.
    """
    found: dict[str, Any] = dict(data.groups)
    if depth > 1 and len(data.groups) > 1:
        found[" x ".join(data.groups)] = dict(data.groups)
    return found


def positive_class(data: Dataset) -> int:
    """The favourable class where one is declared, else the last."""
    return len(data.classes) - 1 if data.favourable is None else data.favourable


def cubes(subject: Subject, data: Dataset, depth: int) -> dict[str, Cube]:
    """One cube an attribute, over class indices."""
    predicted = subject.scores(data).argmax(1).numpy()
    return {
        name: Cube.count(
            data.labels.numpy(), predicted, groups, classes=range(len(data.classes)), positive=positive_class(data)
        )
        for name, groups in attributes(data, depth).items()
    }


def group_name(key: Hashable) -> str:
    """A group's key in words."""
    if isinstance(key, tuple):
        return " x ".join(group_name(part) for part in key)
    return "missing" if key is None else str(key)


def group_masks(data: Dataset) -> dict[tuple[str, str], np.ndarray[Any, np.dtype[np.bool_]]]:
    """(attribute, group in words) -> rows of that group."""
    masks = {}
    for name, values in data.groups.items():
        for key in sorted({group_name(v) for v in values}):
            masks[name, key] = np.array([group_name(v) == key for v in values])
    return masks
