"""The encoder: schema, closed forms, and what it refuses."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from audit.datasets.encoding import Encoder, encode, read_encoder, write_encoder
from audit.errors import DataError


def make(*features: dict[str, Any]) -> Encoder:
    return Encoder.model_validate({"version": 1, "features": features})


def test_missing_and_unseen_values() -> None:
    frame = pd.DataFrame({"n": [1.0, None, 5.0], "c": ["a", "z", None]})
    encoder = make(
        {"name": "c", "kind": "categorical", "categories": ["a", "b"]},
        {"name": "n", "kind": "numeric", "mean": 3, "std": 2},
    )
    values, features = encode(frame, encoder, "y", ["c"])
    assert values.tolist() == [[1, 0, -1], [0, 0, 0], [0, 0, 1]]
    assert values.dtype == np.float32
    assert [f.columns for f in features] == [(0, 1), (2,)]
    assert [f.mutable for f in features] == [False, True]


def test_numbers_and_booleans_are_categories_by_name() -> None:
    frame = pd.DataFrame({"i": [1, 2], "f": [1.0, None], "b": [True, False]})
    encoder = make(
        {"name": "i", "kind": "categorical", "categories": [1, 2]},
        {"name": "f", "kind": "categorical", "categories": ["1"]},
        {"name": "b", "kind": "categorical", "categories": [False, True]},
    )
    values, features = encode(frame, encoder, "y", [])
    assert values.tolist() == [[1, 0, 1, 0, 1], [0, 1, 0, 1, 0]]
    assert features[2].categories == ("False", "True")


def test_a_proposed_encoder_standardises_what_it_was_proposed_for(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "x": rng.normal(7, 3, 200),
            "constant": 4,
            "city": rng.choice(["b", "a"], 200),
            "name": [f"person {i}" for i in range(200)],
            "y": rng.integers(0, 2, 200),
        }
    )
    encoder = write_encoder(frame, "y", tmp_path / "e.json")
    assert read_encoder(tmp_path / "e.json") == encoder
    values, features = encode(frame, encoder, "y", [])
    assert [f.name for f in features] == ["x", "constant", "city"]  # no name of a row, no label
    assert features[2].categories == ("a", "b")
    assert values[:, 0].mean() == pytest.approx(0, abs=1e-6)
    assert values[:, 0].std() == pytest.approx(1, abs=1e-6)
    assert (values[:, 1] == 0).all()
    assert (values[:, 2:].sum(1) == 1).all()


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("{", "Expected JSON"),
        ({"version": 2, "features": []}, "version"),
        ({"version": 1, "features": []}, "features"),
        ({"version": 1, "features": [{"name": "a", "kind": "numeric", "mean": 0, "std": 0}]}, "std"),
        ({"version": 1, "features": [{"name": "a", "kind": "ordinal"}]}, "features.0"),
        ({"version": 1, "features": [{"name": "a", "kind": "numeric", "mean": 0, "std": 1, "max": 1}]}, "max"),
        ({"version": 1, "features": [{"name": "a", "kind": "categorical", "categories": [1, "1"]}]}, "'1' twice"),
        ({"version": 1, "features": [{"name": "a", "kind": "numeric", "mean": 0, "std": 1}] * 2}, "'a' twice"),
    ],
)
def test_a_broken_encoder_is_named(document: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / "e.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    with pytest.raises(DataError, match=message):
        read_encoder(path)


def test_a_missing_encoder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Expected an encoder, found none"):
        read_encoder(tmp_path / "e.json")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("word", "found 'three' in row 1"),
        ("agee", r"did you mean 'age'\?"),
        ("y", "found the label 'y' among them"),
        ("endless", "found inf in row 0"),
    ],
)
def test_columns_the_encoder_cannot_use(name: str, message: str) -> None:
    frame = pd.DataFrame({"word": ["1", "three"], "age": [1, 2], "y": [0, 1], "endless": [np.inf, 1.0]})
    with pytest.raises(DataError, match=message):
        encode(frame, make({"name": name, "kind": "numeric", "mean": 0, "std": 1}), "y", [])
