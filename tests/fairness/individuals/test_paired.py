"""Paired tests against enumeration, scipy and closed forms."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import stats

from audit import statistics
from audit.fairness.individuals.paired import Answers, mcnemar, net, one_way, sign_flip
from audit.statistics import holm


@pytest.mark.parametrize(("more", "fewer"), [(0, 0), (1, 0), (5, 5), (0, 6), (9, 2), (3, 20), (7, 8)])
def test_the_mid_p_value_is_the_exact_one_less_half_of_what_was_seen(more, fewer):
    exact = 1.0 if more + fewer == 0 else stats.binomtest(more, more + fewer).pvalue
    seen = 0.0 if more + fewer == 0 else stats.binom.pmf(more, more + fewer, 0.5)
    # two equal tails, of which half of what was seen is taken once each; none where both tails meet
    expected = exact - seen if more != fewer else 1.0
    assert mcnemar(more, fewer) == pytest.approx(expected)
    assert mcnemar(more, fewer) == mcnemar(fewer, more)


def test_random_signs_agree_with_all_signs():
    x = np.random.default_rng(0).normal(0.4, 1, 10)
    every = np.array([abs(np.dot(signs, x)) for signs in product([-1, 1], repeat=10)])
    truth = (every >= abs(x.sum()) * (1 - 1e-12)).mean()
    rng = np.random.default_rng(1)
    assert sign_flip(x, 1024, rng) == truth
    assert sign_flip(x, 1000, rng) == pytest.approx(truth, abs=4 * (truth / 1000) ** 0.5)
    assert sign_flip(np.concatenate([x, np.zeros(50)]), 1024, rng) == truth
    assert sign_flip(np.zeros(5), 99, rng) == 1.0


def test_random_signs_keep_their_level_and_have_power():
    rng = np.random.default_rng(2)
    null = np.array([sign_flip(rng.standard_t(3, 40), 199, rng) for _ in range(400)])
    assert (null <= 0.05).mean() <= 0.085
    shifted = [sign_flip(rng.standard_t(3, 40) + 1, 199, rng) for _ in range(50)]
    assert np.mean(np.array(shifted) <= 0.05) > 0.9


def test_holm_is_monotone_and_known():
    assert holm([0.01, 0.04, 0.03]).tolist() == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]).tolist() == [1.0, 1.0]
    assert holm([]).size == 0


def test_the_net_share_is_the_paired_difference():
    rng = np.random.default_rng(3)
    a, b = rng.random(80) < 0.3, rng.random(80) < 0.2
    ours, theirs = net(a.astype(float) - b), statistics.paired_difference(a, b)
    assert (ours.value, ours.low, ours.high) == pytest.approx((theirs.value, theirs.low, theirs.high))
    assert net(np.zeros(40)).high > 0
    assert net(a.astype(float) - b, of=5).low < ours.low
    assert net([]).value is None


def test_partial_turns_are_averaged_and_tested_by_signs():
    rng = np.random.default_rng(4)
    whole = np.array([1.0, 1, 1, 1, 0, -1])
    assert one_way(whole, 99, rng) == mcnemar(4, 1)
    part = whole * 0.25
    assert one_way(part, 9999, rng) == pytest.approx(stats.binomtest(4, 5).pvalue)
    assert net(part).value == pytest.approx(whole.mean() / 4)
    rng = np.random.default_rng(5)
    draws = [net(rng.choice([-0.5, 0, 0.25, 1.0], 60, p=[0.2, 0.6, 0.1, 0.1])) for _ in range(600)]
    assert np.mean([e.low <= 0.025 <= e.high for e in draws]) >= 0.93


def test_versions_are_held_against_the_group_alone():
    answers = Answers(
        own=np.array([0, 1, -1]),
        answer=np.array([[0, 1, 1], [1, 0, -1], [0, 0, 0]]),
        score=np.array([[0.0, 1.0, 3.0], [2.0, 1.0, np.nan], [0.0, 0.0, 0.0]]),
        favourable=1,
        before=np.array([0, 0, 0]),
        now=np.array([0.0, 1.0, 0.0]),
    )
    assert answers.turned().tolist() == [True, True, False]
    everyone = np.ones(3, dtype=bool)
    assert answers.favour(0, everyone).tolist() == [-1.0, 1.0, 0.0]
    assert answers.effect(0, everyone).tolist() == [-2.0, 1.0, 0.0]
    assert answers.effect(1, answers.own == 1).tolist() == [-1.0]
    assert np.isnan(answers.effect(2, answers.own == 1)).all()
