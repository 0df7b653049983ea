"""Accuracy, F1 and the gap against scikit-learn and counts by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import f1_score, precision_score, recall_score

from audit.checks.fit.accuracy import Accuracy


def scores_for(predicted, classes):
    return np.eye(classes)[predicted] * 3


def test_against_scikit_learn(scored):
    rng = np.random.default_rng(0)
    labels = rng.choice(4, size=300, p=[0.5, 0.3, 0.15, 0.05])
    predicted = np.where(rng.random(300) < 0.7, labels, rng.integers(0, 4, 300))
    found = Accuracy(resamples=50).run(*scored(scores_for(predicted, 4), labels), rng)
    e = found.estimates
    assert e["accuracy"].value == pytest.approx((labels == predicted).mean())
    assert e["macro_f1"].value == pytest.approx(f1_score(labels, predicted, average="macro"))
    for i, name in enumerate("abcd"):
        assert e[f"recall@class={name}"].value == pytest.approx(recall_score(labels == i, predicted == i))
        assert found.tables[0].rows[i][3].value == pytest.approx(precision_score(labels == i, predicted == i))
    assert "train_test_gap" not in e


def test_the_lift_over_the_commonest_class(scored):
    labels = np.array([0] * 70 + [1] * 30)
    always = Accuracy(resamples=20).run(*scored(scores_for(np.zeros(100, int), 2), labels), np.random.default_rng(0))
    assert always.estimates["lift_over_majority"].value == 0
    perfect = Accuracy(resamples=20).run(*scored(scores_for(labels, 2), labels), np.random.default_rng(0))
    assert perfect.estimates["lift_over_majority"].value == pytest.approx(0.3)


def test_the_gap_is_train_minus_test(scored):
    labels = np.arange(100) % 2
    train = (scores_for(labels, 2), labels)
    half_wrong = np.where(np.arange(100) < 50, labels, 1 - labels)
    found = Accuracy(resamples=20).run(*scored(scores_for(half_wrong, 2), labels, train), np.random.default_rng(0))
    gap = found.estimates["train_test_gap"]
    assert gap.value == pytest.approx(0.5)
    assert 0.35 < gap.low < 0.5 < gap.high < 0.65


def test_a_class_without_rows_is_undefined_and_not_zero(scored):
    labels = np.zeros(50, int)
    found = Accuracy(resamples=20).run(*scored(scores_for(labels, 2), labels), np.random.default_rng(0))
    assert found.estimates["recall@class=b"].value is None
    assert found.estimates["recall@class=a"].value == 1
