"""Drift is seen where it was planted, and only there."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from audit.checks.data.split import Split, _area
from audit.datasets import Dataset
from audit.subject import Modality, Subject
from reports.record import Measured

FAST = Split(rows=1500, trees=15, resamples=100)


def run(test: Dataset, train: Dataset, subject: Subject, seed: int = 0, check: Split = FAST) -> Measured:
    return check.run(subject, replace(test, train=train), np.random.default_rng(seed))


def rows(n: int, seed: int, shift: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    numbers = {f"x{i}": rng.normal(size=n) for i in range(5)}
    numbers["x3"] += shift
    return pd.DataFrame({**numbers, "y": rng.integers(0, 2, n)})


def test_the_area_agrees_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    scores, truth = rng.integers(0, 5, 200) / 4, rng.integers(0, 2, 200)
    assert _area(scores, truth) == pytest.approx(roc_auc_score(truth, scores))
    assert np.isnan(_area(scores, np.zeros(200, dtype=np.int64)))


def test_same_source(table: Callable[..., Dataset], subject: Subject) -> None:
    inside = 0
    for seed in range(12):
        auc = run(table(rows(400, 2 * seed)), table(rows(400, 2 * seed + 1)), subject, seed).estimates["auc"]
        inside += auc.low <= 0.5 <= auc.high
    assert inside >= 9  # 95 % of 12; fewer than 9 has a probability of 0.0002


def test_shift_of_one_column(table: Callable[..., Dataset], subject: Subject) -> None:
    measured = run(table(rows(3000, 0, shift=1.5)), table(rows(3000, 1)), subject)
    auc = measured.estimates["auc"]
    # two unit normals 1.5 apart: no classifier can do better than this
    assert norm.cdf(1.5 / np.sqrt(2)) == pytest.approx(auc.value, abs=0.04)
    assert auc.low > 0.5
    name, shift = measured.tables[1].rows[0]
    assert name == "x3"
    pooled = np.sqrt(1 + 1.5**2 / 4)
    assert shift.low < 1.5 / pooled < shift.high


def test_drifted_classes(table: Callable[..., Dataset], subject: Subject) -> None:
    test = rows(500, 0).assign(y=[0] * 400 + [1] * 100)
    found = run(table(test), table(rows(500, 1).assign(y=[0, 1] * 250)), subject).estimates
    assert found["class_share_gap@class=a"].value == pytest.approx(0.3)
    assert found["class_share_gap@class=b"].high < 0


def test_texts(make: Callable[..., Dataset], subject: Subject) -> None:
    rng = np.random.default_rng(0)

    def texts(n: int, word: str) -> Dataset:
        drawn = [" ".join(rng.choice(["a", "b", "c", "d"], 6)) for _ in range(n)]
        return make([f"{t} {word}" for t in drawn[:-1]] + [""], [0, 1] * (n // 2), Modality.TEXT)

    drifted = run(texts(300, "new"), texts(300, "old"), subject).estimates["auc"]
    assert drifted.value > 0.98
    same = run(texts(300, "new"), texts(300, "new"), subject).estimates["auc"]
    assert same.low <= 0.5 <= same.high


def test_images(make: Callable[..., Dataset], subject: Subject) -> None:
    generator = torch.Generator().manual_seed(0)
    dark, light = (torch.rand(200, 1, 12, 12, generator=generator) * 0.5 + b for b in (0.0, 0.1))
    measured = run(make(light, [0, 1] * 100, Modality.IMAGE), make(dark, [0, 1] * 100, Modality.IMAGE), subject)
    assert measured.estimates["auc"].value > 0.95
    assert measured.tables[1].rows[0][0] == "brightness"
    assert measured.tables[1].rows[0][1].value > 0


def test_too_few_rows_and_no_training_data(table: Callable[..., Dataset], subject: Subject) -> None:
    few = run(table(rows(19, 0)), table(rows(300, 1)), subject)
    assert few.estimates["auc"].reason == "needs at least 20 rows of each split, found 19"
    assert "no training data" in str(FAST.skip_reason(subject, table(rows(19, 0))))


def test_equal_seeds_give_equal_numbers(table: Callable[..., Dataset], subject: Subject) -> None:
    test, train = table(rows(200, 0)), table(rows(200, 1))
    assert run(test, train, subject, 5) == run(test, train, subject, 5)
