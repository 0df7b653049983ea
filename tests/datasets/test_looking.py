"""What a data set seems to hold."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from audit.datasets import look
from audit.errors import DataError
from audit.subject import Modality


@pytest.mark.parametrize("form", ["parquet", "csv", "json"])
def test_a_table(form: str, people: pd.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "d"
    {"parquet": people.to_parquet, "csv": lambda p: people.to_csv(p, index=False)}.get(
        form, lambda p: people.to_json(p, orient="records")
    )(path)
    facts = look(path)
    assert facts.format == form
    assert facts.columns == {"age": "integer", "wage": "number", "sex": "string", "income": "string"}
    assert (facts.label, facts.classes) == ("income", ("high", "low"))
    assert facts.protected == ("age", "sex")
    assert facts.modality is Modality.TABULAR
    assert facts.text is None


def test_protected_names_are_whole_words(tmp_path: Path) -> None:
    frame = pd.DataFrame({"wage": [1], "Age": [1], "usage": [1], "applicant_gender": ["f"], "is-race": [1], "y": [0]})
    frame.to_parquet(tmp_path / "d")
    assert look(tmp_path / "d").protected == ("Age", "applicant_gender", "is-race")


def test_classes_come_from_the_whole_parquet_column(tmp_path: Path) -> None:
    pd.DataFrame({"x": range(5000), "target": [0] * 4999 + [1]}).to_parquet(tmp_path / "d")
    assert look(tmp_path / "d").classes == ("0", "1")


def test_texts(tmp_path: Path) -> None:
    frame = pd.DataFrame({"review": [f"the film number {i} was long" for i in range(30)], "label": ["n", "p"] * 15})
    frame.to_csv(tmp_path / "d", index=False)
    facts = look(tmp_path / "d")
    assert (facts.text, facts.label, facts.modality) == ("review", "label", Modality.TEXT)


def test_an_npz(pixels: np.ndarray, tmp_path: Path) -> None:
    np.savez(
        tmp_path / "d.npz",
        train_images=pixels,
        train_labels=np.arange(12) % 3,
        test_images=pixels,
        test_labels=np.arange(12),
    )
    facts = look(tmp_path / "d.npz")
    assert facts.columns == {"images": "image", "labels": "integer"}
    assert (facts.label, len(facts.classes), facts.splits) == ("labels", 12, ("train", "test"))
    assert facts.modality is Modality.IMAGE


def test_an_image_folder(tmp_path: Path) -> None:
    for place in ("test/b", "test/a", "train/c"):
        (tmp_path / place).mkdir(parents=True)
        Image.new("L", (2, 2)).save(tmp_path / place / "1.png")
    facts = look(tmp_path)
    assert (facts.label, facts.classes, facts.splits) == ("label", ("a", "b", "c"), ("test", "train"))
    assert facts.modality is Modality.IMAGE


def test_a_saved_data_set(tmp_path: Path) -> None:
    import datasets

    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["z", "a"])})
    rows = {"image": [Image.new("L", (2, 2))] * 2, "label": [0, 0]}
    table = datasets.Dataset.from_dict(rows, features=features)
    datasets.DatasetDict({"train": table, "test": table}).save_to_disk(str(tmp_path / "d"))
    facts = look(tmp_path / "d")
    assert (facts.label, facts.classes, facts.splits) == ("label", ("z", "a"), ("train", "test"))
    assert facts.columns == {"image": "image", "label": "string"}
    assert facts.modality is Modality.IMAGE


def test_damage_and_emptiness(people: pd.DataFrame, tmp_path: Path) -> None:
    people.iloc[:0].to_csv(tmp_path / "empty.csv", index=False)
    people.to_parquet(tmp_path / "whole")
    (tmp_path / "half").write_bytes((tmp_path / "whole").read_bytes()[:200])
    for name, message in [("empty.csv", "empty data set"), ("half", "damaged"), ("none", "found nothing")]:
        with pytest.raises(DataError, match=message):
            look(tmp_path / name)
