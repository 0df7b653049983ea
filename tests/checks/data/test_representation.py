"""Shares, base rates and the smallest group."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from audit.checks.data.representation import Representation
from audit.datasets import Dataset
from audit.statistics import proportion
from audit.subject import Subject

RNG = np.random.default_rng(0)


def data(table: Callable[..., Dataset], sex: list[object], race: list[object], labels: list[int]) -> Dataset:
    groups = {"sex": np.array(sex, dtype=object), "race": np.array(race, dtype=object)}
    return table(pd.DataFrame({"x": np.arange(len(labels), dtype=float), "y": labels}), groups=groups, favourable=0)


def test_counts(table: Callable[..., Dataset], subject: Subject) -> None:
    sex = ["f"] * 30 + ["m"] * 60 + [None] * 10
    race = [1, 2] * 50
    labels = [0] * 15 + [1] * 15 + [0] * 60 + [1] * 10
    test = data(table, sex, race, labels)
    train = data(table, ["m"] * 100, race, labels)
    measured = Representation().run(subject, replace(test, train=train), RNG)
    found = measured.estimates
    assert found["share@sex=f"] == proportion(30, 100)
    assert found["share@sex=missing"] == proportion(10, 100)
    assert found["base_rate@sex=f"].value == 0.5  # class 0 is the favourable one
    assert found["base_rate@sex=m"].value == 1.0
    assert found["smallest_group@sex"].value == 10
    assert found["base_rate_gap@sex"].value == pytest.approx(1.0)
    assert found["share_gap@sex=f"].value == pytest.approx(0.30)
    assert found["share_gap@sex=m"].value == pytest.approx(-0.40)
    assert found["smallest_group@sex x race"].value == 5
    assert found["share@sex x race=f x 1"].value == 0.15
    assert len(measured.tables) == len(measured.figures) == 3
    singles = Representation(depth=1).run(subject, test, RNG)
    assert not any("x race" in name for name in singles.estimates)
    assert len(singles.tables) == 2


def test_only_the_smallest_of_many_groups_are_listed(table: Callable[..., Dataset], subject: Subject) -> None:
    sizes = [i + 1 for i in range(12)]
    values = [f"g{i}" for i, n in enumerate(sizes) for _ in range(n)]
    test = data(table, values, values, [0, 1] * 39)
    measured = Representation(depth=1, shown=3).run(subject, test, RNG)
    assert [row[0] for row in measured.tables[0].rows] == ["g2", "g1", "g0"]
    assert any("3 smallest are listed" in note for note in measured.notes)


def test_skipped_without_groups(table: Callable[..., Dataset], subject: Subject) -> None:
    test = table(pd.DataFrame({"x": [1.0, 2.0], "y": [0, 1]}))
    assert "no protected attribute" in str(Representation().skip_reason(subject, test))
