"""Confidence that separates right from wrong, or does not."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from audit import statistics
from audit.checks.fit.confidence import Confidence


def binary(confidence, right):
    """Scores of two classes with this log-odds of the predicted one, and labels that make it right or wrong."""
    predicted = np.arange(len(confidence)) % 2
    signed = np.where(predicted == 1, confidence, -np.asarray(confidence))
    return np.column_stack([np.zeros(len(signed)), signed]), np.where(right, predicted, 1 - predicted)


def test_against_scikit_learn(scored):
    rng = np.random.default_rng(0)
    sure = rng.exponential(2, 400)
    right = rng.random(400) < 1 / (1 + np.exp(-sure))
    found = Confidence(resamples=50).run(*scored(*binary(sure, right)), rng)
    assert found.estimates["auroc"].value == pytest.approx(roc_auc_score(right, sure))
    surest = np.argsort(-sure)[:200]
    assert found.estimates["accuracy@coverage=50%"].value == pytest.approx(right[surest].mean())
    assert found.estimates["accuracy@coverage=100%"].value == pytest.approx(right.mean())


def test_a_perfect_ranking(scored):
    sure = np.linspace(1, 3, 100)
    right = np.arange(100) >= 20
    e = Confidence(resamples=50).run(*scored(*binary(sure, right)), np.random.default_rng(0)).estimates
    assert e["auroc"].value == 1
    assert 0.9 < e["auroc"].low < 1  # a hundred rows are no proof
    assert e["accuracy@coverage=80%"].value == 1
    # errors come last: after 80 right ones 1/81 + 2/82 + ... + 20/100, over 100
    assert e["area_under_risk_coverage"].value == pytest.approx(sum(k / (80 + k) for k in range(1, 21)) / 100)


def test_a_model_that_is_never_wrong_has_no_area(scored):
    found = Confidence(resamples=50).run(*scored(*binary(np.ones(50), np.ones(50, bool))), np.random.default_rng(0))
    assert found.estimates["auroc"].value is None
    assert found.estimates["area_under_risk_coverage"].value == 0


def test_confidences_that_round_to_one_are_still_told_apart(scored):
    sure = np.linspace(40, 70, 60)  # float32 probabilities are all 1
    right = np.arange(60) >= 30
    e = Confidence(resamples=20).run(*scored(*binary(sure, right)), np.random.default_rng(0)).estimates
    assert e["auroc"].value == 1


@pytest.mark.parametrize(("shift", "truth"), [(0.0, 0.5), (1.0, 0.7602), (2.5, 0.9615)])
def test_the_areas_interval_covers(shift, truth):
    """Normal samples a distance apart: the area is Φ(shift / √2)."""
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(300):
        found = statistics.auroc(rng.normal(shift, 1, 60), rng.normal(0, 1, 25))
        hits += found.low <= truth <= found.high
    assert hits >= 273  # 91 %


def test_ties_count_half_and_emptiness_is_undefined():
    assert statistics.auroc([1, 1], [1, 1]).value == 0.5
    assert statistics.auroc([], [1.0]).value is None
    assert statistics.auroc([0, 0], [1, 1]).value == 0
