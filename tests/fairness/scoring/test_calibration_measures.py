"""Calibration by group on data whose calibration is known, and the coverage of the intervals."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from audit.fairness import Scores
from audit.fairness.scoring.reliability import curve


def drawn(n: int, groups: int, shift: float = 0.0, slope: float = 1.0, seed: int = 0):
    """Log-odds of the truth, and scores moved away from them."""
    rng = np.random.default_rng(seed)
    odds = rng.normal(-0.5, 1.5, n * groups)
    y = (rng.random(n * groups) < expit(odds)).astype(int)
    return y, expit(shift + slope * odds), np.repeat(np.arange(groups), n)


def covered(scores: Scores, name: str, truth: float) -> float:
    found = scores.measure(name).values()
    return float(np.mean([e.low <= truth <= e.high for e in found]))


def population(shift: float, slope: float) -> dict[str, float]:
    odds = np.random.default_rng(9).normal(-0.5, 1.5, 600_000)
    p, s = expit(odds), expit(shift + slope * odds)
    order = np.argsort(s)
    gaps = (p - s)[order].reshape(15, -1).mean(1)
    q = p[order]
    below = (np.cumsum(1 - q) - (1 - q) / 2) / (1 - q).sum()
    return {
        "auc": float((q * below).sum() / q.sum()),
        "calibration_error": float(np.abs(gaps).mean()),
        "squared_calibration_error": float((gaps**2).mean()),
        "calibration_gap": float((s - p).mean()),
        "calibration_slope": 1 / slope,
        "brier": float(((s - p) ** 2 + p * (1 - p)).mean()),
    }


@pytest.mark.parametrize(("shift", "slope"), [(0.0, 1.0), (0.5, 1.0), (0.0, 1.6)])
def test_intervals_cover_what_they_are_of(shift, slope):
    truth = population(shift, slope)
    many = Scores.count(*drawn(300, 300, shift, slope, seed=1), bins=1_000)
    for name in ("auc", "calibration_gap", "calibration_slope", "brier"):
        # three standard errors below 94 % of 300
        assert covered(many, name, truth[name]) >= 0.9, name
    few = Scores.count(*drawn(300, 40, shift, slope, seed=2), bins=4_000)
    for name in ("calibration_error", "squared_calibration_error"):
        # three standard errors below 94 % of 40
        assert covered(few, name, truth[name]) >= 0.82, name


def test_chance_is_not_taken_for_miscalibration_of_small_groups():
    y, s, _ = drawn(3_000, 1)
    small_y, small_s, _ = drawn(60, 1, seed=5)
    g = np.array(["large"] * 3_000 + ["small"] * 60)
    scores = Scores.count(np.concatenate([y, small_y]), np.concatenate([s, small_s]), g)
    found = scores.measure("calibration_error")
    assert found["small"].value > found["large"].value
    assert found["small"].low == found["large"].low == 0.0
    assert scores.disparity("calibration_error").low == 0.0


def test_the_slope_is_that_of_a_logistic_regression():
    y, s, g = drawn(2_000, 1, 0.3, 1.5)
    found = Scores.count(y, s, g, bins=20_000).measure("calibration_slope")[0]
    model = LogisticRegression(C=np.inf, tol=1e-10).fit(np.log(s / (1 - s))[:, None], y)
    assert found.value == pytest.approx(float(model.coef_[0, 0]), abs=1e-4)
    assert found.low < 1 / 1.5 < found.high


def test_without_overlap_there_is_no_slope():
    scores = Scores.count([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9], ["a"] * 4)
    assert scores.measure("calibration_slope")["a"].value is None


def test_the_error_of_two_known_bins():
    # at 0.2 a share of 0.5 is true, at 0.9 a share of 0.8: errors 0.3 and 0.1
    y = np.array([1] * 50 + [0] * 50 + [1] * 80 + [0] * 20)
    scores = Scores.count(y, np.repeat([0.2, 0.9], 100), ["a"] * 200)
    found = scores.measure("calibration_error")["a"]
    assert found.value == pytest.approx(0.2)
    assert 0 < found.low < 0.2 < found.high
    squared = scores.measure("squared_calibration_error")["a"]
    assert squared.value == pytest.approx((0.09 - 0.25 / 99 + 0.01 - 0.16 / 99) / 2)


def test_the_reliability_curve_holds_every_row_once():
    y, s, g = drawn(1_000, 2)
    curves = curve(Scores.count(y, s, g), bins=10)
    for group, found in curves.items():
        assert found.rows.sum() == 1_000
        assert len(found.rows) == 10
        assert (found.rows * found.score).sum() == pytest.approx(s[g == group].sum())
        assert (found.rows * found.share).sum() == pytest.approx(y[g == group].sum())
        assert (np.diff(found.score) > 0).all()
        assert (found.low <= found.share).all()
        assert (found.share <= found.high).all()
    wide = curve(Scores.count(y, s, g), bins=10, together=10)
    assert (wide[0].high - wide[0].low > curves[0].high - curves[0].low).all()
