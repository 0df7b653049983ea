"""Class shares, ratio and entropy against closed forms."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from audit.checks.data.balance import Balance
from audit.datasets import Dataset
from audit.subject import Subject


def run(
    labels: list[int], table: Callable[..., Dataset], subject: Subject, classes: tuple[str, ...]
) -> dict[str, object]:
    data = table(pd.DataFrame({"x": np.arange(len(labels), dtype=float), "y": labels}), classes=classes)
    return dict(Balance(resamples=200).run(subject, data, np.random.default_rng(0)).estimates)


def test_closed_forms(table: Callable[..., Dataset], subject: Subject) -> None:
    found = run([0] * 60 + [1] * 30 + [2] * 10, table, subject, ("a", "b", "c"))
    p = np.array([0.6, 0.3, 0.1])
    assert found["imbalance_ratio@test"].value == 6
    assert found["normalised_entropy@test"].value == pytest.approx(-(p * np.log(p)).sum() / np.log(3))
    assert found["share@class=b"].value == 0.3
    for estimate in found.values():
        assert estimate.low < estimate.value < estimate.high


def test_extremes(table: Callable[..., Dataset], subject: Subject) -> None:
    even = run([0, 1] * 20, table, subject, ("a", "b"))
    assert even["normalised_entropy@test"].value == pytest.approx(1)
    assert even["imbalance_ratio@test"].value == 1
    lone = run([0] * 20, table, subject, ("a", "b"))
    assert lone["normalised_entropy@test"].value == 0
    assert lone["imbalance_ratio@test"].reason == "1 of 2 classes have no rows"
    single = run([0] * 20, table, subject, ("a",))
    assert single["normalised_entropy@test"].reason == "needs at least 2 classes, found 1"
