"""A sample of a data set with its groups, few enough for a method that takes its time for each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from audit.fairness.attributes import VALUES, Levels, groups, joined

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from audit.datasets import Dataset


def drawn(
    data: Dataset, most: int, least: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], Dataset, dict[str, Levels]]:
    """At most `most` rows, and the groups that they have in the whole data set, so that their names are those of all.

    Args:
        data: all rows.
        most: rows taken.
        least: rows of the whole below which groups are joined; where more than 32 remain, smaller ones are joined as well.
        rng: draws the rows.

    Returns:
        (n,) the rows in order, the data set of these rows, and attribute -> their groups, some perhaps without a row.
    """
    everyone = most >= len(data)
    rows = np.arange(len(data)) if everyone else np.sort(rng.choice(len(data), most, replace=False))
    whole = {
        name: found if len(found.names) <= VALUES else joined(found, max(least, len(data) // VALUES))
        for name, found in groups(data, 1, least).items()
    }
    return (
        rows,
        data if everyone else data.take(rows),
        {name: Levels(found.code[rows], found.names) for name, found in whole.items()},
    )
