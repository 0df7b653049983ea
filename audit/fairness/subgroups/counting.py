"""Rows and losses of every conjunction, counted tuple by tuple of attributes, and the worst of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.fairness.subgroups.coding import Codes, Column

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
#: score, attributes, and place among their conjunctions
_Place = tuple[float, tuple[int, ...], int]

#: rows coded at a time, so that they stay in the processor's cache
BLOCK = 2**16
#: cells of one table; a larger one is made of the pairs of values that have enough rows
CELLS = 2**17
#: share of the rows that a condition must turn away: one that turns away fewer says nothing
TRIM = 0.05
#: standard deviations by which each condition must make a slice worse than it is without
GAIN = 2.0
#: slices of one choice of attributes that are kept whatever the others' scores
FEW = 3


@dataclass(frozen=True)
class Found:
    """The worst conjunctions, worst first.

    Attributes:
        slices: (column, first code, last code) of each condition of each conjunction.
        score: how sure it is that the loss is higher than elsewhere, in standard normal units.
        looked: how many conjunctions had enough rows.
        floor: score that every conjunction left behind stays below, the first few of each choice of attributes apart.
    """

    slices: list[tuple[tuple[int, int, int], ...]]
    score: Floats
    looked: int
    floor: float


class Losses:
    """What the rows lost, and how its sum over a slice varies by chance.

    Args:
        values: (n,) 0/1 or real losses.
    """

    def __init__(self, values: Floats) -> None:
        self.n = len(values)
        self.values = values
        #: rows that lost anything: the only ones that sums go over
        self.at = np.flatnonzero(values)
        self.total = float(values.sum())
        self.mean = self.total / self.n
        centred = values - self.mean
        self.variance = float((centred**2).mean())
        self.third = float((centred**3).mean())
        self.binary = bool(((values == 0) | (values == 1)).all())

    def score(self, rows: Any, lost: Any) -> Floats:
        """How many standard deviations the mean loss of slices lies above chance, with the skewness taken out.

        A slice's sum is that of a draw without replacement: the mean, the variance and the third moment of that are
        exact, and its tail is that of the Pearson curve of those three, made normal by Wilson and Hilferty (1931).

        Args:
            rows: of each slice.
            lost: the sum of their losses.
        """
        n = self.n
        rows = np.asarray(rows, dtype=np.float64)
        spread = np.sqrt(self.variance * rows * (n - rows) / max(n - 1, 1))
        known = spread > 0
        unit = np.where(known, spread, 1.0)
        z = (lost - rows * self.mean) / unit
        skew = self.third * rows * (n - rows) * (n - 2 * rows) / max((n - 1) * (n - 2), 1) / unit**3
        # towards no skewness the transform is the identity, which it reaches by cancellation
        skew = np.where(np.abs(skew) < 1e-4, 1e-4, skew)
        root = np.cbrt(np.maximum(1 + skew * z / 2, 0))
        return np.asarray(np.where(known, 6 / skew * (root - 1) + skew / 6, 0.0))


def worst(columns: Sequence[Column], losses: Losses, depth: int, least: int, floor: float, most: int) -> Found:
    """Count every conjunction of at most `depth` attributes, and keep those with the highest score.

    Args:
        columns: the attributes.
        losses: of their rows.
        depth: conditions at most.
        least: rows that a slice, and what is outside of it, must have.
        floor: score that a slice must exceed.
        most: how many are kept, besides the first few of each choice of attributes: one strong effect, said in hundreds
            of ways, would else leave no place for another.
    """
    kept: list[_Place] = []
    first: list[_Place] = []
    looked = 0
    for chosen, large, at, rows, lost in _Tables(columns, losses, least).every(depth):
        looked += large
        score = losses.score(rows, lost)
        above = np.flatnonzero(score > floor)
        above = above[np.argsort(-score[above], kind="stable")][:most]
        places = [(float(score[i]), chosen, int(at[i])) for i in above]
        first += places[:FEW]
        kept += places[FEW:]
        if len(kept) > 4 * most:
            kept = sorted(kept, key=_order)[:most]
    kept = sorted(kept, key=_order)[:most]
    reached = kept[-1][0] if len(kept) == most else floor
    kept = sorted([*first, *kept], key=_order)
    slices = []
    for _, chosen, place in kept:
        index = np.unravel_index(place, [len(columns[c].conditions) for c in chosen])
        conditions = [columns[c].conditions[int(i)] for c, i in zip(chosen, index, strict=True)]
        slices.append(tuple((c, x.first, x.last) for c, x in zip(chosen, conditions, strict=True)))
    return Found(slices, np.array([score for score, *_ in kept]), looked, reached)


def _order(one: _Place) -> tuple[float, int, tuple[int, ...], int]:
    # of equal scores the shorter description stands first
    return -one[0], len(one[1]), one[1], one[2]


class _Tables:
    """Counts of the cells of some attributes, and of the conjunctions that are unions of cells."""

    def __init__(self, columns: Sequence[Column], losses: Losses, least: int) -> None:
        self._columns, self._least, self._n = columns, least, losses.n
        self._codes = [column.code for column in columns]
        self._lost_codes = [code[losses.at] for code in self._codes]
        self._variance = losses.variance
        self._weights = None if losses.binary else losses.values[losses.at]

    def every(self, depth: int) -> Iterator[tuple[tuple[int, ...], int, Ints, Floats, Floats]]:
        """Attributes, and how many of their conjunctions have enough rows.

        Then, of those in which every condition earns its place: the place among all, rows, and loss.
        """
        for size in range(1, depth + 1):
            for chosen in combinations(range(len(self._columns)), size):
                yield chosen, *self._conjunctions(chosen)

    def _conjunctions(self, chosen: tuple[int, ...]) -> tuple[int, Ints, Floats, Floats]:
        columns = [self._columns[c] for c in chosen]
        if np.prod([column.size for column in columns]) > CELLS:
            return self._sparse(chosen)
        shape = [column.size for column in columns]
        rows = self._count([self._codes[c] for c in chosen], shape, None)
        lost = self._count([self._lost_codes[c] for c in chosen], shape, self._weights)
        own_rows, own_lost = _spread(rows, columns), _spread(lost, columns)
        good = (own_rows >= self._least) & (own_rows <= self._n - self._least)
        large = int(good.sum())
        for axis in range(len(columns)) if len(columns) > 1 else ():
            others = [column for i, column in enumerate(columns) if i != axis]
            whole_rows, whole_lost = (np.expand_dims(_spread(x.sum(axis), others), axis) for x in (rows, lost))
            good &= own_rows <= (1 - TRIM) * whole_rows
            good &= self._gain(own_rows, own_lost, whole_rows, whole_lost) >= GAIN
        at = np.flatnonzero(good)
        return large, at, own_rows.ravel()[at], own_lost.ravel()[at]

    def _gain(self, rows: Floats, lost: Floats, whole_rows: Floats, whole_lost: Floats) -> Floats:
        """Standard deviations by which slices are worse than the rest of what they are without one condition."""
        inside, outside = np.maximum(rows, 1), np.maximum(whole_rows - rows, 1)
        difference = lost / inside - (whole_lost - lost) / outside
        if self._weights is None:
            rate = whole_lost / np.maximum(whole_rows, 1)
            variance = np.maximum(rate * (1 - rate), 1e-12)
        else:
            variance = np.array(max(self._variance, 1e-300))
        return np.asarray(difference / np.sqrt(variance * (1 / inside + 1 / outside)))

    def _sparse(self, chosen: tuple[int, ...]) -> tuple[int, Ints, Floats, Floats]:
        """Values crossed one attribute after the other; a combination of too few rows is dropped at once.

        Attributes of this many values are categories, whose conditions are single values; a number among them stands
        last, so that its ranges are made of whole cells.
        """
        order = sorted(chosen, key=lambda c: (_ranged(self._columns[c]), -self._columns[c].size))
        code = self._codes[order[0]].astype(np.int64)
        lost_code = self._lost_codes[order[0]].astype(np.int64)
        values = np.arange(self._columns[order[0]].size)[:, None]
        for c in order[1:-1]:
            size = self._columns[c].size
            code, lost_code = code * size + self._codes[c], lost_code * size + self._lost_codes[c]
            count = np.bincount(code, minlength=len(values) * size)
            # code 0 stands for what is dropped, as it does in every column
            alive = (count >= self._least) & (np.arange(len(count)) % size > 0) & (np.arange(len(count)) >= size)
            recode = np.zeros(len(count), dtype=np.int64)
            recode[alive] = np.arange(1, alive.sum() + 1)
            at = np.flatnonzero(alive)
            values = np.vstack(
                [np.zeros((1, values.shape[1] + 1), dtype=np.int64), np.column_stack([values[at // size], at % size])]
            )
            code, lost_code = recode[code], recode[lost_code]
        last = self._columns[order[-1]]
        shape = [len(values), last.size]
        rows = _spread_axis(self._count([code, self._codes[order[-1]]], shape, None)[1:], last, 1)
        lost = _spread_axis(self._count([lost_code, self._lost_codes[order[-1]]], shape, self._weights)[1:], last, 1)
        good = (rows >= self._least) & (rows <= self._n - self._least)
        one, other = np.nonzero(good)
        return len(one), self._places(chosen, order, values[1:][one], other), rows[good], lost[good]

    def _places(self, chosen: tuple[int, ...], order: list[int], values: Ints, other: Ints) -> Ints:
        """Where conjunctions stand among all of their attributes', from the codes of those crossed first."""
        index = {c: values[:, i] - 1 for i, c in enumerate(order[:-1])} | {order[-1]: other}
        return np.asarray(
            np.ravel_multi_index([index[c] for c in chosen], [len(self._columns[c].conditions) for c in chosen])
        )

    def _count(self, codes: Sequence[Codes | Ints], shape: Sequence[int], weights: Floats | None) -> Floats:
        cells = int(np.prod(shape))
        out = np.zeros(cells)
        for start in range(0, len(codes[0]), BLOCK):
            block = slice(start, start + BLOCK)
            joint = codes[0][block].astype(np.intp)
            for code, size in zip(codes[1:], shape[1:], strict=True):
                joint *= size
                joint += code[block]
            out += np.bincount(joint, None if weights is None else weights[block], cells)
        return out.reshape(shape)


def _ranged(column: Column) -> bool:
    return any(condition.first < condition.last for condition in column.conditions)


def _spread(table: Floats, columns: Sequence[Column]) -> Floats:
    """From counts of codes to counts of conditions, on every axis."""
    for axis, column in enumerate(columns):
        table = _spread_axis(table, column, axis)
    return table


def _spread_axis(table: Floats, column: Column, axis: int) -> Floats:
    first = [condition.first for condition in column.conditions]
    last = [condition.last for condition in column.conditions]
    if first == last:
        return np.asarray(np.take(table, first, axis))
    sums = np.cumsum(table, axis)
    # code 0 belongs to no condition, so that there is always one before the first
    return np.asarray(np.take(sums, last, axis) - np.take(sums, [code - 1 for code in first], axis))
