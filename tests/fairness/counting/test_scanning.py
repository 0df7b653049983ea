"""Streams: the same cube as one pass, however rows are cut, in memory that the rows do not fill."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.errors import DataError
from audit.fairness import Cube

NAMES = {"label": "y", "prediction": "p", "groups": ["sex", "age"]}


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    n = 5000
    return pd.DataFrame(
        {
            "y": rng.choice(["no", "yes"], n),
            "p": rng.choice(["no", "yes", "perhaps"], n),
            "sex": rng.choice(np.array(["F", "M", None, "é"], dtype=object), n),
            "age": rng.integers(20, 60, n),
            "w": rng.integers(0, 9, n) / 8,  # sums of eighths are exact in every order
            "person": rng.integers(0, 700, n),
            "unused": rng.random(n),
        }
    )


def whole(frame: pd.DataFrame, **options) -> Cube:
    return Cube.count(frame["y"], frame["p"], frame[["sex", "age"]], **options)


def same(one: Cube, other: Cube) -> bool:
    assert (one.groups, one.classes, one.positive) == (other.groups, other.classes, other.positive)
    assert (one.attributes, one.declared, one.crossing) == (other.attributes, other.declared, other.crossing)
    for what in ("counts", "squares", "rows", "moments", "clusters"):
        a, b = getattr(one, what), getattr(other, what)
        assert (a is None and b is None) or (a == b).all(), what
    return True


@pytest.mark.parametrize("block", [1, 7, 1000, 10**6])
def test_a_parquet_file_is_counted_as_its_rows_are(frame, tmp_path, block):
    part = frame[: min(block, 50) * 100]
    part.to_parquet(tmp_path / "rows.parquet", row_group_size=999)
    found = Cube.scan(tmp_path / "rows.parquet", **NAMES, weights="w", clusters="person", block=block)
    assert same(found, whole(part, weights=part["w"], clusters=part["person"]))


def test_a_folder_a_data_set_and_batches_give_the_same_cube(frame, tmp_path):
    for i in range(5):
        frame[i::5].to_parquet(tmp_path / f"part-{i}.parquet")
    table = pa.Table.from_pandas(frame)
    expected = whole(frame)
    for source in (
        tmp_path,
        str(tmp_path),
        ds.dataset(tmp_path),
        ds.dataset(table),
        table,
        frame,
        dict(frame.items()),
        table.to_batches(max_chunksize=77),
        pa.RecordBatchReader.from_batches(table.schema, iter(table.to_batches(max_chunksize=77))),
        (frame[i : i + 313] for i in range(0, len(frame), 313)),
    ):
        assert same(Cube.scan(source, **NAMES), expected)


def test_a_folder_named_after_values_has_them_as_a_column(frame, tmp_path):
    pq.write_to_dataset(pa.Table.from_pandas(frame[["y", "p", "sex", "age"]]), tmp_path, partition_cols=["sex"])
    assert same(Cube.scan(tmp_path, **NAMES), whole(frame))


def test_how_a_batch_stores_texts_declares_nothing(frame):
    table = pa.Table.from_pandas(frame)
    at = table.schema.names.index("sex")
    stored = table.set_column(at, "sex", table["sex"].dictionary_encode())
    assert same(Cube.scan(stored.to_batches(max_chunksize=500), **NAMES), whole(frame))


def test_declared_categories_appear_whether_by_name_or_by_the_frames(frame):
    order = ["é", "X", "M", "F"]
    by_name = Cube.scan(frame, label="y", prediction="p", groups="sex", declared={"sex": order})
    assert by_name.groups == (*order, None)
    typed = frame.assign(sex=pd.Categorical(frame["sex"], categories=order))
    by_type = Cube.scan((typed[i::3] for i in range(3)), label="y", prediction="p", groups="sex")
    assert same(by_type, by_name)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(*[st.integers(0, 2)] * 2, st.sampled_from([1, "1", 1.0, True, None, "b"])), min_size=2, max_size=60
    ),
    st.integers(1, 59),
)
def test_cubes_add_to_the_cube_of_all_rows(rows, cut):
    cut = min(cut, len(rows) - 1)

    def count(part) -> Cube:
        true, predicted, group = zip(*part, strict=True)
        return Cube.count(true, predicted, {"g": list(group), "t": list(true)}, classes=(0, 1, 2), positive=1)

    assert same(count(rows[:cut]) + count(rows[cut:]), count(rows))


def test_categories_keep_their_order_in_a_sum():
    def count(groups, categories) -> Cube:
        return Cube.count([0, 1], [1, 1], pd.Categorical(groups, categories=categories), classes=(0, 1))

    added = count(["z", "a"], ["z", "m", "a"]) + count(["a", None], ["z", "m", "a"])
    assert added.groups == ("z", "m", "a", None)
    assert added.rows.sum((1, 2)).tolist() == [1, 0, 2, 1]


def test_sums_that_would_be_wrong_are_refused(frame):
    cube = whole(frame)
    with pytest.raises(DataError, match="same classes"):
        cube + Cube.count([0], [1], {"sex": ["F"], "age": [1]})
    with pytest.raises(DataError, match="same attributes"):
        cube + Cube.count(frame["y"], frame["p"], frame["sex"])
    people = whole(frame, clusters=frame["person"])
    with pytest.raises(DataError, match=r"clusters may have rows in both; try Cube\.scan"):
        people + people
    with pytest.raises(DataError, match="before suppression"):
        cube.suppressed(40) + cube


def test_bad_sources_are_refused(frame, tmp_path):
    frame.to_parquet(tmp_path / "rows.parquet")
    (tmp_path / "text.parquet").write_text("y,p\n0,1\n")
    (tmp_path / "empty").mkdir()
    for source, names, message in (
        (
            tmp_path / "rows.parquet",
            {"label": "yy"},
            "Expected the column 'yy', found none of that name; did you mean 'y'",
        ),
        (frame, {"groups": "sexx"}, "did you mean 'sex'"),
        ([frame], {"weights": "weight"}, "Expected the column 'weight'"),
        (tmp_path / "none.parquet", {}, "found nothing at"),
        (tmp_path / "text.parquet", {}, "Expected parquet in .*text.parquet"),
        (tmp_path / "empty", {}, "found none"),
        ([], {}, "at least one row"),
        (frame, {"groups": []}, "at least one group column"),
        ([frame[:0]], {}, "at least one row"),
        ([1, 2], {}, "batches with named columns, found int"),
        (3, {}, "a folder or batches, found int"),
        (frame, {"declared": {"race": ["a"]}}, "declared to name group columns, found 'race'"),
        (frame, {"groups": "unused"}, "'unused'.*identifier"),
        (frame, {"prediction": "unused"}, "unused to hold classes, found the score"),
        ([frame, frame.assign(w=-1.0)], {"weights": "w"}, "found -1 in row 5000"),
        ([frame, frame.assign(p="x")], {"classes": ["no", "yes", "perhaps"]}, "found 'x' in row 5000"),
    ):
        with pytest.raises(DataError, match=message):
            Cube.scan(source, **{**NAMES, **names})


def test_a_file_larger_than_the_memory_is_counted(tmp_path):
    """Rows of 230 bytes, 115 MB in all, in a process whose memory may grow by 60 MB."""
    path = tmp_path / "large.parquet"
    rng = np.random.default_rng(0)
    texts = pa.array([f"{i:03d}" + "x" * 200 for i in range(100)])
    schema = pa.schema({"y": pa.int64(), "p": pa.int64(), "g": pa.string(), "w": pa.float64()})
    with pq.ParquetWriter(path, schema, use_dictionary=False, compression="none") as writer:
        for _ in range(5):
            n = 100_000
            y, p = rng.integers(0, 2, (2, n))
            columns = [pa.array(y), pa.array(p), texts.take(pa.array(rng.integers(0, 100, n))), pa.array(rng.random(n))]
            writer.write_table(pa.table(columns, schema=schema))
    code = f"""
        import resource
        from audit.fairness import Cube
        def peak():
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        Cube.count([0, 1], [0, 1], ["a", "b"])
        before = peak()
        cube = Cube.scan({str(path)!r}, label="y", prediction="p", groups="g", weights="w", block=1 << 15)
        print(peak() - before, cube.rows.sum(), len(cube.groups))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True, timeout=120
    )
    grown, rows, groups = done.stdout.split()
    assert (rows, groups) == ("500000", "100")
    assert path.stat().st_size > 110e6
    assert float(grown) < 60
