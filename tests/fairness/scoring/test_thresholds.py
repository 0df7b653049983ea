"""Every threshold against counting each by itself."""

from __future__ import annotations

import numpy as np
import pytest

from audit.errors import DataError
from audit.fairness import Cube, Scores

RATES = ("selection_rate", "true_positive_rate", "false_positive_rate", "positive_predictive_value", "accuracy")


def rows(n: int = 2_000):
    rng = np.random.default_rng(0)
    y, g = rng.integers(0, 2, n), rng.integers(0, 4, n)
    return y, rng.beta(1 + y, 2 + g, n).round(2), g, rng.random(n)


def test_all_rates_at_all_thresholds_are_those_of_the_cubes():
    y, s, g, w = rows()
    scores = Scores.count(y, s, g, w)
    every, some = scores.thresholds(), scores.thresholds([0.7, 0.25])
    assert some.threshold.tolist() == [0.25, 0.7]
    for name in RATES:
        value, (low, high) = every.rate(name), every.limits(name)
        assert value.shape == (4, len(scores.edges))
        for at in (0.25, 0.7, 0.99):
            i = int(np.flatnonzero(every.threshold == at)[0])
            cube = Cube.count(y, (s >= at).astype(int), g, w, classes=(0, 1))
            for group, estimate in cube.rate(name).items():
                if estimate.value is None:
                    assert np.isnan([value[group, i], low[group, i], high[group, i]]).all()
                else:
                    found = (value[group, i], low[group, i], high[group, i])
                    assert found == pytest.approx((estimate.value, estimate.low, estimate.high), abs=1e-12)
            gap = cube.disparity(name)
            assert gap.value is None or every.difference(name)[i] == pytest.approx(gap.value)
            overall = cube.overall().rate(name)["all"].value
            assert overall is None or every.overall(name)[i] == pytest.approx(overall)
        np.testing.assert_allclose(some.rate(name)[:, 1], value[:, every.threshold == 0.7][:, 0])


def test_the_ratio_is_undefined_where_nobody_is_selected():
    scores = Scores.count([0, 1, 0, 1], [0.1, 0.2, 0.3, 0.4], ["a", "a", "b", "b"])
    ratio = scores.thresholds([0.05, 0.25, 0.9]).ratio("selection_rate")
    assert ratio[0] == 1.0
    assert ratio[1] == 0.0
    assert np.isnan(ratio[2])


def test_a_band_is_wider_than_its_points():
    y, s, g, w = rows()
    every = Scores.count(y, s, g, w).thresholds(np.linspace(0.1, 0.9, 9).round(1).tolist())
    (low, high), (wide_low, wide_high) = every.limits("selection_rate"), every.limits("selection_rate", together=9)
    assert (wide_low <= low).all()
    assert (wide_high > high).all()
    assert (wide_low < low)[:, :5].all()


@pytest.mark.parametrize("n", [7, 8])
def test_the_scoring_rate_is_the_share_strictly_above_the_median(n):
    rng = np.random.default_rng(n)
    for _ in range(20):
        s, g = rng.integers(1, 6, n) / 7, np.arange(n) % 2
        found = Scores.count([0, 1] * (n // 2) + [1] * (n % 2), s, g).above_median()
        median = np.median(s)
        assert found.median == pytest.approx(median)
        assert found.ties == (s == median).sum()
        assert found.bound == {0: 0.0, 1: 0.0}
        for group in (0, 1):
            assert found.cube.rate("selection_rate")[group].value == pytest.approx((s[g == group] > median).mean())


def test_a_median_within_a_bin_is_off_by_no_more_than_the_bound():
    rng = np.random.default_rng(0)
    s, g, y = rng.random(5_000), rng.integers(0, 3, 5_000), rng.integers(0, 2, 5_000)
    found = Scores.count(y, s, g, bins=41, thresholds=()).above_median()
    for group in range(3):
        truth = (s[g == group] > np.median(s)).mean()
        assert abs(found.cube.rate("selection_rate")[group].value - truth) <= found.bound[group] < 0.05


def test_an_unknown_rate_is_refused():
    y, s, g, w = rows(50)
    with pytest.raises(DataError, match="did you mean 'accuracy'"):
        Scores.count(y, s, g, w).thresholds().rate("acuracy")
