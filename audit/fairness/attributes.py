"""The groups of an audited data set: one rule for every check that compares people.

Numbers of many values are cut at their quartiles, a missing value is a group of its own, and intersections are the
combinations that occur.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from audit.fairness.counting.encoding import plain, shown
from audit.fairness.counting.suppression import hidden, lines

if TYPE_CHECKING:
    from audit.datasets import Dataset

    Floats = NDArray[np.float64]
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


def levels(values: NDArray[Any], least: int = 1, cuts: Floats | None = None) -> Levels:
    """Groups of an attribute.

    Args:
        values: (n,) as the data set has them; None or NaN where missing.
        least: rows below which groups are joined to one, "others"; what is too small even then counts nowhere.
        cuts: where numbers are cut, as `quartiles` of more rows has it; None: as `quartiles` of these has it.
    """
    missing = _missing(values)
    numbers = _numeric(values[~missing])
    cuts = quartiles(values) if cuts is None else cuts
    if cuts is not None and numbers:
        label, order = _cut(values, missing, cuts)
    else:
        known = values[~missing]
        # equal values are one group, as 1 and 1.0 are
        same: dict[Any, Any] = {}
        for _, value in dict.fromkeys((type(value), value) for value in known):
            same[value] = shown(same.get(value, plain(value)), plain(value))
        label = np.array(
            [MISSING if gone else group_name(same[v]) for v, gone in zip(values, missing, strict=True)], dtype=object
        )
        # as numbers are ordered, not as their digits are
        order = [group_name(v) for v in sorted(same.values(), key=None if numbers else str)]
    count = Counter(label)
    names = [name for name in dict.fromkeys([*order, MISSING]) if count[name]]
    place = {name: i for i, name in enumerate(names)}
    return joined(Levels(np.array([place[name] for name in label], dtype=np.int64), tuple(names)), least)


def quartiles(values: NDArray[Any]) -> Floats | None:
    """Where an attribute is cut: the quartiles of numbers of many values; None where its values are told apart."""
    known = values[~_missing(values)]
    if not _numeric(known) or len(set(known)) <= VALUES:
        return None
    number = known.astype(np.float64)
    return np.unique(np.quantile(number[np.isfinite(number)], np.linspace(0, 1, QUANTILES + 1)[1:-1]))


def cross(parts: Sequence[Levels]) -> Levels:
    """The combinations of several attributes' groups that occur, in the order of their parts."""
    counted = np.logical_and.reduce([part.code >= 0 for part in parts])
    shape = tuple(len(part.names) for part in parts)
    cells = np.ravel_multi_index([part.code[counted] for part in parts], shape)
    seen, place = np.unique(cells, return_inverse=True)
    names = [
        CROSS.join(_quoted(part.names[own]) for part, own in zip(parts, at, strict=True))
        for at in zip(*np.unravel_index(seen, shape), strict=True)
    ]
    code = np.full(len(counted), -1, dtype=np.int64)
    code[counted] = place
    return Levels(code, tuple(names))


def groups(data: Dataset, depth: int = 1, least: int = 1) -> dict[str, Levels]:
    """Each protected attribute, then every combination of at most `depth` of them: "sex", "race", "sex x race".

    Args:
        data: the data set.
        depth: attributes crossed at most.
        least: see `levels`.
    """
    return crossed(data.groups, depth, least, data.smallest_group, cuts=data.cuts)


def crossed(
    columns: Mapping[str, NDArray[Any]],
    depth: int = 1,
    least: int = 1,
    smallest: int = 0,
    part: NDArray[Any] | None = None,
    cuts: Mapping[str, Floats | None] | None = None,
) -> dict[str, Levels]:
    """See `groups`; of columns (n,) by name, none of whose cells of fewer than `smallest` rows is told.

    With `part` (n,), such as the split of each row, that holds for the cells of every part by itself. `cuts` says where
    numbers are cut; left out, as `quartiles` has it.
    """
    places = cuts or {}
    single = {
        name: _withheld([levels(values, cuts=places.get(name))], smallest, part) for name, values in columns.items()
    }
    found = dict(single)
    for size in range(2, min(depth, len(single)) + 1):
        for names in combinations(single, size):
            found[CROSS.join(names)] = _withheld([single[name] for name in names], smallest, part)
    return {name: joined(one, least) for name, one in found.items()}


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
    if all(len(found.names) < 2 for found in groups(data, least=least).values()):
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


def joined(found: Levels, least: int) -> Levels:
    """Groups of fewer than `least` rows as one, "others"; what is too small even then counts nowhere."""
    small = found.sizes() < least
    enough = found.sizes()[small].sum() >= max(least, 1)
    return _merged(found, small, OTHERS if enough else None)


def _quoted(name: str) -> str:
    """In quotes where it could be read as two groups, so that "a x b" with "c" is not "a" with "b x c"."""
    return f"'{name}'" if CROSS in name else name


def _missing(values: NDArray[Any]) -> NDArray[np.bool_]:
    return np.asarray(pd.isna(pd.Series(values, dtype=object)).to_numpy())


def _numeric(known: NDArray[Any]) -> bool:
    return all(isinstance(value, int | float | np.number) and not isinstance(value, bool) for value in known)


def _cut(values: NDArray[Any], missing: NDArray[np.bool_], cuts: Floats) -> tuple[NDArray[Any], list[str]]:
    """Numbers between the cuts; the label of each row, and all labels in order."""
    number = np.array([np.nan if gone else float(v) for v, gone in zip(values, missing, strict=True)])
    # as many digits as tell the cuts apart; 17 tell any two numbers apart
    digits = next(d for d in range(6, 18) if len({f"{cut:.{d}g}" for cut in cuts}) == len(cuts))
    ends = ["-inf", *(f"{cut:.{digits}g}" for cut in cuts), "inf"]
    names = np.array([*(f"({low}, {high}]" for low, high in pairwise(ends)), MISSING], dtype=object)
    place = np.where(missing, len(names) - 1, np.searchsorted(cuts, number, side="left"))
    return names[place], list(names[:-1])


def _withheld(parts: Sequence[Levels], smallest: int, split: NDArray[Any] | None) -> Levels:
    """The crossed parts, with those cells joined that may not be told in any split."""
    found = parts[0] if len(parts) == 1 else cross(parts)
    if smallest < 2:
        return found
    _, first = np.unique(found.code[found.code >= 0], return_index=True)
    at = np.flatnonzero(found.code >= 0)[first]
    along = lines([part.code[at] for part in parts])
    splits = [found.code >= 0] if split is None else [(found.code >= 0) & (split == one) for one in np.unique(split)]
    sizes = [np.bincount(found.code[rows], minlength=len(found.names)) for rows in splits]
    small, before = np.zeros(len(found.names), dtype=np.bool_), -1
    # what one split hides the others hide as well, which may ask them for more
    while int(small.sum()) != before:
        before = int(small.sum())
        for size in sizes:
            small = hidden(size, along, smallest, small)
    return _merged(found, small, OTHERS)


def _merged(found: Levels, small: NDArray[np.bool_], name: str | None) -> Levels:
    """Some groups become one of this name, which stands last, or count nowhere where it has none."""
    if not small.any():
        return found
    kept = [own for own, gone in zip(found.names, small, strict=True) if not gone]
    if name is not None and name not in kept:
        kept.append(name)
    place = np.where(small, -1 if name is None else kept.index(name), np.cumsum(~small) - 1)
    return Levels(np.where(found.code >= 0, place[found.code], -1), tuple(kept))
