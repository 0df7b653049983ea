"""Group keys: several attributes, declared categories, order, identifiers, many groups."""

from __future__ import annotations

import time
from itertools import product

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from audit.errors import DataError
from audit.fairness import Cube
from audit.fairness.counting.grouping import MOST_DECLARED, sort_keys

SEX = pd.Categorical(["M", "F", "M", "F"], categories=["M", "F", "X"])
RACE = pd.Categorical(["b", "a", "b", "b"], categories=["b", "a", "c"])


def groups(columns) -> tuple:
    n = len(next(iter(columns.values()))) if isinstance(columns, dict) else len(columns)
    return Cube.count([0] * n, [0] * n, columns).groups


def test_declared_categories_cross_in_their_order():
    cube = Cube.count([0, 1, 0, 1], [0, 1, 1, 1], {"sex": SEX, "race": RACE})
    assert cube.groups == tuple(product("MFX", "bac"))
    assert cube.rows.sum((1, 2)).tolist() == [2, 0, 0, 1, 1, 0, 0, 0, 0]
    assert cube.attributes == ("sex", "race")


def test_a_declared_attribute_crosses_with_what_occurs_of_the_others():
    found = groups({"sex": SEX, "age": [1, 2, 2, 2], "town": ["u", "v", "v", "v"]})
    assert found == tuple((sex, age, town) for sex in "MFX" for age, town in ((1, "u"), (2, "v")))


def test_a_missing_value_is_crossed_only_where_it_occurs():
    sex = pd.Categorical(["M", None], categories=["M", "F"])
    assert groups({"sex": sex, "race": pd.Categorical(["a", "a"])}) == (("M", "a"), ("F", "a"), (None, "a"))


def test_a_large_declared_product_shows_what_occurs():
    many = int(MOST_DECLARED**0.5) + 1
    column = pd.Categorical.from_codes([0, 1], categories=range(many))
    assert groups({"a": column, "b": column}) == ((0, 0), (1, 1))
    assert len(groups(column)) == many


@pytest.mark.parametrize(
    "make",
    [dict, pd.DataFrame, lambda d: pa.table(pd.DataFrame(d)), lambda d: pa.RecordBatch.from_pandas(pd.DataFrame(d))],
)
def test_mappings_frames_and_arrow_tables_give_the_same_keys(make):
    columns = {"sex": ["F", "M", "F", None], "age": [3, 1, 1, 1]}
    assert groups(make(columns) if make is not dict else columns) == (("F", 1), ("F", 3), ("M", 1), (None, 1))


def test_order_is_by_type_then_value_with_the_missing_last():
    assert groups([None, "b", 2, 10, "a", 1.5, True]) == (True, 1.5, 2, 10, "a", "b", None)
    assert sort_keys([("b", 1), (None, 0), ("a", None), ("a", 2)]) == [("a", 2), ("a", None), ("b", 1), (None, 0)]
    assert sort_keys([2j, 1j, None]) == [1j, 2j, None]  # no order of their own


def test_order_does_not_depend_on_the_order_of_rows():
    rng = np.random.default_rng(0)
    values = np.array([1, "1", 1.0, True, None, "z", "é", (1, 2), b"1"], dtype=object)[rng.integers(0, 9, 200)]
    expected = groups(values)
    for _ in range(3):
        assert groups(rng.permutation(values)) == expected


def test_an_identifier_is_refused_and_sparse_intersections_are_not():
    ids = [f"person {i}" for i in range(1000)]
    with pytest.raises(DataError, match=r"'name'.*1,000 values in 1,000 rows.*identifier"):
        groups({"name": ids, "sex": ["F", "M"] * 500})
    with pytest.raises(DataError, match="identifier"):
        groups(np.r_[np.arange(960), np.zeros(40, dtype=int)])
    assert len(groups({"a": np.arange(1000) // 25, "b": np.arange(1000) % 25})) == 1000
    assert len(groups(np.arange(1000) % 800)) == 800
    assert len(groups(["a", "b", "c"])) == 3


def test_a_column_of_another_length_is_named():
    with pytest.raises(DataError, match="one group value a row in 'race': 2, found 3"):
        Cube.count([0, 1], [0, 1], {"sex": ["F", "M"], "race": ["a", "b", "c"]})
    with pytest.raises(DataError, match="at least one group column"):
        Cube.count([0, 1], [0, 1], {})
    with pytest.raises(DataError, match=r"'groups', found an array of shape \(2, 2\)"):
        Cube.count([0, 1], [0, 1], np.zeros((2, 2), dtype=int))


def test_a_hundred_thousand_groups_take_linear_time():
    rng = np.random.default_rng(0)

    def seconds(g: int) -> float:
        group, answer = rng.permutation(np.repeat(np.arange(g), 2)), rng.integers(0, 2, 2 * g)
        start = time.process_time()
        cube = Cube.count(answer, answer, {"a": group // 100, "b": group % 100})
        assert len(cube.groups) == g
        assert (cube.rows.sum((1, 2)) == 2).all()
        return time.process_time() - start

    seconds(1000)
    assert seconds(100_000) < 20 * max(seconds(10_000), 0.02)


def test_many_attributes_do_not_overflow():
    rng = np.random.default_rng(0)
    columns = {f"a{i}": rng.integers(0, 2000, 4000) * 10**6 for i in range(9)}
    cube = Cube.count(np.zeros(4000, int), np.zeros(4000, int), columns)
    assert cube.groups == tuple(sorted(zip(*(c.tolist() for c in columns.values()), strict=True)))
