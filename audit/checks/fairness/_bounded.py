"""Groups of every attribute, few enough for a method that takes its time for each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from audit.fairness.attributes import VALUES, Levels, groups, levels

if TYPE_CHECKING:
    from audit.datasets import Dataset


def bounded(data: Dataset, least: int) -> dict[str, Levels]:
    """The groups of each protected attribute; where more than 32 have `least` rows, smaller ones are joined as well."""
    return {
        name: found if len(found.names) <= VALUES else levels(data.groups[name], max(least, len(data) // VALUES))
        for name, found in groups(data, 1, least).items()
    }
