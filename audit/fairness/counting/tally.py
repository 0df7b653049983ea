"""Counting rows block by block: what is kept grows with the distinct cells, never with the rows."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from audit.errors import DataError, nearest
from audit.fairness.counting.classes import Classes
from audit.fairness.counting.columns import HEAVIEST
from audit.fairness.counting.encoding import Column, Encoded
from audit.fairness.counting.grouping import Levels, arrange, join, refuse_identifier, refuse_length
from audit.fairness.counting.moments import moments

#: rows at a time; the working memory of a block is about 100 bytes a row
BLOCK = 1 << 19
#: cells kept before they are added up
COMPACT = 1 << 21
#: cells of a cube: one gibibyte of numbers
MOST_CELLS = 1 << 27


class Cells(NamedTuple):
    """Rows added up by cell.

    Attributes:
        numbers: (columns, m) what each cell stands for: the cluster where there are any, the attributes, the true and
            the predicted class.
        sums: (3, m) weights, squared weights, rows.
    """

    numbers: NDArray[np.int64]
    sums: NDArray[np.float64]


class Totals(NamedTuple):
    """What a cube is made of, see `Cube`."""

    groups: tuple[Hashable, ...]
    classes: tuple[Any, ...]
    counts: NDArray[np.float64]
    squares: NDArray[np.float64]
    rows: NDArray[np.int64]
    declared: tuple[tuple[Hashable, ...], ...]
    moments: NDArray[np.float64] | None = None
    clusters: NDArray[np.int64] | None = None
    crossing: int | None = None


class Tally:
    """Adds rows, a batch at a time."""

    def __init__(
        self, names: Sequence[str], single: bool, classes: Sequence[Any] | None, clustered: bool, block: int = BLOCK
    ) -> None:
        if not names:
            raise DataError("Expected at least one group column, found none.")
        self._levels = [Levels(name) for name in names]
        self._clusters = [Levels("clusters")] if clustered else []
        self._classes = Classes(classes)
        self._single, self._block = single, block
        self._cells: list[Cells] = []
        self._kept = self.rows = 0

    def declare(self, name: str, categories: Sequence[Hashable]) -> None:
        """Categories of an attribute that appear even without rows.

        Raises:
            DataError: there is no such attribute.
        """
        names = [level.name for level in self._levels]
        if name not in names:
            raise DataError(f"Expected declared to name group columns, found {name!r}{nearest(name, names)}")
        self._levels[names.index(name)].declare(categories)

    def add(
        self,
        true: Column,
        predicted: Column,
        groups: Sequence[Column],
        weights: Any = None,
        clusters: Column | None = None,
    ) -> None:
        """Count rows.

        Raises:
            DataError: lengths differ, or a label, prediction or weight is out of its range; the message names it.
        """
        n = len(true)
        if len(predicted) != n:
            raise DataError(f"Expected y_true and y_pred of one length, found {n} and {len(predicted)}.")
        keys = [*([] if clusters is None else [clusters]), *groups]
        for found in keys:
            refuse_length(found, n, "cluster" if found is clusters else "group value")
        for level, found in zip(self._levels, groups, strict=True):
            if found.declared is not None:
                level.declare(found.declared)
        w = None if weights is None else _weights(weights, n, self.rows)

        def count(start: int) -> tuple[list[Encoded], Cells]:
            stop = min(start + self._block, n)
            encoded = [c.block(start, stop) for c in (*keys, true, predicted)]
            for part, labels in zip(encoded[-2:], (true, predicted), strict=True):
                self._classes.check(part, labels.name, self.rows + start)
            code, numbers = join([(part.code, len(part.values)) for part in encoded])
            return encoded, _sums(code, numbers, None if w is None else w[start:stop])

        for encoded, cells in _threaded(count, range(0, n, self._block)):
            self._keep(encoded, cells)
        self.rows += n

    def totals(self) -> Totals:
        """Everything that was added.

        Raises:
            DataError: there were no rows, all weights are 0, a group column is an identifier, or there are too many cells.
        """
        if not self.rows:
            raise DataError("Expected at least one row, found none.")
        cells = self._compacted()
        if cells.sums[0].max() < 1 / HEAVIEST:
            raise DataError(
                f"Expected weights that are not all 0, found {self.rows} with a sum of {cells.sums[0].sum():g}."
            )
        first = len(self._clusters)
        for level, row in zip(self._levels, cells.numbers[first:-2], strict=True):
            refuse_identifier(level, len(np.unique(row)), self.rows)
        if any(None in level.values for level in self._clusters):
            raise DataError("Expected a cluster in every row, found a missing one; try dropping such rows.")
        place = self._classes.order()
        classes = self._classes.values()
        k = len(classes)
        groups, g = arrange(self._levels, cells.numbers[first:-2], self._single)
        if len(groups) * k * k > MOST_CELLS:
            raise DataError(
                f"Expected at most {MOST_CELLS:,} cells, found {len(groups):,} groups x {k:,} x {k:,} classes; "
                "try fewer groups, or the classes one against the rest."
            )
        t, p = place[cells.numbers[-2]], place[cells.numbers[-1]]
        cell = t * k + p
        at = g * (k * k) + cell
        shape = (len(groups), k, k)
        counts, squares, rows = (
            np.bincount(at, s, len(groups) * k * k).astype(np.float64).reshape(shape) for s in cells.sums
        )
        found = Totals(
            groups=groups,
            classes=classes,
            counts=counts,
            squares=squares,
            rows=np.rint(rows).astype(np.int64),
            declared=tuple(level.declared for level in self._levels),
        )
        if not self._clusters:
            return found
        return found._replace(**moments(cells.numbers[0], g, cell, cells.sums[0], len(groups), k * k)._asdict())

    def _keep(self, encoded: list[Encoded], cells: Cells) -> None:
        registers: list[Levels | Classes] = [*self._clusters, *self._levels, self._classes, self._classes]
        numbers = np.empty_like(cells.numbers)
        for i, (register, part) in enumerate(zip(registers, encoded, strict=True)):
            # only values that occur become levels
            found, back = np.unique(cells.numbers[i], return_inverse=True)
            numbers[i] = register.numbers([part.values[j] for j in found])[back]
        self._cells.append(Cells(numbers, cells.sums))
        self._kept += cells.sums.shape[1]
        if self._kept > COMPACT:
            self._cells = [self._compacted()]
            # growing by half again keeps the work linear where cells are many
            self._kept = min(COMPACT, self._cells[0].sums.shape[1]) // 2

    def _compacted(self) -> Cells:
        numbers = np.concatenate([cells.numbers for cells in self._cells], axis=1)
        sums = np.concatenate([cells.sums for cells in self._cells], axis=1)
        code, stands = join([(row, int(row.max()) + 1) for row in numbers])
        return Cells(stands, np.stack([np.bincount(code, s, stands.shape[1]) for s in sums]))


def _sums(code: NDArray[np.int64], numbers: NDArray[np.int64], weights: NDArray[np.float64] | None) -> Cells:
    m = numbers.shape[1]
    rows = np.bincount(code, minlength=m).astype(np.float64)
    if weights is None:
        return Cells(numbers, np.stack([rows, rows, rows]))
    return Cells(numbers, np.stack([np.bincount(code, weights, m), np.bincount(code, weights**2, m), rows]))


def _threaded(
    work: Callable[[int], tuple[list[Encoded], Cells]], starts: range
) -> Iterator[tuple[list[Encoded], Cells]]:
    """In order, two at a time: hashing numbers and arrow text releases the interpreter."""
    if len(starts) < 2:
        yield from map(work, starts)
        return
    with ThreadPoolExecutor(2) as pool:
        yield from pool.map(work, starts)


def _weights(weights: Any, n: int, start: int) -> NDArray[np.float64]:
    try:
        w = np.asarray(weights, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"Expected weights: {n} finite numbers >= 0, found {error}.") from error
    if w.shape != (n,):
        raise DataError(f"Expected weights: {n} finite numbers >= 0, found an array of shape {w.shape}.")
    if n and not (w.min() >= 0 and w.max() < HEAVIEST):
        row = int(np.flatnonzero(~((w >= 0) & (w < HEAVIEST)))[0])
        raise DataError(
            f"Expected weights: {n} finite numbers from 0 to {HEAVIEST:g}, found {w[row]:g} in row {start + row}."
        )
    return w
