"""Marginals and totals against counting anew, and suppression against what an attacker can work out."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.errors import DataError
from audit.fairness import Cube
from reports.record import Outcome
from tests.fairness.counting.test_scanning import same

RNG = np.random.default_rng(0)
N = 400
TRUE, PREDICTED = RNG.integers(0, 3, N), RNG.integers(0, 3, N)
COLUMNS = {
    "sex": pd.Categorical(RNG.choice(["m", "f"], N), categories=["m", "x", "f"]),
    "age": RNG.integers(0, 4, N),
    "town": RNG.choice(np.array(["b", "a", None], dtype=object), N),
}
PEOPLE = np.array([f"{s}{a}{t}{i % 3}" for i, (s, a, t) in enumerate(zip(*COLUMNS.values(), strict=True))])


def count(columns, **options) -> Cube:
    return Cube.count(TRUE, PREDICTED, columns, weights=np.arange(N) % 4 / 4, **options)


@pytest.mark.parametrize("clusters", [None, PEOPLE])
def test_marginals_equal_counting_anew(clusters):
    cube = count(COLUMNS, clusters=clusters)
    for name, column in COLUMNS.items():
        found = cube.marginal(name)
        expected = count(column, clusters=clusters)
        assert found.groups == expected.groups
        assert same(found, expected)
    assert same(cube.marginal(["town", "sex"]), count({n: COLUMNS[n] for n in ("town", "sex")}, clusters=clusters))
    assert same(cube.marginal(list(COLUMNS)), cube)
    assert same(cube.overall(), count(["all"] * N, clusters=clusters))


def test_cubes_made_by_hand_declare_nothing():
    cube = count({"age": COLUMNS["age"], "town": COLUMNS["town"]})
    bare = replace(cube, declared=())
    assert same(bare.marginal("town"), cube.marginal("town"))
    assert same(bare + bare, cube + cube)


def test_unknown_attributes_and_crossing_clusters_are_refused():
    cube = count(COLUMNS)
    with pytest.raises(DataError, match="did you mean 'town'"):
        cube.marginal("tow")
    with pytest.raises(DataError, match="attributes that differ"):
        cube.marginal(["sex", "sex"])
    with pytest.raises(DataError, match="an attribute of the cube, found 'sex'"):
        cube.marginal("sex").marginal("sex")
    crossing = count(COLUMNS, clusters=np.arange(N) % 50)
    assert crossing.crossing == 50
    with pytest.raises(DataError, match="50 that cross groups"):
        crossing.overall()


def test_a_small_group_is_hidden_with_a_reason_and_one_more_protects_it():
    sizes = {"a": 90, "b": 3, "c": 20, "d": 0}
    groups = pd.Categorical(np.repeat(list(sizes), list(sizes.values())), categories=list(sizes))
    answer = np.arange(113) % 2
    cube = Cube.count(answer, answer, groups).suppressed(5)
    assert cube.hidden == {
        "b": "fewer than 5 rows, suppressed against re-identification",
        "c": "suppressed so that a group of fewer than 5 rows cannot be recovered from the total",
    }
    rate = cube.rate("selection_rate")
    assert rate["b"].reason == cube.hidden["b"]
    assert rate["b"].n == 0
    assert "no rows" in rate["d"].reason
    assert rate["a"].value == 0.5
    assert cube.rows.sum() == 90
    assert cube.test("selection_rate").outcome is Outcome.INSUFFICIENT
    for values in (cube.macro("accuracy")["b"], cube.worst("accuracy")["b"][1]):
        assert values.reason == cube.hidden["b"]


def test_nothing_is_hidden_where_every_group_is_large_enough():
    cube = count(COLUMNS)
    least = int(cube.rows.sum((1, 2))[cube.rows.sum((1, 2)) > 0].min())
    assert cube.suppressed(least).hidden == {}
    assert same(cube.suppressed(1), cube)
    with pytest.raises(DataError, match="least to be at least 1"):
        cube.suppressed(0)
    for what in (lambda c: c.overall(), lambda c: c.marginal("sex")):
        with pytest.raises(DataError, match="before suppression"):
            what(cube.suppressed(least + 1))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 30), min_size=9, max_size=9), st.integers(2, 9))
def test_what_is_hidden_does_not_follow_from_the_margins(sizes, least):
    cells = list(product("abc", "xyz"))
    keys = [cell for cell, size in zip(cells, sizes, strict=True) for _ in range(size)]
    if not keys:
        return
    one, two = zip(*keys, strict=True)
    cube = Cube.count([0] * len(keys), [0] * len(keys), {"one": list(one), "two": list(two)}, classes=(0, 1))
    hidden = cube.suppressed(least).hidden
    table = dict(zip(cells, sizes, strict=True))
    assert all(cell in hidden for cell, size in table.items() if 0 < size < least)
    for axis in (0, 1):
        for value in "abc" if axis == 0 else "xyz":
            line = [cell for cell in cells if cell[axis] == value and table[cell]]
            gone = [cell for cell in line if cell in hidden]
            # two or more that are many enough together, or nothing else in the line to hide them with
            assert not gone or (len(gone) > 1 and sum(table[c] for c in gone) >= least) or gone == line


def test_suppression_of_many_groups_is_linear():
    rng = np.random.default_rng(0)
    group = np.r_[np.arange(90_000), rng.integers(0, 90_000, 300_000)]
    cube = Cube.count(group % 2, group % 2, {"a": group // 300, "b": group % 300})
    start = time.process_time()
    assert len(cube.suppressed(3).hidden) > 10_000
    assert time.process_time() - start < 3
