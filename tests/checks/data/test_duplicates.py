"""Planted twins and leaks are found, and nothing else."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from audit.checks.data.duplicates import Duplicates
from audit.datasets import Dataset
from audit.subject import Modality, Subject
from reports.record import Images, Measured


def run(data: Dataset, subject: Subject, **options: int) -> Measured:
    return Duplicates(**options).run(subject, data, np.random.default_rng(0))


def people(n: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    numbers = {f"x{i}": rng.normal(size=n) for i in range(6)}
    return pd.DataFrame({**numbers, "c": rng.choice(["u", "v"], n), "y": rng.integers(0, 2, n)})


def test_a_table(table: Callable[..., Dataset], subject: Subject) -> None:
    train, test = people(400, 0), people(100, 1)
    numbers = [f"x{i}" for i in range(6)]
    test.loc[0:9] = train.loc[0:9].to_numpy()  # ten rows leak whole
    test.loc[10:14, [*numbers, "c"]] = train.loc[10:14, [*numbers, "c"]].to_numpy()
    test.loc[10:14, "y"] = 1 - train.loc[10:14, "y"].to_numpy(dtype=int)  # five with the other label
    test.loc[15:22, "c"] = train.loc[15:22, "c"].to_numpy()  # eight nearly
    test.loc[15:22, numbers] = train.loc[15:22, numbers].to_numpy() + 0.01
    test.loc[23:30, numbers] = train.loc[23:30, numbers].to_numpy()  # the same numbers, another category: no twins
    test.loc[23:30, "c"] = np.where(train.loc[23:30, "c"] == "u", "v", "u")
    test.loc[98:99, [*numbers, "c"]] = test.loc[97, [*numbers, "c"]].to_numpy()  # three alike, labels 0, 1, 1
    test.loc[97:99, "y"] = [0, 1, 1]
    test[numbers] = test[numbers].astype(float)
    test["y"] = test["y"].astype(int)
    categories = {"c": ["u", "v"]}
    measured = run(replace(table(test, categories), train=table(train, categories)), subject)
    found = {name: e.value for name, e in measured.estimates.items()}
    assert found == {
        "exact_leakage": 0.15,
        "near_leakage": 0.23,
        "record_leakage": 0.10,
        "excess_leakage@exact": pytest.approx(0.15),
        "excess_leakage@near": pytest.approx(0.23),
        "exact_duplicates@test": 0.03,
        "near_duplicates@test": 0.03,
        "conflicts@test": 0.03,
        "exact_duplicates@train": 0.0,
        "near_duplicates@train": 0.0,
        "conflicts@train": 0.0,
    }
    pairs = [(row[0], row[1], row[2]) for row in measured.tables[0].rows]
    assert pairs == [(i, i, "exact") for i in range(10)]
    shown = run(replace(table(test, categories), train=table(train, categories)), subject, shown=30).tables[0].rows
    assert {(row[0], row[1]) for row in shown} == {(i, i) for i in range(23)}
    assert shown[10][3] != shown[10][4], "the label differs"


def test_coincidence_is_no_excess(table: Callable[..., Dataset], subject: Subject) -> None:
    rng = np.random.default_rng(3)
    pool = pd.DataFrame({"x": rng.integers(0, 40, 3000) / 1.0, "z": rng.integers(0, 40, 3000) / 1.0, "y": 0})
    test, train = table(pool[:1000].reset_index(drop=True)), table(pool[1000:].reset_index(drop=True))
    found = run(replace(test, train=train), subject).estimates
    assert found["exact_leakage"].value > 0.5  # few distinct rows: twins by chance
    excess = found["excess_leakage@exact"]
    assert excess.low < 0 < excess.high
    leaked = table(pd.concat([pool[:500], pool[1500:2000]], ignore_index=True))
    assert run(replace(leaked, train=train), subject).estimates["excess_leakage@exact"].low > 0.05


def test_texts(make: Callable[..., Dataset], subject: Subject) -> None:
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcdefghij"), 6)) for _ in range(300)]
    train = [" ".join(rng.choice(words, 15)) for _ in range(120)]
    test = [" ".join(rng.choice(words, 15)) for _ in range(40)]
    test[0] = train[5].upper().replace(" ", "  ")  # the same up to case and spaces
    test[1] = train[6] + " more"  # nearly the same
    test[2] = " ".join(train[7].split()[:7])  # half of it: no twin
    train[8] = train[9]
    data = make(test, [0, 1] * 20, Modality.TEXT, train=make(train, [0, 1] * 60, Modality.TEXT))
    measured = run(data, subject)
    found = {name: e.value for name, e in measured.estimates.items()}
    assert (found["exact_leakage"], found["near_leakage"]) == (1 / 40, 2 / 40)
    assert (found["exact_duplicates@train"], found["conflicts@train"]) == (2 / 120, 2 / 120)
    assert found["exact_duplicates@test"] == 0
    assert "record_leakage" not in found
    assert [(r[0], r[1]) for r in measured.tables[0].rows] == [(0, 5), (1, 6)]


def test_images(make: Callable[..., Dataset], subject: Subject) -> None:
    generator = torch.Generator().manual_seed(0)
    train = torch.rand(80, 1, 28, 28, generator=generator)
    test = torch.rand(20, 1, 28, 28, generator=generator)
    test[0] = train[3]
    test[1] = (0.6 * train[4] + 0.1).clamp(0, 1)  # darker and flatter
    data = make(test, [0] * 20, Modality.IMAGE, train=make(train, [0] * 80, Modality.IMAGE), bounds=(0.0, 1.0))
    measured = run(data, subject)
    assert measured.estimates["exact_leakage"].value == 1 / 20
    assert measured.estimates["near_leakage"].value == 2 / 20
    pictures = [f for f in measured.figures if isinstance(f, Images)]
    assert [p.caption for p in pictures[0].panels] == ["row 0 (exact)", "twin 3", "row 1 (1.000)", "twin 4"]


def test_without_training_data_no_leakage_is_claimed(make: Callable[..., Dataset], subject: Subject) -> None:
    data = make(["one text here", "one text here", "another one"], [0, 1, 0], Modality.TEXT)
    measured = run(data, subject)
    assert not any("leakage" in name for name in measured.estimates)
    assert any("leakage could not be looked for" in note for note in measured.notes)
    assert measured.estimates["exact_duplicates@test"].value == 2 / 3
    assert measured.estimates["conflicts@test"].value == 2 / 3
    assert [(r[0], r[1]) for r in measured.tables[0].rows] == [(1, 0)]


def test_samples_are_told(make: Callable[..., Dataset], subject: Subject) -> None:
    texts = [f"this is the text number {i * 7919}" for i in range(60)]
    data = make(texts, [0, 1] * 30, Modality.TEXT, train=make(texts, [0, 1] * 30, Modality.TEXT))
    measured = run(data, subject, queries=20, references=30)
    assert measured.estimates["exact_leakage"].value == 1.0  # exact twins are sought for all rows
    assert measured.estimates["near_leakage"].n == 20
    assert any("20 of 60 rows" in note for note in measured.notes)
    assert any("30 of 60 distinct train rows" in note for note in measured.notes)
    cut = run(data, subject, characters=10)
    assert any("first 10 characters; 60 test texts are longer" in note for note in cut.notes)


def test_negative_zero_is_zero(table: Callable[..., Dataset], subject: Subject) -> None:
    data = table(pd.DataFrame({"x": [0.0, -0.0, 5.0], "y": [0, 0, 1]}))
    assert run(data, subject).estimates["exact_duplicates@test"].value == 2 / 3
