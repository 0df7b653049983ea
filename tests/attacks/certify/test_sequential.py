"""Bounds on a probability: exactness, coverage at every moment, and the price of stopping early."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from attacks.certify import sequential

ALPHA = 0.05


def test_clopper_pearson_is_scipys():
    for k, n in ((0, 10), (1, 10), (7, 10), (10, 10), (990, 1000)):
        (found,) = sequential.clopper_pearson(np.array([k]), n, 0.001)
        expected = stats.binomtest(k, n, alternative="greater").proportion_ci(0.999, method="exact").low
        assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("p", [0.5, 0.9, 0.99])
def test_evidence_is_the_integral_over_the_prior(p):
    k, n = 27, 30
    grid = (np.arange(200_000) + 0.5) / 200_000
    grid = stats.beta(0.5, 0.5).ppf(grid)  # points of equal prior mass
    for side, found in (
        (grid > p, sequential.log_evidence_above(np.array([k]), n, p)),
        (grid < p, sequential.log_evidence_below(np.array([k]), n, p)),
    ):
        ratio = stats.binom.pmf(k, n, grid[side]) / stats.binom.pmf(k, n, p)
        assert np.exp(found[0]) == pytest.approx(ratio.mean(), rel=1e-3)


def streams(p: float, count: int, draws: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((count, draws)).__lt__(p).cumsum(1)


@pytest.mark.parametrize("p", [0.6, 0.95])
def test_a_true_null_is_ever_refuted_with_at_most_alpha(p):
    sums = streams(p, 2000, 200, 0)
    ever_above, ever_below, ever_bounded = (np.zeros(2000, bool) for _ in range(3))
    for t in range(1, 201):
        k = sums[:, t - 1]
        ever_above |= sequential.log_evidence_above(k, t, p) >= -np.log(ALPHA)
        ever_below |= sequential.log_evidence_below(k, t, p) >= -np.log(ALPHA)
        if t % 20 == 0:
            ever_bounded |= sequential.anytime_lower(k, t, ALPHA) > p
    for rate in (ever_above.mean(), ever_below.mean(), ever_bounded.mean()):
        # four standard errors above alpha
        assert 0 < rate < ALPHA + 4 * (ALPHA * (1 - ALPHA) / 2000) ** 0.5


def test_looks_rise_to_the_last_draw():
    for draws in (1, 49, 50, 51, 10_000):
        found = list(sequential.looks(draws))
        assert found == sorted(set(found))
        assert found[-1] == draws


def test_the_anytime_bound_refutes_just_what_lies_below_it():
    k, t = np.array([0, 40, 95, 100]), 100
    low = sequential.anytime_lower(k, t, ALPHA)
    assert low[0] == 0
    assert np.all(low[1:] < sequential.clopper_pearson(k, t, ALPHA)[1:])  # what stopping early costs
    mixture = stats.betabinom.pmf(k, t, 0.5, 0.5)
    np.testing.assert_allclose(mixture[1:] / stats.binom.pmf(k, t, low)[1:], 1 / ALPHA, rtol=1e-6)
