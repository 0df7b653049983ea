"""Every format gives the same rows, and damaged ones are refused in one sentence."""

import gzip
import io
import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from audit.datasets import read
from audit.errors import DataError
from audit.subject import Modality

TABLES = ["parquet", "csv", "semicolons", "tabs", "csv.gz", "jsonl", "json", "saved", "saved splits"]


def write(frame: pd.DataFrame, form: str, folder: Path) -> Path:
    import datasets

    path = folder / "rows.bin"  # the name says nothing: content decides
    if form == "parquet":
        frame.to_parquet(path)
    elif form == "csv.gz":
        path.write_bytes(gzip.compress(frame.to_csv(index=False).encode()))
    elif form in ("csv", "semicolons", "tabs"):
        frame.to_csv(path, index=False, sep={"csv": ",", "semicolons": ";", "tabs": "\t"}[form])
    elif form in ("json", "jsonl"):
        frame.to_json(path, orient="records", lines=form == "jsonl")
    else:
        table = datasets.Dataset.from_pandas(frame)
        if form == "saved splits":
            table = datasets.DatasetDict({"test": table, "train": table.select([0, 1])})
        table.save_to_disk(str(path))
    return path


@pytest.mark.parametrize("form", TABLES)
def test_tables_of_every_format_agree(form: str, people: pd.DataFrame, encoder: Path, tmp_path: Path) -> None:
    path = write(people, form, tmp_path)
    declared = {"protected": ["sex", "age"], "favourable": "high", "immutable": ["sex"], "constraints": ["age <= 99"]}
    data = read(path, label="income", encoder=encoder, **declared)
    expected = [[1, 0, -2], [0, 1, -1], [1, 0, 0], [0, 1, 1], [1, 0, 2], [0, 0, 3]]
    assert torch.equal(data.inputs, torch.tensor(expected, dtype=torch.float32))
    assert data.classes == ("high", "low")
    assert data.labels.tolist() == [1, 0, 1, 0, 1, 0]
    assert data.favourable == 0
    assert data.groups["sex"].tolist() == ["F", "M", "F", "M", "F", None]
    assert data.groups["age"].tolist() == [20, 30, 40, 50, 60, 70]
    assert all(type(v) is int for v in data.groups["age"])
    assert data.missing == {"age": 0, "wage": 0, "sex": 1, "income": 0}
    assert [f.mutable for f in data.features] == [False, True]
    assert data.constraints == ("age <= 99",)
    assert data.modality is Modality.TABULAR
    assert list(data.frame.columns) == list(people.columns)


def test_names_that_look_like_patterns_are_read(people: pd.DataFrame, encoder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "odd [1] *dir::x"
    folder.mkdir()
    people.to_parquet(folder / "a[1]?.parquet")
    assert len(read(folder / "a[1]?.parquet", label="income", encoder=encoder)) == 6


def test_training_data_are_read_with_the_same_classes(people: pd.DataFrame, encoder: Path, tmp_path: Path) -> None:
    people.to_parquet(tmp_path / "test.parquet")
    people.assign(income="middle").to_parquet(tmp_path / "train.parquet")
    data = read(tmp_path / "test.parquet", train=tmp_path / "train.parquet", label="income", encoder=encoder)
    assert data.train is not None
    assert data.classes == data.train.classes == ("high", "low", "middle")
    assert data.train.labels.tolist() == [2] * 6
    assert (data.split, data.train.split) == ("test", "train")
    assert data.digest != data.train.digest


@pytest.mark.parametrize("names", [("{}_images", "{}_labels"), ("x_{}", "y_{}")])
def test_npz_splits(names: tuple[str, str], pixels: np.ndarray, tmp_path: Path) -> None:
    labels = np.arange(12) % 3
    arrays = {names[0].format(s): pixels[part] for s, part in [("train", slice(0, 8)), ("test", slice(8, 12))]}
    arrays |= {names[1].format(s): labels[part] for s, part in [("train", slice(0, 8)), ("test", slice(8, 12))]}
    np.savez(tmp_path / "d.npz", **arrays)
    label = names[1].removeprefix("{}_").removesuffix("_{}")
    for asked in (None, label, names[1].format("test")):
        data = read(tmp_path / "d.npz", train=tmp_path / "d.npz", label=asked)
        assert data.inputs.shape == (4, 1, 5, 4)
        assert data.train.inputs.shape == (8, 1, 5, 4)
        assert torch.equal(data.inputs[:, 0], torch.from_numpy(pixels[8:] / np.float32(255)))
        assert data.labels.tolist() == labels[8:].tolist()
        assert data.bounds == (0.0, 1.0)
        assert data.classes == ("0", "1", "2")


def test_npz_without_splits_holds_further_columns(pixels: np.ndarray, tmp_path: Path) -> None:
    site = np.array(["a", "b"] * 6)
    np.savez(tmp_path / "d.npz", images=pixels, labels=np.arange(12) % 2 == 0, site=site, note=np.zeros(3))
    data = read(tmp_path / "d.npz", protected=["site"])
    assert data.classes == ("0", "1") or data.classes == ("False", "True")
    assert data.labels.tolist() == [1, 0] * 6
    assert data.groups["site"].tolist() == site.tolist()


def test_npz_matrix_is_a_table(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(7, 3))
    np.savez(tmp_path / "d.npz", x=x, y=[0, 1, 0, 1, 0, 1, 1])
    data = read(tmp_path / "d.npz")
    assert [f.name for f in data.features] == ["x[0]", "x[1]", "x[2]"]
    assert torch.equal(data.inputs, torch.from_numpy(x.astype(np.float32)))


def colours(n: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (n, 5, 4, 3), dtype=np.uint8)


@pytest.mark.parametrize("splits", [False, True])
def test_image_folders(splits: bool, tmp_path: Path) -> None:
    images = colours(6)
    for i, image in enumerate(images):
        folder = tmp_path / (("test" if i < 4 else "train") if splits else "") / ("cat" if i % 2 else "ant")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{i}.png")
    data = read(tmp_path, train=tmp_path if splits else None)
    order = [0, 2, 1, 3] if splits else [0, 2, 4, 1, 3, 5]  # folders, then files, in order
    assert data.classes == ("ant", "cat")
    assert data.labels.tolist() == [i % 2 for i in order]
    assert torch.equal(data.inputs, torch.from_numpy(images[order].transpose(0, 3, 1, 2) / np.float32(255)))
    if splits:
        assert data.train is not None and data.train.labels.tolist() == [0, 1]


def test_saved_images_keep_the_class_names_of_their_data_set(tmp_path: Path) -> None:
    import datasets

    images = colours(3)
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["zebra", "ant", "owl"])}
    )
    table = datasets.Dataset.from_dict(
        {"image": [Image.fromarray(i) for i in images], "label": [0, 1, 0]}, features=features
    )
    table.save_to_disk(str(tmp_path / "d"))
    data = read(tmp_path / "d")
    assert data.classes == ("zebra", "ant", "owl")
    assert data.labels.tolist() == [0, 1, 0]
    assert torch.equal(data.inputs, torch.from_numpy(images.transpose(0, 3, 1, 2) / np.float32(255)))
    assert read(tmp_path / "d", classes=["ant", "owl", "zebra"]).labels.tolist() == [2, 0, 2]


def test_saved_images_are_never_fetched(tmp_path: Path) -> None:
    import datasets

    # the library itself embeds images when it saves; a folder made by hand need not
    rows = {"image": [{"bytes": b"", "path": "https://example.org/a.png"}], "label": [0]}
    datasets.Dataset.from_dict(rows).save_to_disk(str(tmp_path / "d"))
    info = json.loads((tmp_path / "d" / "dataset_info.json").read_text())
    info["features"]["image"] = {"_type": "Image"}
    (tmp_path / "d" / "dataset_info.json").write_text(json.dumps(info))
    with pytest.raises(DataError, match=r"https://example.org/a.png in row 0 of 'image'"):
        read(tmp_path / "d")


def test_texts_are_found_and_missing_ones_counted(tmp_path: Path) -> None:
    texts = [f"a film of many words number {i}" for i in range(9)] + [None]
    pd.DataFrame({"review": texts, "label": [0, 1] * 5}).to_json(tmp_path / "d", orient="records", lines=True)
    data = read(tmp_path / "d")
    assert data.modality is Modality.TEXT
    assert data.inputs == [*texts[:9], ""]
    assert data.missing["review"] == 1


class Payload:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.marker,)


def test_a_pickle_inside_an_npz_never_runs(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    objects = np.array([Payload(marker)], dtype=object)
    np.savez(tmp_path / "bad.npz", x=np.zeros((1, 2)), y=objects)
    with pytest.raises(DataError, match=r"'y'.*Python objects, which can run code"):
        read(tmp_path / "bad.npz")
    assert not marker.exists()
    pickle.loads(pickle.dumps(objects))
    assert marker.exists(), "the payload would have run"


def test_a_pickle_that_claims_to_be_data_never_runs(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    (tmp_path / "d.csv").write_bytes(pickle.dumps(Payload(marker)))
    with pytest.raises(DataError, match="pickles are never opened"):
        read(tmp_path / "d.csv", label="y")
    assert not marker.exists()


def damaged(form: str, people: pd.DataFrame, folder: Path) -> Path:
    path = folder / "damaged"
    buffer = io.BytesIO()
    if form == "empty":
        path.write_bytes(b"")
    elif form == "parquet":
        people.to_parquet(buffer)
        path.write_bytes(buffer.getvalue()[:300])
    elif form == "npz":
        np.savez(buffer, x=np.zeros((50, 9)), y=np.zeros(50))
        path.write_bytes(buffer.getvalue()[:900])
    elif form == "npz member":
        np.savez(buffer, x=np.random.default_rng(0).normal(size=(50, 9)), y=np.zeros(50))
        content = bytearray(buffer.getvalue())
        content[400:420] = b"\0" * 20  # the checksum no longer holds
        path.write_bytes(content)
    elif form == "gzip":
        path.write_bytes(gzip.compress(people.to_csv(index=False).encode())[:40])
    elif form == "jsonl":
        path.write_text('{"a": 1, "label": 0}\n{"a": 2, "la')
    elif form == "csv":
        path.write_text("a,label\n1,2\n3,4,5,6\n")
    elif form == "latin":
        path.write_bytes("name,label\nné,1\n".encode("latin-1"))
    elif form == "other zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("readme.txt", "nothing")
    elif form == "saved":
        path.mkdir()
        (path / "state.json").write_text("{")
    elif form == "folder":
        path.mkdir()
    return path


@pytest.mark.parametrize(
    "form",
    [
        "missing",
        "empty",
        "parquet",
        "npz",
        "npz member",
        "gzip",
        "jsonl",
        "csv",
        "latin",
        "other zip",
        "saved",
        "folder",
    ],
)
def test_damage_is_told_in_one_sentence(
    form: str, people: pd.DataFrame, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = damaged(form, people, tmp_path)
    with pytest.raises(DataError, match=r"^Expected [^\n]*, found [^\n]*[;.?]") as error:
        read(path, label="label")
    assert str(path) in str(error.value)
    assert error.value.__context__ is None or error.value.__suppress_context__
    assert capfd.readouterr() == ("", ""), "the libraries below keep quiet"


@pytest.mark.parametrize("form", ["parquet", "csv", "npz", "saved"])
def test_no_rows(form: str, people: pd.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "d"
    if form == "npz":
        np.savez(tmp_path / "d.npz", x=np.zeros((0, 3)), y=np.zeros(0))
        path = tmp_path / "d.npz"
    else:
        path = write(people.iloc[:0], form, tmp_path)
    with pytest.raises(DataError, match="found an empty data set"):
        read(path, label="income")


def test_a_wrong_path_names_its_neighbour(people: pd.DataFrame, tmp_path: Path) -> None:
    people.to_parquet(tmp_path / "people.parquet")
    with pytest.raises(DataError, match=r"did you mean 'people.parquet'\?"):
        read(tmp_path / "poeple.parquet")


def test_a_split_that_does_not_exist(pixels: np.ndarray, tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", train_images=pixels, train_labels=np.zeros(12))
    with pytest.raises(DataError, match=r"found only train"):
        read(tmp_path / "d.npz")


def test_images_of_two_sizes_are_named(tmp_path: Path) -> None:
    for name, size in [("a", (4, 5)), ("b", (6, 5))]:
        (tmp_path / name).mkdir()
        Image.new("L", size).save(tmp_path / name / "1.png")
    with pytest.raises(DataError, match=r"a/1.png of 4x5 and b/1.png of 6x5"):
        read(tmp_path)


def test_grey_images_join_coloured_ones(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    Image.new("L", (2, 2), 51).save(tmp_path / "a" / "1.png")
    Image.new("RGB", (2, 2), (255, 0, 0)).save(tmp_path / "a" / "2.png")
    data = read(tmp_path)
    assert data.inputs.shape == (2, 3, 2, 2)
    assert torch.allclose(data.inputs[0], torch.full((3, 2, 2), 0.2))


def test_a_damaged_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    with pytest.raises(DataError, match=r"a/1.png"):
        read(tmp_path)
