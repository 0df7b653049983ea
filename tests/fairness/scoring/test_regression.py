"""Errors of numbers by group against scikit-learn and plain sums."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from audit.errors import DataError
from audit.fairness import Residuals
from audit.fairness.scoring.regression import NAMES


def rows(n: int, start: float = 0.0):
    rng = np.random.default_rng(0)
    g = rng.integers(0, 4, n)
    y = start + 10 * g + rng.normal(size=n)
    return y, y + 0.2 * g + rng.standard_t(6, n), g, rng.random(n)


@pytest.mark.parametrize("start", [0.0, 1e9])
@pytest.mark.parametrize("weighted", [False, True])
def test_measures_are_those_of_scikit_learn_also_far_from_zero(start, weighted):
    y, p, g, w = rows(5_000, start)
    found = Residuals.count(y, p, g, w if weighted else None)
    for group in range(4):
        of = g == group
        weight = w[of] if weighted else np.ones(of.sum())
        truth = {
            "mean_error": np.average(p[of] - y[of], weights=weight),
            "mean_absolute_error": mean_absolute_error(y[of], p[of], sample_weight=weight),
            "root_mean_squared_error": root_mean_squared_error(y[of], p[of], sample_weight=weight),
            "r2": r2_score(y[of], p[of], sample_weight=weight),
        }
        for name in NAMES:
            assert found.measure(name)[group].value == pytest.approx(truth[name], abs=1e-10)


def test_unweighted_limits_of_the_mean_error_are_students():
    y, p, g, _ = rows(300)
    error = (p - y)[g == 2]
    low, high = stats.t.interval(0.95, len(error) - 1, error.mean(), stats.sem(error))
    found = Residuals.count(y, p, g).measure("mean_error")[2]
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-12)


@pytest.mark.parametrize("start", [0.0, 1e9])
def test_parts_add_up_to_the_whole(start):
    y, p, g, w = rows(3_000, start)
    order = np.argsort(y)  # parts whose means are far apart
    y, p, g, w = y[order], p[order], g[order], w[order]
    whole = Residuals.count(y, p, g, w)
    parts = [Residuals.count(y[a:b], p[a:b], g[a:b], w[a:b]) for a, b in ((0, 400), (400, 2_000), (2_000, 3_000))]
    both = parts[2] + parts[0] + parts[1]
    assert both.groups == whole.groups
    for name in NAMES:
        for group in range(4):
            a, b = both.measure(name)[group], whole.measure(name)[group]
            assert (a.value, a.low, a.high) == pytest.approx((b.value, b.low, b.high), rel=1e-9)


def test_intervals_cover():
    rng = np.random.default_rng(0)
    n, groups = 100, 600
    y, e, g = rng.normal(size=n * groups), rng.normal(0.2, 0.7, n * groups), np.repeat(np.arange(groups), n)
    found = Residuals.count(y, y + e, g)
    folded = stats.foldnorm(0.2 / 0.7, scale=0.7).mean()
    truth = (0.2, folded, np.sqrt(0.53), 1 - 0.53)
    for name, value in zip(NAMES, truth, strict=True):
        share = np.mean([x.low <= value <= x.high for x in found.measure(name).values()])
        assert share >= 0.92, name  # three standard errors below 95 % of 600


def test_the_largest_difference_is_found_and_chance_is_not():
    rng = np.random.default_rng(0)
    y, g = rng.normal(size=4_000), np.arange(4_000) % 8
    e = rng.normal(size=4_000)
    assert Residuals.count(y, y + e, g).disparity("mean_error").low == 0.0
    planted = Residuals.count(y, y + e + (g == 5), g).disparity("mean_error")
    assert 0.6 < planted.low < 1 < planted.high < 1.6


def test_what_is_undefined_says_why():
    found = Residuals.count(
        [1.0, 1.0, 2.0], [1.0, 2.0, 3.0], pd.Categorical(["a", "a", "b"], categories=["a", "b", "c"])
    )
    assert found.measure("mean_error")["a"].value == 0.5
    for name in NAMES:
        for group, n in (("b", 1), ("c", 0)):
            assert found.measure(name)[group].value is None
            assert found.measure(name)[group].n == n
            assert "at least 2 rows" in found.measure(name)[group].reason
        assert found.disparity(name).value is None
    assert "different truths" in found.measure("r2")["a"].reason


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y_true": [1.0, np.nan, 2.0, 3.0]}, "y_true, found nan in row 1"),
        ({"y_pred": [1.0, np.inf, 2.0, 3.0]}, "y_pred, found inf in row 1"),
        ({"y_true": [1.0, 2.0]}, "4 values of y_true"),
        ({"y_true": ["a", "b", "c", "d"]}, "y_true to hold one number"),
        ({"weights": [1, 1, 1, -1]}, "weights >= 0"),
        ({"groups": ["a"]}, "group value"),
    ],
)
def test_bad_input_is_refused_by_name(change, message):
    given = {"y_true": [1.0, 2.0, 3.0, 4.0], "y_pred": [1.5, 2.0, 3.0, 4.0], "groups": ["a", "a", "b", "b"]}
    with pytest.raises(DataError, match=message):
        Residuals.count(**(given | change))


def test_identifiers_and_unknown_names_are_refused():
    y, p, _, _ = rows(100)
    with pytest.raises(DataError, match="identifier"):
        Residuals.count(y, p, np.arange(100))
    with pytest.raises(DataError, match="did you mean 'r2'"):
        Residuals.count(y, p, np.arange(100) % 3).measure("r3")


def test_two_rows_that_are_alike_are_not_certain():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=202)
    answer = truth + rng.normal(size=202)
    groups = np.array(["many"] * 200 + ["two"] * 2)
    answer[-2:] = truth[-2:] + 1.5  # the same error twice
    found = Residuals.count(truth, answer, groups)
    two = found.measure("mean_error")["two"]
    assert two.value == pytest.approx(1.5) and two.low < 0 < 3 < two.high
    assert found.disparity("mean_error").low == 0
