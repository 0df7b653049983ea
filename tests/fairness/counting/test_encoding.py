"""Every kind of column gives the same groups as a plain loop over its values does."""

from __future__ import annotations

import datetime
from collections import Counter
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.errors import DataError
from audit.fairness import Cube
from audit.fairness.counting.encoding import SHARED, column
from audit.fairness.counting.tally import Tally

NAMES = np.array(["née", "b", "ärzte-und-so-weiter-und-so-fort", "", "日本", "b "], dtype=object)
PICKED = np.random.default_rng(0).integers(0, len(NAMES), 9000)
TEXTS = NAMES[PICKED]


def sizes(groups, block=None) -> dict:
    n = len(groups)
    if block is None:
        cube = Cube.count(np.zeros(n, dtype=int), np.zeros(n, dtype=int), groups)
    else:
        tally = Tally(["groups"], True, None, False, block)
        nothing = column(np.zeros(n, dtype=int), "y")
        tally.add(nothing, nothing, [column(groups, "groups")])
        cube = Cube.of(tally, ())
    return {(type(k), k): int(c) for k, c in zip(cube.groups, cube.rows.sum((1, 2)), strict=True)}


def counted(values) -> dict:
    """By type and value; the integer stands for all that equal it, then the float."""
    first: dict = {}
    for kind in (int, float):
        first |= {v: first.get(v, v) for v in values if type(v) is kind}
    return dict(Counter((type(first.get(v, v)), first.get(v, v)) for v in values))


@pytest.mark.parametrize("block", [None, 700])
@pytest.mark.parametrize(
    "make",
    [
        lambda: TEXTS,
        lambda: TEXTS.tolist(),
        lambda: np.array([str(t) + "x" for t in TEXTS], dtype="U"),
        lambda: TEXTS.astype("U"),
        lambda: TEXTS.astype("U").astype(">U40"),
        lambda: np.array([t.encode() for t in TEXTS]),
        lambda: TEXTS.astype("U").astype(object),
        lambda: pd.Series(TEXTS, dtype="str", index=np.arange(len(TEXTS))[::-1]),
        lambda: pd.Series(TEXTS, dtype=pd.StringDtype("python")),
        lambda: pd.Series(TEXTS, dtype=object),
        lambda: pd.Index(TEXTS),
        lambda: pd.Series(TEXTS.tolist(), dtype=pd.ArrowDtype(pa.string())),
        lambda: pa.array(TEXTS.tolist()),
        lambda: pa.chunked_array([TEXTS[:11].tolist(), [], TEXTS[11:].tolist()]),
        lambda: pa.array(TEXTS.tolist(), pa.string_view()),
        lambda: pa.array(TEXTS.tolist()).dictionary_encode(),
        lambda: np.stack([TEXTS, TEXTS], axis=1)[:, 0],
    ],
)
def test_texts_are_counted_as_given(make, block):
    values = make()
    plain = (
        values.to_pylist()
        if isinstance(values, pa.ChunkedArray)
        else list(values.tolist() if not isinstance(values, list) else values)
    )
    assert sizes(values, block) == counted(plain)


NUMBERS = np.random.default_rng(1).integers(-3, 4, 3000)


@pytest.mark.parametrize("block", [None, 250])
@pytest.mark.parametrize(
    "values",
    [
        NUMBERS,
        NUMBERS.astype(np.int8),
        NUMBERS.astype(">i4"),
        NUMBERS * 10**15,
        (NUMBERS + 3).astype(np.uint64) * 2**61,
        NUMBERS > 0,
        NUMBERS / 2,
        (NUMBERS / 2).astype(np.float32),
        (NUMBERS / 2).astype(np.float16),
        NUMBERS[::-3],
        torch.from_numpy(NUMBERS),
        pa.array(NUMBERS),
        pd.Series(NUMBERS, dtype="Int64"),
        pd.Series(NUMBERS > 0, dtype="boolean"),
    ],
)
def test_numbers_keep_their_type(values, block):
    assert sizes(values, block) == counted(values.tolist() if hasattr(values, "tolist") else values.to_pylist())


def test_dates_are_keys():
    days = np.datetime64("2020-02-28") + NUMBERS.astype("m8[D]")
    expected = Counter(pd.Series(days).tolist())
    for values in (days, pd.Series(days), pd.Series(days).dt.tz_localize("UTC").dt.tz_localize(None)):
        assert {k: v for (_, k), v in sizes(values).items()} == expected
    zoned = pd.Series(days).dt.tz_localize("Asia/Tokyo")
    assert {k: v for (_, k), v in sizes(zoned).items()} == Counter(zoned.tolist())
    assert {k for _, k in sizes(pd.Series([datetime.date(2020, 1, 1), datetime.date(1999, 1, 1)]))} == {
        datetime.date(2020, 1, 1),
        datetime.date(1999, 1, 1),
    }


@pytest.mark.parametrize(
    ("values", "missing"),
    [
        ([None, float("nan"), pd.NA, pd.NaT, np.datetime64("NaT"), np.float32("nan"), Decimal("NaN"), "a"], 7),
        (np.array([1.0, np.nan, np.nan]), 2),
        (np.array(["2020", "NaT"], dtype="M8[D]"), 1),
        (pd.Series(["a", None, np.nan]), 2),
        (pd.Series([1, None], dtype="Int64"), 1),
        (pd.Series([True, None], dtype="boolean"), 1),
        (pa.array(["a", None, None]), 2),
        (pa.chunked_array([[1.5, None], [None, float("nan")]]), 3),
        (pd.Categorical(["a", None, "a"]), 1),
        (pd.Series(["a", "b", None] * 3000, dtype=object), 3000),
        (pd.Series([f"v{i % 9}" if i % 2 else None for i in range(9000)], dtype=object), 4500),
    ],
)
def test_missing_values_are_one_group_at_the_end(values, missing):
    n = len(values)
    cube = Cube.count(np.zeros(n, dtype=int), np.zeros(n, dtype=int), values)
    assert cube.groups[-1] is None
    assert cube.groups.count(None) == 1
    assert cube.rows[-1].sum() == missing


ANY = st.one_of(
    st.integers(-2, 2),
    st.booleans(),
    st.floats(-1, 1, width=16).map(lambda v: round(v) / 1.0),
    st.sampled_from(["1", "0", "", "a", "é", "e\u0301", "\ud800"]),
    st.binary(max_size=1),
    st.none(),
    st.tuples(st.integers(0, 1), st.sampled_from(["a", "b"])),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(ANY, min_size=1, max_size=19), st.booleans(), st.integers(1, 7))
def test_equal_values_are_one_group_and_text_is_none_of_them(values, shared, block):
    few = values * 500 if shared else [v for _ in range(3) for v in values]  # shared objects, and each row its own
    array = pd.Series(few, dtype=object).to_numpy()
    expected = counted(few)
    assert sizes(array) == expected
    assert sizes(array, block if not shared else 4096) == expected


def test_objects_of_mixed_types_that_no_two_rows_share():
    n = SHARED * 2000
    mixed = [float(str(i % 3)) if i % 2 else str(i % 3) if i % 4 else int(str(1000 + i % 3)) for i in range(n)]
    array = np.empty(n, dtype=object)
    for i, value in enumerate(mixed):
        array[i] = type(value)(str(value))
    assert sizes(array) == counted(mixed)


@pytest.mark.parametrize("values", [[{}, {}], pd.Series([[1], [2]]), pa.array([[1], [2]])])
def test_what_cannot_be_a_key_is_refused(values):
    with pytest.raises(DataError, match="Expected values that can be keys in 'groups'"):
        Cube.count([0, 1], [0, 1], values)


def test_unicode_is_not_normalised():
    assert len(sizes(["é", "e\u0301", "É"])) == 3
