"""Bounds against enumeration: every way in which the unknown rows could be spread over the groups."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from audit.errors import DataError
from audit.fairness import Cube, extremes
from audit.fairness.bounds import imbens_manski, inferred, known, shared, unknown


def cube(cells: dict[str | None, tuple[int, int]], weight: float = 1.0) -> Cube:
    """Group -> rows that are selected and rows that are not."""
    group = [g for g, (y, n) in cells.items() for _ in range(y + n)]
    answer = [a for y, n in cells.values() for a in [1] * y + [0] * n]
    groups = pd.Series(group, dtype=object)
    return Cube.count(answer, answer, groups, classes=[0, 1], weights=np.full(len(answer), weight))


def spreads(number: int, parts: int) -> Iterator[tuple[int, ...]]:
    """Every way to put `number` rows into `parts` groups."""
    if parts == 1:
        yield (number,)
        return
    for first in range(number + 1):
        for rest in spreads(number - first, parts - 1):
            yield first, *rest


def every(cells: dict[str | None, tuple[int, int]]) -> np.ndarray:
    """(ways, groups) the rates in every way to spread the missing rows."""
    own = np.array([v for g, v in cells.items() if g is not None])
    hits, misses = cells[None]
    return np.array(
        [
            [(y + a) / (y + n + a + b) for (y, n), a, b in zip(own, more, fewer, strict=True)]
            for more in spreads(hits, len(own))
            for fewer in spreads(misses, len(own))
        ]
    )


@pytest.mark.parametrize(
    "cells",
    [
        {"a": (3, 5), "b": (6, 2), None: (2, 3)},
        {"a": (1, 9), "b": (9, 1), "c": (4, 4), None: (3, 2)},
        {"a": (0, 4), "b": (5, 0), "c": (2, 2), None: (0, 3)},
        {"a": (2, 2), "b": (3, 3), None: (4, 0)},
        {"a": (1, 9), "b": (2, 8), "c": (8, 2), "d": (9, 1), None: (2, 2)},
    ],
)
def test_bounds_are_sharp_by_enumeration(cells):
    found, ways = unknown(cube(cells), "selection_rate"), every(cells)
    for at, group in enumerate(g for g in cells if g is not None):
        rate = found.rate(group)
        assert rate.least.value == pytest.approx(ways[:, at].min())
        assert rate.most.value == pytest.approx(ways[:, at].max())
    gap = ways.max(1) - ways.min(1)
    difference = found.disparity()
    assert difference.most.value == pytest.approx(gap.max())
    # whole rows cannot be cut, so enumeration reaches the smallest disparity from above only
    assert difference.least.value <= gap.min() + 1e-12
    with np.errstate(invalid="ignore"):
        ratio = ways.min(1) / ways.max(1)
    assert found.disparity("ratio").least.value == pytest.approx(ratio.min())
    assert found.disparity("ratio").most.value >= ratio.max() - 1e-12


@pytest.mark.parametrize(
    "cells", [{"a": (2, 9), "b": (9, 2), None: (2, 1)}, {"a": (1, 5), "b": (2, 5), "c": (6, 1), None: (1, 1)}]
)
def test_the_smallest_disparity_is_reached_where_rows_can_be_cut(cells):
    found = unknown(cube(cells), "selection_rate").disparity()
    times = 9
    ways = every({g: (y * times, n * times) for g, (y, n) in cells.items()})
    gap = (ways.max(1) - ways.min(1)).min()
    assert found.least.value <= gap + 1e-12
    assert found.least.value == pytest.approx(gap, abs=0.01)
    assert found.least.value > 0.01


def test_nothing_missing_leaves_the_points():
    cells = {"a": (30, 50), "b": (60, 20), "c": (5, 5)}
    declared = Cube.count(
        *([[1] * 30 + [0] * 50 + [1] * 60 + [0] * 20 + [1] * 5 + [0] * 5] * 2),
        pd.Categorical(["a"] * 80 + ["b"] * 80 + ["c"] * 10, categories=["a", "b", "c", "missing"]),
    )
    found = unknown(declared, "selection_rate", "missing").disparity()
    plain = cube(cells).disparity("selection_rate")
    assert found.least.value == pytest.approx(plain.value) == found.most.value
    # simultaneous limits by another method
    assert (found.least.low, found.most.high) == pytest.approx((plain.low, plain.high), abs=0.02)


def allocations(cells: list[tuple[int, int, int]], room: list[list[int]]) -> Iterator[np.ndarray]:
    """Every (groups, 3) total of hits, misses and outside that the cells' rooms allow."""

    def one(cell: tuple[int, int, int], own: list[int]) -> list[np.ndarray]:
        if len(own) == 1:
            return [np.array([cell])]
        out = []
        for take in itertools.product(*(range(part + 1) for part in cell)):
            if sum(take) == own[0]:
                left = tuple(c - t for c, t in zip(cell, take, strict=True))
                out += [np.vstack([[take], rest]) for rest in one(left, own[1:])]
        return out

    for parts in itertools.product(*(one(c, r) for c, r in zip(cells, room, strict=True))):
        yield sum(parts)


@pytest.mark.parametrize(
    ("cells", "room"),
    [
        ([(3, 2, 0), (1, 4, 0)], [[2, 3], [3, 2]]),
        ([(3, 2, 0), (1, 4, 0)], [[2, 2, 1], [1, 2, 2]]),
        ([(2, 2, 3), (3, 1, 1)], [[4, 3], [2, 3]]),
        ([(2, 2, 2), (3, 1, 1)], [[3, 2, 1], [2, 2, 1]]),
    ],
)
def test_inferred_groups_are_bounded_sharply(cells, room):
    k, o, r = np.array(cells).T
    share = np.array(room) / (k + o + r)[:, None]
    found = inferred(k, o, r, share, list(range(share.shape[1])))
    rates = np.array([way[:, 0] / np.where(ok := way[:, :2].sum(1), ok, np.nan) for way in allocations(cells, room)])
    for at in range(share.shape[1]):
        if not found.defined[at]:
            continue
        assert found.low[at] == pytest.approx(np.nanmin(rates[:, at]))
        assert found.high[at] == pytest.approx(np.nanmax(rates[:, at]))
    gap = np.nanmax(rates, 1) - np.nanmin(rates, 1)
    assert found.disparity().most.value == pytest.approx(np.nanmax(gap))
    assert found.disparity().least.value <= np.nanmin(gap) + 1e-9
    with np.errstate(invalid="ignore"):
        ratio = np.nanmin(rates, 1) / np.nanmax(rates, 1)
    assert found.disparity("ratio").most.value >= np.nanmax(ratio) - 1e-9


def test_certain_membership_is_counting_and_useless_proxies_say_little():
    hits, misses = np.array([30.0, 10.0]), np.array([20.0, 40.0])
    certain = inferred(hits, misses, [0, 0], np.eye(2), ["a", "b"])
    assert certain.disparity().least.value == pytest.approx(0.4) == certain.disparity().most.value
    useless = inferred([40], [60], [0], [[0.5, 0.5]], ["a", "b"])
    assert (useless.disparity().least.value, useless.disparity().most.value) == pytest.approx((0, 0.8))


def test_known_shares_narrow_the_bounds_and_enclose_the_truth():
    rng = np.random.default_rng(0)
    for _ in range(20):
        group = rng.choice(3, 300, p=[0.5, 0.3, 0.2])
        answer = (rng.random(300) < np.array([0.3, 0.5, 0.6])[group]).astype(int)
        # whoever is selected tells less often
        gone = rng.random(300) < np.where(answer, 0.3, 0.1)
        seen = pd.Series(group, dtype=object).where(~gone, None)
        counted = Cube.count(answer, answer, seen)
        wide = unknown(counted, "selection_rate").disparity()
        share = {g: float((group[gone] == g).mean()) for g in range(3)}
        narrow = shared(counted, "selection_rate", share).disparity()
        rates = [answer[group == g].mean() for g in range(3)]
        truth = max(rates) - min(rates)
        assert wide.least.value - 1e-9 <= narrow.least.value <= truth + 1e-9
        assert truth - 1e-9 <= narrow.most.value <= wide.most.value + 1e-9


def test_the_linear_programme_of_one_cell_is_the_closed_form():
    # alone with known rows, lifting and sinking decouple as they do without shares
    hits, room = np.array([2.0, 9.0, 5.0]), np.array([[11.0, 0.0], [0.0, 11.0], [4.0, 6.0]])
    difference, ratio = extremes.closest(hits, room)
    # a takes 4 hits, b the one that is left: 6/15 and 10/17
    assert difference == pytest.approx(10 / 17 - 6 / 15)
    assert ratio == pytest.approx((6 / 15) / (10 / 17))


def test_imbens_manski_runs_from_two_sides_to_one():
    assert imbens_manski(0, 0.1) == pytest.approx(stats.norm.ppf(0.975), abs=1e-6)
    assert imbens_manski(5, 0.1) == pytest.approx(stats.norm.ppf(0.95), abs=1e-6)


def test_the_interval_covers_the_true_rate_wherever_it_lies_in_the_set():
    rng = np.random.default_rng(1)
    runs, held = 400, 0
    for _ in range(runs):
        # nobody who is missing of group a was selected: the truth lies at the low end
        group = rng.random(400) < 0.5
        answer = rng.random(400) < np.where(group, 0.4, 0.6)
        gone = (rng.random(400) < 0.3) & np.where(group, ~answer, answer)
        seen = pd.Series(np.where(group, "a", "b"), dtype=object).where(~gone, None)
        rate = unknown(Cube.count(answer, answer, seen), "selection_rate").rate("a")
        held += rate.least.low <= 0.4 <= rate.most.high
    # 95 % of 400 is 380; fewer than 366 has probability 0.001
    assert held >= 366


def test_no_difference_is_not_certain_to_be_one():
    rng = np.random.default_rng(2)
    alarms = 0
    for _ in range(200):
        answer = rng.random(600) < 0.4
        seen = pd.Series(rng.choice(["a", "b", "c"], 600), dtype=object).where(rng.random(600) > 0.05, None)
        alarms += unknown(Cube.count(answer, answer, seen), "selection_rate").disparity().least.low > 0
    assert alarms <= 10


def test_weights_are_relative():
    cells = {"a": (3, 5), "b": (6, 2), None: (2, 3)}
    one, ten = (unknown(cube(cells, w), "selection_rate").disparity().most for w in (1.0, 10.0))
    assert one.model_dump() == pytest.approx(ten.model_dump())


@pytest.mark.parametrize("seed", range(5))
def test_pairs_are_found_without_looking_at_every_pair(seed):
    rng = np.random.default_rng(seed)
    top, bottom, up, down = rng.random((4, 40)) * np.array([[1], [1], [0.3], [0.3]])
    pairs = [(i, j) for i in range(40) for j in range(40) if i != j]
    assert extremes.farthest(top, up, bottom, down) == pytest.approx(
        max(top[i] - bottom[j] + np.hypot(up[i], down[j]) for i, j in pairs)
    )
    assert extremes.nearest(top, down, bottom, up) == pytest.approx(
        max(top[i] - bottom[j] - np.hypot(down[i], up[j]) for i, j in pairs)
    )
    assert extremes.pairs(top, bottom).max() == pytest.approx(max(top[i] - bottom[j] for i, j in pairs))


def test_thousands_of_groups_stay_small():
    rng = np.random.default_rng(0)
    group = pd.Series(rng.integers(0, 4000, 50_000), dtype=object).where(rng.random(50_000) > 0.1, None)
    answer = rng.integers(0, 2, 50_000)
    found = unknown(Cube.count(answer, answer, group), "selection_rate").disparity()
    assert found.most.high == 1.0


def test_misuse_is_refused_by_name():
    two = cube({"a": (3, 5), "b": (6, 2), None: (2, 3)})
    with pytest.raises(DataError, match="missing"):
        known(cube({"a": (3, 5), "b": (6, 2)}), None)
    with pytest.raises(DataError, match="add up to 1"):
        shared(two, "selection_rate", {"a": 0.5, "b": 0.6})
    people = Cube.count([0, 1, 1], [0, 1, 1], ["a", "b", None], clusters=[1, 2, 2])
    with pytest.raises(DataError, match="bounds, found clusters"):
        unknown(people, "selection_rate")
    with pytest.raises(DataError, match="'c'"):
        unknown(two, "selection_rate").rate("c")
    with pytest.raises(DataError, match="kind"):
        unknown(two, "selection_rate").disparity("quotient")
    with pytest.raises(DataError, match="add up to 1"):
        inferred([1], [1], [0], [[0.5, 0.4]], ["a", "b"])
