"""Rates by group where the counts are known."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from audit.checks.fairness.rates import Rates
from audit.datasets import Dataset
from audit.subject import Modality
from tests.checks.fairness.known_people import judge


def audited(predicted, labels, groups, classes, **more):
    """A model that answers as told, on rows whose input is their own number."""
    answers = torch.nn.functional.one_hot(torch.tensor(predicted), len(classes)).float()
    data = Dataset(
        inputs=torch.arange(len(labels)).float()[:, None],
        labels=torch.tensor(labels),
        classes=classes,
        modality=Modality.TABULAR,
        groups={name: np.array(values, dtype=object) for name, values in groups.items()},
        label="y",
        split="test",
        source="-",
        digest="0",
        **more,
    )
    return judge(answers, classes), data


def run(subject, data, **settings):
    return Rates(**settings).run(subject, data, np.random.default_rng(0))


def test_every_class_counts_where_there_are_more_than_two():
    labels = [0] * 10 + [1] * 10 + [2] * 10
    predicted = [0] * 10 + [1] * 5 + [2] * 5 + [2] * 8 + [0] * 2
    found = run(*audited(predicted, labels, {"g": ["a"] * 30}, ("x", "y", "z"))).estimates
    assert found["macro_true_positive_rate@g=a"].value == pytest.approx((1 + 0.5 + 0.8) / 3)
    assert found["worst_class_true_positive_rate@g=a"].value == pytest.approx(0.5)
    assert found["true_positive_rate@g=a"].value == pytest.approx(0.8)  # the last class against the rest
    two = run(*audited([0, 1], [0, 1], {"g": ["a", "b"]}, ("x", "y"))).estimates
    assert not any("worst_class" in name for name in two)


def test_a_rate_over_no_rows_is_undefined_and_says_so():
    found = run(*audited([0, 1, 0, 1], [0, 0, 1, 1], {"g": ["a", "a", "b", "b"]}, ("x", "y"))).estimates
    none = found["true_positive_rate@g=a"]
    assert none.value is None and none.reason and none.n == 0
    assert found["true_positive_rate@g=b"].value == 0.5


def test_small_groups_are_withheld_and_the_report_says_so():
    groups = {"g": ["a"] * 20 + ["b"] * 8 + ["c"] * 2}
    subject, data = audited([0, 1] * 15, [1] * 30, groups, ("x", "y"))
    shown, kept = run(subject, data), run(subject, replace(data, smallest_group=5))
    assert "selection_rate@g=c" in shown.estimates
    assert {n.partition("=")[2] for n in kept.estimates} == {"a", "others"}
    assert any("fewer than 5 rows" in note for note in kept.notes)
    assert not any("fewer than" in note for note in shown.notes)


def test_thousands_of_groups_are_counted_and_the_largest_listed():
    n = 6000
    groups = {"g": [f"g{i % 3000}" for i in range(n - 50)] + ["big"] * 50}
    measured = run(*audited([i % 2 for i in range(n)], [0] * n, groups, ("x", "y")), shown=10)
    assert len(measured.tables[0].rows) == 10
    assert "big" in [row[0] for row in measured.tables[0].rows]
    assert any("3,001 groups" in note for note in measured.notes)


def test_the_list_is_shared_between_many_attributes():
    n = 2000
    groups = {name: np.array([f"g{i % 50}" for i in range(n)], dtype=object) for name in ("a", "b", "c", "d")}
    measured = run(*audited([i % 2 for i in range(n)], [0] * n, groups, ("x", "y")))
    assert [len(table.rows) for table in measured.tables] == [8] * len(measured.tables)
    assert len(measured.model_dump_json()) < 200_000
