"""Rates against fairlearn and scikit-learn, their gradients against differences, and what they refuse."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
from fairlearn import metrics as fairlearn
from sklearn import metrics as sklearn

from audit.errors import DataError
from audit.fairness import Cube
from audit.fairness.counting import rates

PEERS = {
    "selection_rate": fairlearn.selection_rate,
    "base_rate": lambda t, p, sample_weight: fairlearn.selection_rate(p, t, sample_weight=sample_weight),
    "true_positive_rate": fairlearn.true_positive_rate,
    "false_negative_rate": fairlearn.false_negative_rate,
    "false_positive_rate": fairlearn.false_positive_rate,
    "true_negative_rate": fairlearn.true_negative_rate,
    "positive_predictive_value": sklearn.precision_score,
    "negative_predictive_value": lambda t, p, sample_weight: sklearn.precision_score(
        t, p, pos_label=0, sample_weight=sample_weight
    ),
    "false_discovery_rate": lambda t, p, sample_weight: 1 - sklearn.precision_score(t, p, sample_weight=sample_weight),
    "false_omission_rate": lambda t, p, sample_weight: (
        1 - sklearn.precision_score(t, p, pos_label=0, sample_weight=sample_weight)
    ),
    "accuracy": sklearn.accuracy_score,
    "error_rate": sklearn.zero_one_loss,
    "balanced_accuracy": sklearn.balanced_accuracy_score,
    "f1": sklearn.f1_score,
}


def rows(seed: int, n: int = 3000):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 2, n), rng.integers(0, 2, n), rng.choice(["a", "b", "c", "d"], n), rng.random(n)


def test_every_rate_has_a_peer():
    assert set(PEERS) == set(rates.NAMES)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", PEERS)
def test_rates_equal_fairlearn_and_scikit_learn(name, weighted):
    true, predicted, groups, w = rows(3)
    w = w if weighted else np.ones(len(w))
    frame = fairlearn.MetricFrame(
        metrics=PEERS[name],
        y_true=true,
        y_pred=predicted,
        sensitive_features=groups,
        sample_params={"sample_weight": w},
    )
    cube = Cube.count(true, predicted, groups, weights=w if weighted else None)
    ours = dict(zip(cube.groups, rates.values(cube, name), strict=True))
    assert ours == pytest.approx(frame.by_group.to_dict(), abs=1e-12)
    assert {k: e.value for k, e in cube.rate(name).items()} == pytest.approx(ours, abs=1e-12)
    assert rates.values(cube.overall(), name)[0] == pytest.approx(frame.overall, abs=1e-12)


@pytest.mark.parametrize("seed", range(20))
def test_rates_of_tiny_groups_equal_the_peers_where_these_are_defined(seed):
    rng = np.random.default_rng(seed)
    true, predicted = rng.integers(0, 2, 4), rng.integers(0, 2, 4)
    cube = Cube.count(true, predicted, [0] * 4, classes=(0, 1))
    for name in rates.NAMES:
        value = rates.values(cube, name)[0]
        if np.isnan(value):
            assert any(cube.counts[0][part.given].sum() == 0 for part in rates.parts(cube, name))
            assert cube.rate(name)[0].reason.startswith("no rows")
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            peer = PEERS[name](true, predicted, sample_weight=np.ones(4))
        assert value == pytest.approx(peer, abs=1e-12), name


@pytest.mark.parametrize("name", rates.NAMES)
def test_gradients_are_derivatives(name):
    rng = np.random.default_rng(7)
    true, predicted, w = rng.integers(0, 3, 200), rng.integers(0, 3, 200), rng.random(200)
    cube = Cube.count(true, predicted, rng.integers(0, 2, 200), weights=w)
    found, step = rates.gradient(cube, name), 1e-5
    for i in range(3):
        for j in range(3):
            up, down = cube.counts.copy(), cube.counts.copy()
            up[:, i, j] += step
            down[:, i, j] -= step
            slope = rates.values(replace(cube, counts=up), name) - rates.values(replace(cube, counts=down), name)
            assert found[:, i, j] == pytest.approx(slope / (2 * step), abs=1e-7)


def test_proportions_say_what_they_rest_on():
    cube = Cube.count([0, 1, 1, 1], [1, 1, 0, 1], list("aabb"), weights=[1, 2, 1, 3])
    found = cube.proportions("true_positive_rate")
    assert found.value.tolist() == [1, 0.75]
    assert found.hits.tolist() == [2, 3]
    assert found.total.tolist() == [2, 4]
    assert found.effective.tolist() == [1, 1.6]
    assert np.isnan(cube.proportions("false_positive_rate").value[1])
    assert cube.proportions("false_positive_rate").effective[1] == 0
    for name in ("balanced_accuracy", "f1"):
        with pytest.raises(DataError, match="one proportion of rows"):
            cube.proportions(name)
    with pytest.raises(DataError, match="did you mean 'false_omission_rate'"):
        cube.proportions("false_omision_rate")


def test_a_rate_and_its_complement_add_to_one():
    true, predicted, groups, w = rows(5)
    cube = Cube.count(true, predicted, groups, w)
    for one, other in (
        ("true_positive_rate", "false_negative_rate"),
        ("false_positive_rate", "true_negative_rate"),
        ("positive_predictive_value", "false_discovery_rate"),
        ("negative_predictive_value", "false_omission_rate"),
        ("accuracy", "error_rate"),
    ):
        assert rates.values(cube, one) + rates.values(cube, other) == pytest.approx(1, abs=1e-12)
