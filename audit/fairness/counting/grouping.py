"""Group keys: what a caller may give as groups, the levels of each attribute, and the order of their combinations."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from audit.errors import DataError
from audit.fairness.counting.encoding import Codes, Column, column, distinct, plain, shown, sort_keys

#: combinations of declared categories that are shown although they have no rows
MOST_DECLARED = 10_000
#: a column with more than this share of distinct values, in at least so many rows, identifies people
IDENTIFYING, FEWEST_ROWS = 0.9, 20
#: codes of joined columns stay below this before they are numbered anew
WIDE = 1 << 20


def attributes(groups: Any) -> tuple[tuple[str, ...], list[Column]]:
    """The columns that groups are made of, and their names; no names where keys are single values.

    Raises:
        DataError: a column has more than one dimension.
    """
    if isinstance(groups, Mapping | pd.DataFrame):
        found = {str(name): groups[name] for name in groups}
    elif isinstance(groups, pa.Table | pa.RecordBatch):
        found = dict(zip(groups.schema.names, groups.columns, strict=True))
    else:
        return (), [column(groups, "groups")]
    return tuple(found), [column(values, name) for name, values in found.items()]


class Levels:
    """The values of one attribute, each with the number it got when it was first seen."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.values: list[Hashable] = []
        self._declared: list[int] = []
        self._number: dict[Hashable, int] = {}

    @property
    def declared(self) -> tuple[Hashable, ...]:
        """The declared categories, in order."""
        return tuple(self.values[i] for i in self._declared)

    def numbers(self, values: Iterable[Hashable]) -> Codes:
        """The number of each value; equal values are one level whatever their type, as True and 1 are."""
        return np.fromiter(map(self._numbered, values), dtype=np.int64)

    def declare(self, values: Iterable[Hashable]) -> None:
        """Note categories that are levels even without rows, in their order."""
        self._declared = list(dict.fromkeys([*self._declared, *map(self._numbered, map(plain, values))]))

    def order(self) -> Codes:
        """(levels,) the place of each level: declared ones as declared, then others by type and value, None last."""
        declared = set(self._declared)
        others = sort_keys(v for i, v in enumerate(self.values) if i not in declared)
        place = np.empty(len(self.values), dtype=np.int64)
        place[[*self._declared, *map(self._numbered, others)]] = np.arange(len(place))
        return place

    def _numbered(self, value: Hashable) -> int:
        number = self._number.get(value)
        if number is None:
            number = self._number[value] = len(self.values)
            self.values.append(value)
        else:
            self.values[number] = shown(self.values[number], value)
        return number


def join(columns: Sequence[tuple[Codes, int]]) -> tuple[Codes, NDArray[np.int64]]:
    """One code for several columns.

    Args:
        columns: codes (n,) of each, and how many codes it may have.

    Returns:
        (n,) codes, each of which occurs; (columns, codes) what each stands for.
    """
    code = np.zeros(len(columns[0][0]), dtype=np.int64)
    stands = np.zeros((0, 1), dtype=np.int64)
    size = 1
    for more, levels in columns:
        code = code * levels + more
        size *= levels
        if size > WIDE:
            code, found = distinct(code)
            size = len(found)
        else:
            found = np.arange(size)
        before, last = np.divmod(found, levels)
        stands = np.concatenate([stands[:, before], last[None]])
    seen = np.bincount(code, minlength=size) > 0
    return (np.cumsum(seen) - 1)[code], stands[:, seen]


def arrange(levels: Sequence[Levels], numbers: NDArray[np.int64], single: bool) -> tuple[tuple[Hashable, ...], Codes]:
    """Group keys in order, and each cell's place among them.

    Every combination of declared categories appears with every combination of the other attributes that occurs.

    Args:
        levels: of each attribute.
        numbers: (attributes, m) level numbers of m cells.
        single: keys are values, not tuples.
    """
    orders = [level.order() for level in levels]
    places = np.stack([order[row] for order, row in zip(orders, numbers, strict=True)])
    m = places.shape[1]
    every = np.concatenate([places, _declared(levels, places)], axis=1)
    code, stands = join([(row, len(order)) for row, order in zip(every, orders, strict=True)])
    sequence = np.lexsort(stands[::-1])
    rank = np.empty(len(sequence), dtype=np.int64)
    rank[sequence] = np.arange(len(sequence))
    named = []
    for level, order, row in zip(levels, orders, stands[:, sequence], strict=True):
        values = np.empty(len(order), dtype=object)
        for value, place in zip(level.values, order, strict=True):
            values[place] = value
        named.append(values[row])
    return (tuple(named[0]) if single else tuple(zip(*named, strict=True))), rank[code[:m]]


def _declared(levels: Sequence[Levels], places: NDArray[np.int64]) -> NDArray[np.int64]:
    """(attributes, combinations) places of the declared categories, crossed with what occurs of the rest."""
    fixed = [i for i, level in enumerate(levels) if level.declared]
    free = [i for i, level in enumerate(levels) if not level.declared]
    nothing = places[:, :0]
    if not fixed:
        return nothing
    occurring = np.unique(places[free], axis=1) if free else np.zeros((0, 1), dtype=np.int64)
    sizes = [len(levels[i].declared) for i in fixed]
    if len(levels) > 1 and float(np.prod(sizes, dtype=float)) * occurring.shape[1] > MOST_DECLARED:
        return nothing
    product = np.array(list(itertools.product(*map(range, sizes))), dtype=np.int64).T
    out = np.empty((len(levels), product.shape[1] * occurring.shape[1]), dtype=np.int64)
    out[fixed] = np.repeat(product, occurring.shape[1], axis=1)
    out[free] = np.tile(occurring, product.shape[1])
    return out


def group_codes(groups: Any, n: int) -> tuple[tuple[Hashable, ...], Codes]:
    """Group keys and each row's position among them.

    Raises:
        DataError: a column is not one value a row.
    """
    names, columns = attributes(groups)
    if not columns:
        raise DataError("Expected at least one group column, found none.")
    levels, parts = [], list[tuple[Codes, int]]()
    for found in columns:
        refuse_length(found, n)
        level = Levels(found.name)
        level.declare(found.declared or ())
        code, values = found.block(0, n)
        numbers = level.numbers(values)
        levels.append(level)
        parts.append((numbers[code], len(level.values)))
    cell, stands = join(parts)
    keys, place = arrange(levels, stands, single=not names)
    return keys, place[cell]


def refuse_length(found: Column, n: int, what: str = "group value") -> None:
    """Refuse a column of another length than the labels.

    Raises:
        DataError: it is one.
    """
    if len(found) != n:
        raise DataError(f"Expected one {what} a row in {found.name!r}: {n}, found {len(found)}.")


def refuse_identifier(level: Levels, seen: int, rows: int) -> None:
    """Refuse a column in which nearly every row has a value of its own.

    Raises:
        DataError: it is one.
    """
    if rows >= FEWEST_ROWS and seen > IDENTIFYING * rows:
        raise DataError(
            f"Expected groups of several rows in {level.name!r}, found {seen:,} values in {rows:,} rows, which looks like "
            "an identifier; try a column that people share, or cut numbers into ranges."
        )
