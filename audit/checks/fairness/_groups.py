"""Counts by group of a data set, shared by the fairness checks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

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


def largest(size: NDArray[np.int64], most: int) -> list[int]:
    """At most so many groups, those of most rows, in their order; `size` has the rows of each."""
    return sorted(np.argsort(-size, kind="stable")[: max(most, 0)].tolist())


def withheld(data: Dataset) -> tuple[str, ...]:
    """What is said of groups that may not be told; nothing where all may."""
    if data.smallest_group < 2:
        return ()
    return (
        f"Groups and intersections of fewer than {data.smallest_group} rows, and the smallest others where one could be "
        "worked out from totals, are joined to 'others', so that nobody is found again.",
    )


def percent(share: float) -> str:
    """A share in a table, beside others that carry intervals."""
    return f"{100 * share:.1f} %"


def told(p: float) -> float | str:
    """A p-value in a table; below a millionth no approximation is to be trusted."""
    return "< 0.000001" if p < 1e-6 else float(f"{p:.2g}")
