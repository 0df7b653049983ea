"""Labels, columns, bounds and groups: what is declared is matched, what is wrong is named."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from audit.datasets import read
from audit.datasets.labels import match_labels
from audit.errors import DataError


@pytest.fixture
def table(people: pd.DataFrame, tmp_path: Path) -> Path:
    people.to_parquet(tmp_path / "people.parquet")
    return tmp_path / "people.parquet"


WRONG: list[tuple[Mapping[str, Any], str]] = [
    ({"label": "incme"}, r"label column 'incme'.*did you mean 'income'\?"),
    ({"protected": ["sx"]}, r"protected column 'sx'.*did you mean 'sex'\?"),
    ({"protected": ["income"]}, "other than the label"),
    ({"immutable": ["agee"]}, r"immutable column 'agee'.*did you mean 'age'\?"),
    ({"constraints": ["agee <= 3"]}, r"constraint 'agee <= 3', found 'agee <= 3'; the columns are 'age', 'sex'"),
    ({"constraints": ["sex <= 3"]}, "numeric columns in the constraint 'sex <= 3'"),
    ({"constraints": ["age"]}, "one relation in the constraint 'age'"),
    ({"text": "incom"}, r"text column 'incom'.*did you mean 'income'\?"),
    ({"favourable": "hgh"}, r"favourable class.*did you mean 'high'\?"),
    ({"classes": ["low", "medium"]}, "among the classes 'low', 'medium'.*found 'high' first in row 1"),
    ({"classes": ["low", "low"]}, "distinct classes"),
    ({"modality": "images"}, r"found 'images'; did you mean 'image'\?"),
    ({"bounds": (-1.0, 1.0)}, "found 3 values outside, the furthest 3"),
    ({"bounds": (1.0, 1.0)}, "low < high"),
    ({"encoder": None}, "found 'F' in 'sex'; try an encoder"),
    ({"label": None}, "name of the label column, found none"),
]


@pytest.mark.parametrize(("change", "message"), WRONG, ids=lambda v: ",".join(v) if isinstance(v, Mapping) else "")
def test_what_is_wrong_is_named(change: Mapping[str, Any], message: str, table: Path, encoder: Path) -> None:
    options: dict[str, Any] = {"label": "income", "encoder": encoder} | dict(change)
    with pytest.raises(DataError, match=message):
        read(table, **options)


@pytest.mark.parametrize(
    ("values", "classes", "expected"),
    [
        (["b", "a"], ("a", "b"), [1, 0]),
        ([1, 0], ("a", "b"), [1, 0]),
        ([1.0, 0.0], ("a", "b"), [1, 0]),
        ([True, False], ("no", "yes"), [1, 0]),
        ([True, False], ("True", "False"), [0, 1]),
        ([7, 3], ("3", "7"), [1, 0]),  # a name goes before an index
        (["1", "0"], ("0", "1"), [1, 0]),
        ([1, 2], ("2", "1"), [1, 0]),
    ],
)
def test_labels_are_names_or_indices(values: list[Any], classes: tuple[str, ...], expected: list[int]) -> None:
    assert match_labels(pd.Series(values), classes, "y").tolist() == expected


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0, 5], "found 5 first in row 1"),
        ([0, -1], "found -1 first in row 1"),
        (["a", "z", "z"], "found 'z' first in row 1"),
        (["a", None, "b"], "found 1 missing in 'y', the first in row 1"),
        ([0.5, 1.0], "found 0.5 first in row 0"),
        (["0", "1"], "found '0' first in row 0"),  # text is no index
    ],
)
def test_labels_outside_the_classes(values: list[Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        match_labels(pd.Series(values), ("a", "b"), "y")


def test_names_and_indices_do_not_mix() -> None:
    with pytest.raises(DataError, match="found both"):
        match_labels(pd.Series(["a", 1], dtype=object), ("a", "b"), "y")


def test_classes_found_in_numbers_are_in_the_order_of_numbers(tmp_path: Path) -> None:
    pd.DataFrame({"x": range(4), "label": [10, 9, 10, 2]}).to_csv(tmp_path / "d.csv", index=False)
    data = read(tmp_path / "d.csv")
    assert data.classes == ("2", "9", "10")
    assert data.labels.tolist() == [2, 1, 2, 0]
    assert [(f.mean, f.std) for f in data.features] == [(0.0, 1.0)]


@pytest.mark.parametrize(
    ("values", "message"), [(np.linspace(0, 1, 60), "numbers such as"), (range(60), "60 distinct")]
)
def test_a_label_column_without_classes(values: Any, message: str, tmp_path: Path) -> None:
    pd.DataFrame({"x": range(60), "label": values}).to_csv(tmp_path / "d.csv", index=False)
    with pytest.raises(DataError, match=message):
        read(tmp_path / "d.csv")


def test_an_identifier_is_no_group(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": range(60), "who": range(60), "label": [0, 1] * 30})
    frame.to_csv(tmp_path / "d.csv", index=False)
    with pytest.raises(DataError, match=r"protected column 'who', found 60 distinct values in 60 rows"):
        read(tmp_path / "d.csv", protected=["who"])


def test_groups_keep_their_type(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "x": range(4),
            "number": [1, 2, None, 1],
            "digit": ["1", "2", "1", None],
            "flag": [True, None, False, True],
            "label": [0, 1, 0, 1],
        }
    )
    frame["x"] = 1.0
    frame.to_json(tmp_path / "d.json", orient="records", lines=True)
    encoder = tmp_path / "e.json"
    encoder.write_text('{"version": 1, "features": [{"name": "x", "kind": "numeric", "mean": 0, "std": 1}]}')
    groups = read(tmp_path / "d.json", protected=["number", "digit", "flag"], encoder=encoder).groups
    assert [(v, type(v)) for v in groups["number"]] == [(1, int), (2, int), (None, type(None)), (1, int)]
    assert groups["digit"].tolist() == ["1", "2", "1", None]
    assert groups["flag"].tolist() == [True, None, False, True]


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.full((2, 4, 4), 255.0), "furthest 255; try dividing pixels of 0..255 by 255"),
        (np.full((2, 4, 4), -1.7), "leaving normalisation to the model's mean and std"),
        (np.full((2, 4, 4), np.nan), "NaN or infinite"),
        (np.zeros((2, 5, 5, 7)), r"found \(2, 5, 5, 7\)"),
    ],
)
def test_pixels_outside_their_bounds(images: np.ndarray, message: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", images=images, labels=[0, 1])
    with pytest.raises(DataError, match=message):
        read(tmp_path / "d.npz")


def test_bytes_refuse_other_bounds(pixels: np.ndarray, tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", images=pixels, labels=np.zeros(12))
    with pytest.raises(DataError, match="8-bit pixels are divided by 255"):
        read(tmp_path / "d.npz", bounds=(0, 255))


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((2, 6, 5), (2, 1, 6, 5)),
        ((2, 6, 5, 1), (2, 1, 6, 5)),
        ((2, 6, 5, 3), (2, 3, 6, 5)),
        ((2, 3, 6, 5), (2, 3, 6, 5)),
        ((2, 4, 6, 6), (2, 4, 6, 6)),
        ((2, 3, 3, 3), (2, 3, 3, 3)),
    ],
)
def test_layouts(shape: tuple[int, ...], expected: tuple[int, ...], tmp_path: Path) -> None:
    values = np.random.default_rng(0).random(shape, dtype=np.float32)
    np.savez(tmp_path / "d.npz", images=values, labels=[0, 1])
    data = read(tmp_path / "d.npz")
    assert data.inputs.shape == expected
    if shape[-1] == 3 and shape[1] == 6:
        assert torch.equal(data.inputs[1, 2], torch.from_numpy(values[1, :, :, 2]))


def test_inputs_and_labels_of_different_length(pixels: np.ndarray, tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", images=pixels, labels=np.zeros(5))
    with pytest.raises(DataError, match="Expected 12 labels beside 12 inputs, found 5"):
        read(tmp_path / "d.npz")


def test_equal_content_has_equal_digests(people: pd.DataFrame, encoder: Path, tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv"):
        people.to_csv(tmp_path / name, index=False)
    first, second = (read(tmp_path / n, label="income", encoder=encoder).digest for n in ("a.csv", "b.csv"))
    assert first == second and len(first) == 64
    people.assign(age=1).to_csv(tmp_path / "b.csv", index=False)
    assert read(tmp_path / "b.csv", label="income", encoder=encoder).digest != first


def test_global_randomness_is_left_alone(table: Path, encoder: Path) -> None:
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - the global generator is what is watched
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    read(table, label="income", encoder=encoder)
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002
