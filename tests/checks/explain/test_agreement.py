"""Methods that must agree, and one that cannot."""

from __future__ import annotations

import numpy as np
import pytest

from audit.checks.explain.agreement import Agreement
from audit.explaining.examples import mean_correlation, rank_correlation
from tests.checks.explain.known_models import Linear, numbers, subject

WEIGHTS = [3.0, -2.0, 1.0, 0.5, 0.25, -0.1]
SMALL = {"rows": 40, "evaluations": 64, "background": 20}


@pytest.fixture
def data():
    return numbers(np.random.default_rng(0).normal(size=(60, 6)))


def test_shapley_values_and_integrated_gradients_of_a_linear_model_are_the_same(data):
    found = Agreement(**SMALL, methods=("kernel_shap", "integrated_gradients")).run(
        subject(Linear(WEIGHTS)), data, np.random.default_rng(0)
    )
    assert found.estimates["agreement"].value == pytest.approx(1)
    assert found.estimates["top_3_agreement@kernel_shap,integrated_gradients"].value == 1
    assert found.tables[0].rows[0][4] == "50%"  # three of six


def test_chance_agrees_by_chance(data):
    found = Agreement(**{**SMALL, "rows": 60}, methods=("integrated_gradients", "random")).run(
        subject(Linear(WEIGHTS)), data, np.random.default_rng(0)
    )
    order = found.estimates["agreement@integrated_gradients,random"]
    top = found.estimates["top_3_agreement@integrated_gradients,random"]
    assert order.low <= 0 <= order.high
    assert top.low <= 0.5 <= top.high


def test_all_pairs_are_there_and_the_mean_is_theirs(data):
    found = Agreement(**SMALL, methods=("integrated_gradients", "saliency", "random")).run(
        subject(Linear(WEIGHTS)), data, np.random.default_rng(0)
    )
    pairs = [e.value for name, e in found.estimates.items() if name.startswith("agreement@")]
    assert len(pairs) == 3
    assert found.estimates["agreement"].value == pytest.approx(np.mean(pairs))


def test_one_method_is_no_pair(data):
    reason = Agreement(methods=("kernel_shap",)).skip_reason(subject(Linear(WEIGHTS)), data)
    assert "two methods" in reason
    without = subject(Linear(WEIGHTS), capabilities=frozenset())
    assert Agreement(methods=("kernel_shap", "integrated_gradients")).skip_reason(without, data) is not None
    assert Agreement(methods=("kernel_shap", "lime")).skip_reason(without, data) is None


def test_a_model_that_reads_nothing_has_no_agreement(data):
    found = Agreement(**SMALL, methods=("kernel_shap", "integrated_gradients")).run(
        subject(Linear([0.0] * 6)), data, np.random.default_rng(0)
    )
    assert found.estimates["agreement"].value is None
    assert found.figures == ()


def test_rank_correlation_looks_at_magnitudes_only():
    assert rank_correlation(np.array([1.0, -2.0, 3.0]), np.array([-0.1, 0.2, 0.9])) == pytest.approx(1)
    assert rank_correlation(np.array([1.0, -2.0, 3.0]), np.array([3.0, 2.0, -1.0])) == pytest.approx(-1)
    assert np.isnan(rank_correlation(np.array([1.0, -1.0, 1.0]), np.array([1.0, 2.0, 3.0])))
    assert np.isnan(rank_correlation(np.array([1.0, 2.0]), np.array([1.0, 2.0])))
    assert np.isnan(rank_correlation(np.zeros(0), np.zeros(0)))


def test_rounding_is_no_order():
    noise = 1e-14 * np.arange(4)
    assert np.isnan(rank_correlation(1 + noise, np.array([1.0, 2.0, 3.0, 4.0])))


def test_intervals_of_correlations_stay_in_range():
    found = mean_correlation(np.array([1.0, 1.0, 0.7, np.nan]))
    assert (found.n, found.high) == (3, 1.0)
    assert mean_correlation(np.array([np.nan, 0.5])).value is None
