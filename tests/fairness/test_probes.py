"""Probes against scikit-learn's ridge, areas against its ROC, and the permutation null against worlds without traces."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.metrics import roc_auc_score

from audit.fairness.probes import FOLDS, RIDGE, Probe, areas, dealings, folds, lifted, singled, standardised, told


@pytest.mark.parametrize("width", [5, 150])
def test_out_of_fold_scores_are_those_of_ridge_regression(width):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(100, width)) * rng.uniform(1, 9, width), rng.normal(size=(100, 3))
    fold = folds(rng.integers(0, 2, 100), rng)
    own = Probe(x, fold).scores(y)
    z = standardised(x)
    for part in range(FOLDS):
        rows = fold == part
        model = Ridge(alpha=RIDGE * (~rows).sum()).fit(z[~rows], y[~rows])
        # the intercept is a shift of a whole fold, which the probe leaves out
        expected = model.predict(z[rows]) - y[~rows].mean(0)
        np.testing.assert_allclose(own[rows], expected, atol=1e-9)


def test_areas_are_those_of_the_roc_curve_ties_included():
    rng = np.random.default_rng(0)
    scores, inside = rng.integers(0, 5, (60, 4)).astype(float), rng.random((60, 4)) < 0.3
    expected = [roc_auc_score(inside[:, i], scores[:, i]) for i in range(4)]
    np.testing.assert_allclose(areas(scores, inside), expected)


def test_groups_are_spread_over_folds_and_dealt_within_them():
    rng = np.random.default_rng(0)
    code = rng.choice(3, 200, p=[0.7, 0.2, 0.1])
    fold = folds(code, rng)
    table = np.array([np.bincount(code[fold == i], minlength=3) for i in range(FOLDS)])
    assert np.ptp(table, axis=0).max() <= 1
    dealt = dealings(code, fold, 7, rng)
    for i in range(FOLDS):
        assert (np.sort(dealt[fold == i], axis=0) == np.sort(code[fold == i])[:, None]).all()


def test_nothing_is_told_where_nothing_is_to_be_told():
    false = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        code = rng.choice(3, 150, p=[0.5, 0.3, 0.2])
        x = rng.normal(size=(150, 20))
        found = told({"x": x, "bent": np.maximum(x @ rng.normal(size=(20, 8)), 0)}, code, 3, 59, rng)
        false += min(one.p.min() for one in found.values()) <= 0.05
    # 5 % a world: more than 8 of 60 would happen once in 500 times
    assert false <= 8


def test_a_trace_is_found_where_it_is_and_curves_see_what_lines_do_not():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(600, 4))
    code = (np.abs(x[:, 0]) > 0.7).astype(np.int64)
    found = told({"line": x, "curve": lifted(x, 200, rng), "sign": np.abs(x)}, code, 2, 99, rng)
    assert found["line"].p[1] > 0.05
    assert found["curve"].p[1] == found["sign"].p[1] == 0.01
    assert found["curve"].areas[1] > 0.85
    assert found["sign"].areas == pytest.approx(found["sign"].areas[::-1])


def test_a_single_input_explains_what_regression_on_it_explains():
    rng = np.random.default_rng(0)
    x, code = rng.normal(size=(300, 5)), rng.integers(0, 2, 300)
    x[:, 3] += code
    x[:, 2] = 1.0
    dealt = dealings(code, folds(code, rng), 99, rng)
    players = [(0, 1), (2,), (3, 4)]
    explained, p = singled(x, players, code, dealt)
    for columns, found in zip(players, explained, strict=True):
        own = x[:, columns]
        assert found == pytest.approx(LinearRegression().fit(own, code).score(own, code), abs=1e-9)
    assert p[2] == 0.01
    assert p[0] > 0.05
    assert p[1] > 0.5


def test_constant_columns_tell_nothing():
    rng = np.random.default_rng(0)
    found = told({"x": np.ones((100, 3))}, rng.integers(0, 2, 100), 2, 19, rng)
    assert found["x"].areas == pytest.approx([0.5, 0.5])
    assert found["x"].p == pytest.approx([1.0, 1.0])
