"""The cube against plain counting, fairlearn, and the error rates it promises."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from fairlearn import metrics as fairlearn
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score

from audit.errors import DataError
from audit.fairness import RATES, Cube
from reports.record import Outcome

PEERS = {
    "selection_rate": fairlearn.selection_rate,
    "true_positive_rate": fairlearn.true_positive_rate,
    "false_positive_rate": fairlearn.false_positive_rate,
    "true_negative_rate": fairlearn.true_negative_rate,
    "false_negative_rate": fairlearn.false_negative_rate,
    "accuracy": accuracy_score,
}


@pytest.fixture
def rows() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.integers(0, 2, 4000), rng.integers(0, 2, 4000), rng.choice(["a", "b", "c", "d"], 4000)


@pytest.mark.parametrize("name", PEERS)
def test_rates_equal_fairlearns(rows, name):
    true, predicted, groups = rows
    peer = fairlearn.MetricFrame(
        metrics=PEERS[name], y_true=true, y_pred=predicted, sensitive_features=groups
    ).by_group.to_dict()
    ours = Cube.count(true, predicted, groups).rate(name)
    assert {k: e.value for k, e in ours.items()} == pytest.approx(peer, abs=1e-12)


@pytest.mark.parametrize("kind", ["difference", "ratio"])
def test_disparities_equal_fairlearns(rows, kind):
    true, predicted, groups = rows
    frame = fairlearn.MetricFrame(
        metrics=fairlearn.selection_rate, y_true=true, y_pred=predicted, sensitive_features=groups
    )
    peer = frame.difference() if kind == "difference" else frame.ratio()
    assert Cube.count(true, predicted, groups).disparity("selection_rate", kind).value == pytest.approx(peer, abs=1e-12)


def test_zero_over_zero_is_undefined_with_a_reason():
    rate = Cube.count([0, 0, 1], [0, 1, 1], ["a", "a", "b"]).rate("true_positive_rate")
    assert rate["a"].value is None
    assert "no rows" in rate["a"].reason
    assert rate["b"].value == 1.0


def test_keys_keep_their_type_and_missing_values_are_a_group():
    cube = Cube.count([0] * 6, [0] * 6, [True, "1", 1.0, 1, None, float("nan")])
    # equal numbers are one key, as they are in a dictionary of rates
    assert [type(k) for k in cube.groups] == [int, str, type(None)]
    assert cube.counts.sum((1, 2)).tolist() == [3, 1, 2]
    assert [e.n for e in cube.rate("accuracy").values()] == [3, 1, 2]


def test_several_attributes_make_tuple_keys():
    cube = Cube.count([0, 1, 1], [0, 1, 0], pd.DataFrame({"sex": ["F", "M", "F"], "age": [1, 1, 2]}))
    assert cube.groups == (("F", 1), ("F", 2), ("M", 1))


def test_a_declared_category_without_rows_appears_and_stops_a_pass():
    groups = pd.Series(pd.Categorical(["a", "b"] * 5000, categories=["a", "b", "c"]))
    cube = Cube.count([1, 0] * 5000, [1, 1] * 5000, groups)
    assert cube.rate("selection_rate")["c"].value is None
    assert cube.test("selection_rate", margin=0.5).outcome is Outcome.INSUFFICIENT


def test_weights_are_relative():
    rng = np.random.default_rng(1)
    true, predicted, groups, w = rng.integers(0, 2, 99), rng.integers(0, 2, 99), rng.integers(0, 3, 99), rng.random(99)
    one, ten = (Cube.count(true, predicted, groups, weights=k * w).rate("selection_rate") for k in (1, 10))
    for key in one:
        assert one[key].model_dump() == pytest.approx(ten[key].model_dump())
    # Kish: unequal weights are worth fewer rows
    assert one[0].n < (groups == 0).sum()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 3)), min_size=1, max_size=60))
def test_every_rate_equals_plain_counting(rows):
    true, predicted, groups = (np.array(column) for column in zip(*rows, strict=True))
    cube = Cube.count(true, predicted, groups, classes=[0, 1, 2], positive=1)
    for name, cells in RATES.items():
        for key, estimate in cube.rate(name).items():
            given_rows = groups == key
            hit = np.ones(len(rows), dtype=bool)
            for values, g, h in (
                (true, cells.given_true, cells.hit_true),
                (predicted, cells.given_predicted, cells.hit_predicted),
            ):
                side = {None: np.ones(len(rows), bool), "positive": values == 1, "negative": values != 1}
                given_rows, hit = given_rows & side[g], hit & side[h]
            if given_rows.sum() == 0:
                assert estimate.value is None
            else:
                assert estimate.value == pytest.approx(hit[given_rows].mean())


@pytest.mark.parametrize("groups", [2, 5, 20])
def test_no_difference_is_called_bias_only_as_often_as_promised(groups):
    rng = np.random.default_rng(groups)
    group = np.repeat(np.arange(groups), 200)
    runs = 200
    alarms = 0
    for _ in range(runs):
        answer = (rng.random(len(group)) < 0.3).astype(int)
        alarms += Cube.count(answer, answer, group).test("selection_rate", margin=0.0).outcome is Outcome.FAIL
    # 5 % of 200 is 10; 21 is exceeded with probability 0.0005
    assert alarms <= 21


def test_a_real_difference_is_found():
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(20), 200)
    rate = np.where(group == 7, 0.5, 0.3)
    found = 0
    for _ in range(60):
        answer = (rng.random(len(group)) < rate).astype(int)
        found += Cube.count(answer, answer, group).test("selection_rate", margin=0.0).outcome is Outcome.FAIL
    assert found >= 55


def test_the_disparity_interval_covers_the_true_largest_difference():
    rng = np.random.default_rng(3)
    rates = np.array([0.3, 0.35, 0.42, 0.5])
    group = np.repeat(np.arange(4), 150)
    covered = {"difference": 0, "ratio": 0}
    truth = {"difference": 0.2, "ratio": 0.6}
    for _ in range(200):
        answer = (rng.random(len(group)) < rates[group]).astype(int)
        cube = Cube.count(answer, answer, group)
        for kind in covered:
            e = cube.disparity("selection_rate", kind)
            covered[kind] += e.low <= truth[kind] <= e.high
    assert min(covered.values()) >= 184


def test_pass_needs_an_interval_within_the_margin():
    true = np.tile([0, 1], 5000)
    groups = np.repeat(["a", "b"], 5000)
    assert Cube.count(true, true, groups).test("selection_rate", margin=0.1).outcome is Outcome.PASS
    assert Cube.count(true[:20], true[:20], np.tile(["a", "b"], 10)).test("accuracy", margin=0.1).outcome is (
        Outcome.INSUFFICIENT
    )


def test_a_reference_group_limits_the_comparisons():
    answer = np.r_[np.repeat([0, 1], [90, 10]), np.repeat([0, 1], [50, 50]), np.repeat([0, 1], [10, 90])]
    cube = Cube.count(answer, answer, np.repeat(["a", "b", "c"], 100))
    assert cube.disparity("selection_rate").value == pytest.approx(0.8)
    assert cube.disparity("selection_rate", reference="b").value == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0, 1], [0.2, 0.7], ["a", "b"], None, [0, 1]), "try passing classes, not scores"),
        (([0, 1], [0], ["a", "b"]), "one length"),
        (([0, 1], [0, 1], ["a"]), "one group value a row"),
        (([0, 1], [0, 1], ["a", "b"], [1, -1]), "weights"),
        (([0, 1], [0, 1], ["a", "b"], [1, float("nan")]), "weights"),
        (([], [], []), "at least one row"),
        (([0, 3], [0, 1], ["a", "b"], None, [0, 1]), "found 3 in row 1"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(arguments, message):
    with pytest.raises(DataError, match=message):
        Cube.count(*arguments)


def test_an_unknown_rate_offers_the_nearest():
    with pytest.raises(DataError, match="did you mean 'selection_rate'"):
        Cube.count([0], [0], ["a"]).rate("selektion_rate")
