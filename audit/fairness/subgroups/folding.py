"""Subgroups as sets of rows, and the folding of those that say nothing beyond another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audit.fairness.subgroups.coding import Codes, Column
from audit.fairness.subgroups.counting import Losses

Floats = NDArray[np.float64]
Bits = NDArray[np.uint64]
Slice = tuple[tuple[int, int, int], ...]

#: levels that real losses are rounded to, as a power of two, and the quantile they are cut at
PLANES, CUT = 8, 0.999
#: share of a subgroup's rows that a shorter description may lose or add and still stand for it
SAME = 0.9
#: standard deviations by which the best of many parts of a subgroup exceeds the rest of it by chance
CHOICE = 3.0
#: share of a subgroup's difference that must remain outside of another, and by how much it must exceed the other's
HALF, MORE = 0.5, 0.25


@dataclass(frozen=True)
class Kept:
    """A subgroup that says something of its own: its place among those given, and how many are folded into it."""

    place: int
    folded: int


class Members:
    """Which rows belong to which slice, as bits.

    Args:
        columns: the attributes.
        slices: conjunctions of (column, first code, last code).
        losses: of the rows.
    """

    def __init__(self, columns: Sequence[Column], slices: Sequence[Slice], losses: Losses) -> None:
        self.depth = [len(one) for one in slices]
        known: dict[tuple[int, int, int], Bits] = {}
        bits = []
        for one in slices:
            for condition in one:
                if condition not in known:
                    known[condition] = _packed(_meets(columns[condition[0]].code, condition))
            mask = known[one[0]].copy()
            for condition in one[1:]:
                mask &= known[condition]
            bits.append(mask)
        self.bits = np.array(bits)
        self._n, self._mean, self._binary = losses.n, losses.mean, losses.binary
        self._variance = losses.variance
        self._planes = _planes(losses)
        self.rows, self.lost = self._sums(self.bits)

    def folded(self, order: Sequence[int], threshold: float, most: int) -> list[Kept]:
        """Go through slices from the first on; keep those that say something beyond each one kept before.

        A slice says more than another where its rows outside of the other are worse than the rows outside of both, by
        half of its own difference at least, or where the rows that they share are worse than the rest of the other's
        and it stands out by a quarter more than the other does.

        Args:
            order: places of slices, the most telling first.
            threshold: standard deviations by which rows must be worse to count.
            most: slices that are kept.
        """
        left = np.asarray(order, dtype=np.int64)
        kept: list[Kept] = []
        while len(left) and len(kept) < most:
            head = self._general(int(left[0]), left)
            more = self._says_more(head, left, threshold)
            # what stood first before a shorter description stays in line, should it say more than that
            more[left == head] = False
            kept.append(Kept(head, int((~more).sum()) - 1))
            left = left[more]
        return kept

    def _general(self, head: int, left: NDArray[np.int64]) -> int:
        """The shorter description that covers nearly the same rows and loses nothing, where there is one."""
        shorter = left[[self.depth[i] < self.depth[head] for i in left]]
        if not len(shorter):
            return head
        rows, lost = self._sums(self.bits[shorter] & self.bits[head])
        inside, _ = self._worse(rows, lost, self.rows[shorter] - rows, self.lost[shorter] - lost)
        covers = (rows >= SAME * self.rows[head]) & (inside < CHOICE)
        return int(shorter[covers][0]) if covers.any() else head

    def _says_more(self, head: int, left: NDArray[np.int64], threshold: float) -> NDArray[np.bool_]:
        rows, lost = self._sums(self.bits[left] & self.bits[head])
        own_rows, own_lost = self.rows[left] - rows, self.lost[left] - lost
        out_rows = self._n - self.rows[head] - own_rows
        out_lost = self._mean * self._n - self.lost[head] - own_lost
        beside, remains = self._worse(own_rows, own_lost, out_rows, out_lost)
        within, _ = self._worse(rows, lost, self.rows[head] - rows, self.lost[head] - lost)
        claimed = self._excess(left)
        apart = (beside > threshold) & (remains > HALF * claimed)
        sharper = (within > threshold) & (claimed > (1 + MORE) * self._excess(np.array([head])))
        return np.asarray(apart | sharper)

    def _excess(self, places: NDArray[np.int64]) -> Floats:
        """Mean loss of slices less that of all other rows."""
        rows, lost = self.rows[places], self.lost[places]
        rest = (self._mean * self._n - lost) / np.maximum(self._n - rows, 1)
        return np.asarray(lost / np.maximum(rows, 1) - rest)

    def _worse(self, rows: Floats, lost: Floats, other_rows: Floats, other_lost: Floats) -> tuple[Floats, Floats]:
        """Difference of two means, in standard deviations and as it is; 0 where one side has no rows."""
        known = (rows > 0) & (other_rows > 0)
        a, b = np.where(known, rows, 1), np.where(known, other_rows, 1)
        difference = np.where(known, lost / a - other_lost / b, 0.0)
        if self._binary:
            pooled = np.clip((lost + other_lost) / (a + b), 0, 1)
            variance = np.maximum(pooled * (1 - pooled), 1e-12)
        else:
            variance = np.full_like(a, max(self._variance, 1e-300))
        return np.asarray(difference / np.sqrt(variance * (1 / a + 1 / b))), difference

    def _sums(self, bits: Bits) -> tuple[Floats, Floats]:
        """Rows of each set, and the sum of their losses."""
        lost = sum(scale * _ones(bits & plane) for scale, plane in self._planes)
        return _ones(bits), np.asarray(lost, dtype=np.float64) + np.zeros(len(bits))


def membership(columns: Sequence[Column], slices: Sequence[Slice]) -> NDArray[np.bool_]:
    """Which rows belong to which slice, (slices, n)."""
    return np.array([np.all([_meets(columns[x[0]].code, x) for x in one], axis=0) for one in slices])


def _meets(code: Codes, condition: tuple[int, int, int]) -> NDArray[np.bool_]:
    _, first, last = condition
    return np.asarray(code == first if first == last else (code >= first) & (code <= last))


def _planes(losses: Losses) -> list[tuple[float, Bits]]:
    """Losses as weighted sets of rows: themselves where they are 0 or 1, else the binary digits of 256 levels."""
    if losses.binary:
        return [(1.0, _packed(losses.values == 1))]
    low, high = float(losses.values.min()), float(np.quantile(losses.values, CUT))
    steps = 2**PLANES - 1
    unit = max(high - low, 1e-300) / steps
    level = np.clip(np.rint((losses.values - low) / unit), 0, steps).astype(np.uint8)
    everyone = (low, _packed(np.ones(losses.n, dtype=bool)))
    return [everyone, *((unit * 2**i, _packed((level >> i & 1).astype(bool))) for i in range(PLANES))]


def _packed(mask: NDArray[np.bool_]) -> Bits:
    bits = np.packbits(mask)
    return np.pad(bits, (0, -len(bits) % 8)).view(np.uint64)


def _ones(bits: Bits) -> Floats:
    """Set bits of each row of words."""
    return np.asarray(np.bitwise_count(bits).sum(1, dtype=np.int64), dtype=np.float64)
