"""Counterfactuals of a linear model, whose nearest rows are known, and of groups that start from different places."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from audit.checks.explain.counterfactuals import Counterfactuals
from audit.datasets import Dataset, Feature, FeatureKind
from tests.checks.explain.known_models import Linear, numbers, people, subject

SMALL = {"rows": 80, "count": 2, "changes": 2, "width": 4}


def run(weights: list[float], data: Dataset, **more):
    return Counterfactuals(**SMALL | more).run(subject(Linear(weights)), data, np.random.default_rng(0))


def test_a_linear_model_is_crossed_along_its_steepest_column():
    rng = np.random.default_rng(0)
    data = numbers(rng.normal(size=(400, 3)))
    found = run([1.0, 3.0, 0.0], data)
    x = data.inputs.numpy()
    away = -(x @ [1.0, 3.0, 0.0])
    away = away[away > 0] / 3 / x[:, 1].std()
    assert found.estimates["actionable"].value == 1
    assert found.estimates["valid"].value == 1
    assert found.estimates["columns_changed"].value == 1
    assert found.estimates["distance"].low <= away.mean() <= found.estimates["distance"].high
    assert [bar.value for bar in found.figures[0].bars if bar.label == "x1"] == [1.0]


def test_the_group_that_starts_farther_away_has_farther_to_go():
    rng = np.random.default_rng(0)
    data = people(600, 0.5, rng)
    inputs = data.inputs.clone()
    inputs[:, 0] = 0.3 * inputs[:, 0] - inputs[:, 2]  # women stand one farther below
    found = run([1.0, 0.0, 0.0, 0.0], replace(data, inputs=inputs), rows=600)
    below = inputs[:, 0] <= 0
    women = inputs[:, 2] == 1
    away = -inputs[:, 0] / inputs[:, 0].std(correction=0)
    expected = float(away[below & women].mean() - away[below & ~women].mean())
    gap = found.estimates["distance_gap@sex=F"]
    assert gap.value == pytest.approx(expected, rel=0.02) and gap.low > 0
    assert found.estimates["distance_gap@sex=M"].value == pytest.approx(-gap.value)
    assert found.headline[-1] == "distance_gap@sex=F"


def test_nobody_has_to_change_the_group_he_belongs_to():
    rng = np.random.default_rng(0)
    data = people(300, 0.5, rng)
    # the sex decides, and the numbers do nothing
    found = run([0.0, 0.0, 2.0, -2.0], data)
    assert found.estimates["actionable"].value == 0
    assert found.estimates["distance"].value is None
    assert not found.tables or all("sex" not in str(row[2]) for row in found.tables[0].rows)
    assert any("never move: sex" in note for note in found.notes)


def test_immutable_columns_and_constraints_hold_in_the_examples():
    rng = np.random.default_rng(0)
    hours, years = rng.integers(10, 60, 300), rng.integers(0, 20, 300)
    inputs = torch.from_numpy(np.column_stack([(hours - 35) / 10, (years - 10) / 5])).float()
    features = (
        Feature("hours", FeatureKind.NUMERIC, (0,), 35.0, 10.0),
        Feature("years", FeatureKind.NUMERIC, (1,), 10.0, 5.0, mutable=False),
    )
    data = replace(numbers(np.zeros((300, 2))), inputs=inputs, features=features, constraints=("hours <= years + 40",))
    found = run([1.0, 0.5], data)
    assert found.tables
    for example, answer, change, distance in found.tables[0].rows:
        name, before, arrow, after = str(change).split()
        assert (name, arrow, answer) == ("hours", "→", "yes") and int(after) > int(before)
        assert distance == pytest.approx((int(after) - int(before)) / hours.std(), rel=1e-2)
        assert isinstance(example, int)
    assert any("hours <= years + 40" in note for note in found.notes)
    assert found.estimates["actionable"].value < 1  # some may not work more than the constraint allows


def test_every_row_has_a_second_answer_where_none_is_favourable():
    rng = np.random.default_rng(0)
    data = replace(numbers(rng.normal(size=(100, 2))), favourable=None)
    found = run([1.0, 1.0], data)
    assert found.estimates["actionable"].n == 80
    assert {row[1] for row in found.tables[0].rows} == {"yes", "no"}


def test_nothing_to_explain_and_nothing_to_change():
    rng = np.random.default_rng(0)
    data = numbers(np.abs(rng.normal(size=(30, 2))) + 0.1)
    found = run([1.0, 1.0], data)
    assert found.estimates["actionable"].value is None
    fixed = replace(data, features=tuple(replace(f, mutable=False) for f in data.features))
    assert "no column may change" in Counterfactuals().skip_reason(subject(Linear([1.0, 1.0])), fixed)
    picture = numbers(rng.normal(size=(3, 1, 4, 4)))
    assert Counterfactuals().skip_reason(subject(Linear([1.0] * 16), picture.modality), picture)


def test_gaps_of_many_groups_hold_together():
    """The headline is the group that most surely has farther to go, which chance would else make of many."""
    farther = 0
    for seed in range(24):
        rng = np.random.default_rng(seed)
        data = people(240, 0.5, rng)
        clubs = np.array(list("abcdefgh"), dtype=object)[rng.integers(0, 8, 240)]
        found = run([1.0, 1.0, 0.0, 0.0], replace(data, groups={"club": clubs}), rows=240)
        gap = found.estimates[found.headline[-1]]
        assert gap.method == "Newcombe 95 %, 8 together"
        farther += gap.low > 0
    assert farther <= stats.binom.ppf(0.99, 24, 0.025)


def test_an_attribute_of_many_values_does_not_blur_another():
    rng = np.random.default_rng(0)
    data = people(300, 0.5, rng)
    many = np.arange(300).astype(object) // 3
    alone, beside = (
        run([1.0, 1.0, 0.0, 0.0], replace(data, groups=groups), rows=300).estimates["distance_gap@sex=F"]
        for groups in ({"sex": data.groups["sex"]}, {"sex": data.groups["sex"], "many": many})
    )
    assert beside == alone
