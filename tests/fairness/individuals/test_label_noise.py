"""Planted label noise, its rates known and unequal between groups; what is not noise and still looks like it."""

from __future__ import annotations

import numpy as np
import pytest

from audit.errors import DataError
from audit.fairness.individuals.label_noise import doubtful, joint, label_noise, suspected, thresholds


def planted(rng, n, rates, apart=3.0, temperature=1.0, learnt=False):
    """Two classes `apart` deviations from 0 each; labels of group g are turned with rates[g]."""
    group, true = rng.integers(0, len(rates), n), rng.integers(0, 2, n)
    rate = np.array(rates)[group]
    x = rng.normal(np.where(true == 1, apart, -apart), 1)
    p = 1 / (1 + np.exp(-2 * apart * x))
    if learnt:
        p = p * (1 - rate) + (1 - p) * rate
    odds = np.log(np.clip(p, 1e-12, 1) / np.clip(1 - p, 1e-12, 1)) / temperature
    p = 1 / (1 + np.exp(-odds))
    turned = rng.random(n) < rate
    return np.stack([1 - p, p], axis=1), np.where(turned, 1 - true, true), group, turned


def test_the_joint_is_the_papers_on_a_small_example():
    p = np.array([[0.9, 0.1], [0.8, 0.2], [0.2, 0.8], [0.1, 0.9], [0.3, 0.7], [0.6, 0.4]])
    y = np.array([0, 0, 0, 1, 1, 1])
    limits = thresholds(p, y)
    assert limits.tolist() == pytest.approx([1.9 / 3, 2.0 / 3])
    assert suspected(p, limits).tolist() == [0, 0, 1, 1, 1, -1]
    # label 0: two sure of 0, one of 1; label 1: two sure of 1; both labels given to half of the rows
    assert joint(p, y) == pytest.approx(np.array([[1 / 3, 1 / 6], [0, 1 / 2]]))
    assert joint(p, y, np.full(6, 7.0)) == pytest.approx(joint(p, y))
    assert doubtful(p, y, np.zeros(6), 5).tolist() == [2]


@pytest.mark.parametrize("temperature", [1.0, 0.3, 3.0], ids=["calibrated", "overconfident", "underconfident"])
@pytest.mark.parametrize("learnt", [False, True], ids=["learnt from clean labels", "learnt from the same errors"])
def test_rates_are_found_where_classes_part_whatever_the_calibration(temperature, learnt):
    rng = np.random.default_rng(0)
    rates = (0.05, 0.2)
    p, y, group, turned = planted(rng, 4000, rates, temperature=temperature, learnt=learnt)
    found = label_noise(p, y, group, ["a", "b"], rng, 100)
    for g in range(2):
        assert found.shares[g].value == pytest.approx(turned[group == g].mean(), abs=0.012)
        assert found.shares[g].low <= rates[g] <= found.shares[g].high
        assert [e.value for e in found.by_class[g]] == pytest.approx([rates[g]] * 2, abs=0.04)
    apart = turned[group == 1].mean() - turned[group == 0].mean()
    assert found.differences[1].low <= apart <= found.differences[1].high
    assert found.differences[0].value == pytest.approx(-found.differences[1].value)
    assert max(found.p) < 0.02
    if not learnt:
        assert turned[doubtful(p, y, group, 50)].mean() == 1.0


def test_overlap_looks_like_noise_and_is_shown_beside_it():
    rng = np.random.default_rng(1)
    p, y, group, _ = planted(rng, 4000, (0.0, 0.0), apart=0.8)
    found = label_noise(p, y, group, ["a", "b"], rng, 100)
    for share, overlap in zip(found.shares, found.overlap, strict=True):
        assert share.low > 0.05  # not one label is wrong
        assert overlap.low <= share.value <= overlap.high
    assert all(e.low < 0 < e.high for e in found.beyond)
    p, y, group, _ = planted(rng, 4000, (0.1, 0.1))
    found = label_noise(p, y, group, ["a", "b"], rng, 100)
    assert all(e.low > 0.05 for e in found.beyond)


def test_a_model_biased_against_a_group_makes_right_labels_look_wrong():
    """What the method cannot tell: the labels are right, the model is not."""
    rng = np.random.default_rng(2)
    p, y, group, _ = planted(rng, 4000, (0.0, 0.0))
    refused = (group == 1) & (y == 1) & (rng.random(4000) < 0.3)
    p[refused] = p[refused][:, ::-1]
    found = label_noise(p, y, group, ["a", "b"], rng, 100)
    assert found.shares[0].value < 0.01
    assert found.shares[1].value == pytest.approx(0.15, abs=0.02)


def test_equal_rates_are_seldom_called_different():
    rng = np.random.default_rng(3)
    alarms = [min(label_noise(*planted(rng, 700, (0.1,) * 4)[:3], list("abcd"), rng, 40).p) <= 0.05 for _ in range(40)]
    assert np.mean(alarms) <= 0.15  # 5 % at most, give or take three deviations of 40 runs


def test_what_cannot_be_estimated_is_undefined_with_a_reason():
    rng = np.random.default_rng(4)
    p, y, group, _ = planted(rng, 300, (0.1, 0.1))
    y[np.flatnonzero((group == 1) & (y == 1))[3:]] = 0
    found = label_noise(p, y, group, ["a", "b", "empty"], rng, 20)
    assert found.shares[0].value is not None
    assert "10 rows of every class" in found.shares[1].reason
    assert "two classes" in found.shares[2].reason
    assert found.differences[0].value is None
    assert found.p == (None, None, None)


def test_classes_that_a_group_lacks_are_no_classes_of_it():
    rng = np.random.default_rng(5)
    p, y, group, _ = planted(rng, 2000, (0.1, 0.1))
    wide = np.concatenate([p * 0.9, np.full((2000, 1), 0.1)], axis=1)
    found, narrow = (label_noise(q, y, group, ["a", "b"], np.random.default_rng(0), 50) for q in (wide, p))
    assert found.shares[0].value == pytest.approx(narrow.shares[0].value)
    assert found.by_class[0][2].value is None


def test_what_is_no_probability_is_refused():
    rng = np.random.default_rng(6)
    with pytest.raises(DataError, match="sum to 1"):
        label_noise(np.ones((4, 2)), np.zeros(4, int), np.zeros(4, int), ["a"], rng)
    with pytest.raises(DataError, match="one length"):
        label_noise(np.full((4, 2), 0.5), np.zeros(3, int), np.zeros(4, int), ["a"], rng)
