"""The groups of an audited data set: one rule for every check that compares people.

Numbers of many values are cut at their quartiles, a missing value is a group of its own, and intersections are the
combinations that occur.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

if TYPE_CHECKING:
    from audit.datasets import Dataset

    Ints = NDArray[np.int64]

#: values of a number that are told apart; with more it is cut at this many quantiles
VALUES, QUANTILES = 32, 4
#: what joins the names of an intersection
CROSS = " x "
MISSING, OTHERS = "missing", "others"
#: why nobody can be compared
NO_GROUPS = "no protected attribute is declared; name columns under data.protected in the plan"


@dataclass(frozen=True, eq=False)
class Levels:
    """Groups of one attribute, or of several crossed.

    Attributes:
        code: (n,) the group of each row; -1 for a row that counts nowhere.
        names: what the groups are called.
    """

    code: Ints
    names: tuple[str, ...]

    @property
    def compared(self) -> range:
        """Groups held against all others; one of two says it all."""
        return range(1 if len(self.names) == 2 else len(self.names))

    def rows(self, group: int) -> NDArray[np.bool_]:
        """(n,) which rows are of a group."""
        return np.asarray(self.code == group)

    def sizes(self) -> Ints:
        """(groups,) rows of each."""
        return np.bincount(self.code[self.code >= 0], minlength=len(self.names))

    def column(self) -> pd.Categorical:
        """(n,) the groups by name, as `Cube.count` takes them; rows that count nowhere are missing."""
        return pd.Categorical.from_codes(self.code, categories=pd.Index(self.names, dtype=object))


def levels(values: NDArray[Any], least: int = 1) -> Levels:
    """Groups of an attribute.

    Args:
        values: (n,) as the data set has them; None or NaN where missing.
        least: rows below which groups are joined to one, "others"; what is too small even then counts nowhere.
    """
    missing = pd.isna(pd.Series(values, dtype=object)).to_numpy()
    known = values[~missing]
    numbers = all(isinstance(value, int | float | np.number) and not isinstance(value, bool) for value in known)
    if numbers and len(set(known)) > VALUES:
        label, order = _cut(values, missing)
    else:
        label = np.array(
            [group_name(None if gone else v) for v, gone in zip(values, missing, strict=True)], dtype=object
        )
        # as numbers are ordered, not as their digits are
        order = [group_name(v) for v in (sorted(set(known)) if numbers else sorted(set(known), key=str))]
    order = list(dict.fromkeys([*order, MISSING]))
    return _joined(label, order, least)


def cross(parts: list[Levels], least: int = 1) -> Levels:
    """The combinations of several attributes' groups that occur, in the order of their parts."""
    code, counted = np.zeros(len(parts[0].code), dtype=np.int64), np.ones(len(parts[0].code), dtype=bool)
    for part in parts:
        code = code * len(part.names) + np.maximum(part.code, 0)
        counted &= part.code >= 0
    seen, place = np.unique(code[counted], return_inverse=True)
    names = []
    for value in seen:
        at: list[str] = []
        for part in reversed(parts):
            value, own = divmod(int(value), len(part.names))
            at.append(part.names[own])
        names.append(CROSS.join(reversed(at)))
    label = np.full(len(code), None, dtype=object)
    label[counted] = np.array(names, dtype=object)[place]
    return _joined(label, list(dict.fromkeys(names)), least)


def groups(data: Dataset, depth: int = 1, least: int = 1) -> dict[str, Levels]:
    """Each protected attribute, then every combination of at most `depth` of them: "sex", "race", "sex x race".

    Args:
        data: the data set.
        depth: attributes crossed at most.
        least: see `levels`.
    """
    return crossed(data.groups, depth, least)


def crossed(columns: Mapping[str, NDArray[Any]], depth: int = 1, least: int = 1) -> dict[str, Levels]:
    """See `groups`; of columns (n,) by name."""
    single = {name: levels(values) for name, values in columns.items()}
    found = {name: levels(values, least) for name, values in columns.items()}
    for size in range(2, min(depth, len(single)) + 1):
        for names in combinations(single, size):
            found[CROSS.join(names)] = cross([single[name] for name in names], least)
    return found


def masks(data: Dataset) -> dict[tuple[str, str], NDArray[np.bool_]]:
    """(attribute, group) -> rows of that group."""
    return {
        (attribute, name): found.rows(group)
        for attribute, found in groups(data).items()
        for group, name in enumerate(found.names)
    }


def lacking(data: Dataset, least: int) -> str | None:
    """Why no protected attribute can be compared between groups; None where one can."""
    if not data.groups:
        return NO_GROUPS
    if all(len(levels(values, least).names) < 2 for values in data.groups.values()):
        return f"no protected attribute has two groups of {least} rows"
    return None


def positive(data: Dataset) -> int:
    """Index of the favourable class where one is declared, else of the last."""
    return len(data.classes) - 1 if data.favourable is None else data.favourable


def group_name(key: Hashable) -> str:
    """A group's key in words."""
    if isinstance(key, tuple):
        return CROSS.join(group_name(part) for part in key)
    return MISSING if key is None else str(key)


def _cut(values: NDArray[Any], missing: NDArray[np.bool_]) -> tuple[NDArray[Any], list[str]]:
    """Numbers between their quantiles; the label of each row, and all labels in order."""
    number = np.array([np.nan if gone else float(v) for v, gone in zip(values, missing, strict=True)])
    cuts = np.unique(np.nanquantile(number, np.linspace(0, 1, QUANTILES + 1)[1:-1]))
    ends = ["-inf", *(f"{cut:g}" for cut in cuts), "inf"]
    names = np.array([*(f"({low}, {high}]" for low, high in pairwise(ends)), MISSING], dtype=object)
    place = np.where(missing, len(names) - 1, np.searchsorted(cuts, number, side="left"))
    return names[place], list(names[:-1])


def _joined(label: NDArray[Any], order: list[str], least: int) -> Levels:
    count = Counter(label)
    kept = [name for name in order if count[name] >= max(least, 1)]
    place = {name: i for i, name in enumerate(kept)} | {None: -1}
    rest = len(kept)
    code = np.array([place.get(name, rest) for name in label], dtype=np.int64)
    if (code == rest).sum() > 0 and (code == rest).sum() >= least:
        return Levels(code, (*kept, OTHERS))
    return Levels(np.where(code == rest, -1, code), tuple(kept))
