"""Several classes: one against the rest, their average and the worst of them."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sklearn

from audit.errors import DataError
from audit.fairness import Cube
from audit.fairness.counting import rates

RNG = np.random.default_rng(0)
TRUE, PREDICTED, GROUPS = RNG.choice(list("xyz"), 900), RNG.choice(list("xyz"), 900), RNG.integers(0, 3, 900)
CUBE = Cube.count(TRUE, PREDICTED, GROUPS)


@pytest.mark.parametrize("name", rates.NAMES)
@pytest.mark.parametrize("value", list("xyz"))
def test_against_counts_one_class_against_the_rest(name, value):
    expected = Cube.count(value == TRUE, value == PREDICTED, GROUPS, weights=None)
    found = CUBE.against(value)
    assert found.classes[1] == value
    assert rates.values(found, name) == pytest.approx(rates.values(expected, name), abs=1e-12)
    assert (found.rows == expected.rows).all()
    assert (found.squares == expected.squares).all()


def test_against_one_of_two_classes_keeps_both():
    cube = Cube.count([0, 0, 1], [0, 1, 1], ["a"] * 3)
    assert cube.positive == 1
    assert cube.against(0).classes == (0, 1)
    assert cube.against(0).rate("selection_rate")["a"].value == pytest.approx(1 / 3)
    with pytest.raises(DataError, match="to be a class, found 2"):
        cube.against(2)


PEERS = {
    "true_positive_rate": lambda t, p: sklearn.recall_score(t, p, average="macro"),
    "positive_predictive_value": lambda t, p: sklearn.precision_score(t, p, average="macro"),
    "f1": lambda t, p: sklearn.f1_score(t, p, average="macro"),
}


@pytest.mark.parametrize("name", PEERS)
def test_macro_averages_equal_scikit_learns(name):
    for group, estimate in CUBE.macro(name).items():
        own = group == GROUPS
        assert estimate.value == pytest.approx(PEERS[name](TRUE[own], PREDICTED[own]), abs=1e-12)
        assert estimate.low < estimate.value < estimate.high


def test_the_worst_class_is_named():
    true = np.repeat(["x", "y", "z"], 100)
    predicted = np.r_[np.repeat("x", 100), np.repeat(["y", "x"], [60, 40]), np.repeat("z", 100)]
    cube = Cube.count(true, predicted, ["all"] * 300)
    at, rate = cube.worst("true_positive_rate")["all"]
    assert (at, rate.value) == ("y", 0.6)
    at, rate = cube.worst("false_positive_rate")["all"]
    assert (at, rate.value) == ("x", 0.2)
    assert rate.low < 0.2 < rate.high


def test_a_class_without_rows_is_undefined_in_the_mean_and_counted_in_the_worst():
    cube = Cube.count(["x", "y", "y"], ["x", "y", "x"], ["a"] * 3, classes=["x", "y", "z"])
    assert cube.macro("true_positive_rate")["a"].reason == "no rows to take the true positive rate of class 'z' over"
    at, rate = cube.worst("true_positive_rate")["a"]
    assert (at, rate.value) == ("y", 0.5)
    assert "1 of them without rows" in rate.method
    empty = Cube.count(["x"], ["x"], ["a"], classes=["x", "y"]).against("y").worst("positive_predictive_value")
    assert empty["a"][1].value == 1.0


def test_the_worst_classs_interval_holds_although_it_was_chosen():
    rng = np.random.default_rng(5)
    covered, share = 0, np.array([0.6, 0.6, 0.6, 0.6])
    for _ in range(300):
        true = np.repeat(np.arange(4), 60)
        right = rng.random(240) < share[true]
        cube = Cube.count(true, np.where(right, true, (true + 1) % 4), np.zeros(240, int))
        rate = cube.worst("true_positive_rate")[0][1]
        covered += rate.low <= 0.6 <= rate.high
    assert covered >= 277  # 95 % of 300 is 285; fewer than 277 has probability 0.01 at exactly 95 %
