"""Exact tests of two groups against R's and Barnard's figures and against plain enumeration."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from audit.errors import DataError
from audit.fairness.inference import exact


def test_the_lady_tasting_tea():
    # Fisher 1935: all four right has probability 1/70, as has all four wrong; three right 16/70 on either side
    assert exact.fisher(4, 4, 0, 4) == pytest.approx(2 / 70, abs=1e-12)
    assert exact.fisher(3, 4, 1, 4) == pytest.approx(34 / 70, abs=1e-12)
    assert exact.fisher_mid_p(4, 4, 0, 4) == pytest.approx(1.5 / 70, abs=1e-12)


def test_many_tables_equal_scipys_one_by_one():
    rng = np.random.default_rng(0)
    m, n = rng.integers(1, 300, 100), rng.integers(1, 300, 100)
    a, b = rng.binomial(m, 0.3), rng.binomial(n, 0.4)
    peer = [stats.fisher_exact([[i, k], [j - i, h - k]])[1] for i, j, k, h in zip(a, m, b, n, strict=True)]
    assert exact.fisher(a, m, b, n) == pytest.approx(np.array(peer), abs=1e-10)
    assert exact.fisher(a.reshape(10, 10), m.reshape(10, 10), b.reshape(10, 10), n.reshape(10, 10)).shape == (10, 10)


@pytest.mark.parametrize(("m", "n"), [(5, 9), (12, 12)])
def test_fisher_never_exceeds_its_level_and_mid_p_hardly(m, n):
    a, b = np.meshgrid(np.arange(m + 1), np.arange(n + 1), indexing="ij")
    whole, mid = exact.fisher(a, m, b, n), exact.fisher_mid_p(a, m, b, n)
    for rate in np.linspace(0.02, 0.98, 49):
        chance = stats.binom.pmf(a, m, rate) * stats.binom.pmf(b, n, rate)
        assert chance[whole <= 0.05].sum() <= 0.05
        assert chance[mid <= 0.05].sum() <= 0.06
    assert (mid < whole).all()


@pytest.mark.parametrize("statistic", ["barnard", "boschloo"])
def test_unconditional_tests_take_the_worst_rate(statistic):
    a, b = np.meshgrid(np.arange(16), np.arange(16), indexing="ij")
    rates = np.linspace(0.001, 0.999, 999)[:, None, None]
    chance = stats.binom.pmf(a, 15, rates) * stats.binom.pmf(b, 15, rates)
    if statistic == "barnard":
        pooled = (a + b) / 30
        with np.errstate(invalid="ignore", divide="ignore"):
            score = np.nan_to_num(np.abs(a - b) / 15 / np.sqrt(pooled * (1 - pooled) * 2 / 15))
    else:
        score = -exact.fisher(a, 15, b, 15)
    worst = (chance * (score >= score[7, 12] - 1e-9)).sum((1, 2)).max()
    found = exact.unconditional(7, 15, 12, 15, statistic)
    assert worst <= found <= worst + 1e-5
    assert exact.unconditional(12, 15, 7, 15, statistic) == pytest.approx(found)


def test_boschloos_test_is_never_weaker_than_fishers():
    for a in range(0, 10, 3):
        for b in range(6):
            assert exact.unconditional(a, 9, b, 5) <= float(exact.fisher(a, 9, b, 5)) + 1e-12
    assert exact.unconditional(0, 9, 0, 4) == 1.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: exact.fisher(5, 4, 1, 4), "hits"),
        (lambda: exact.fisher(1, 4, 1.5, 4), "other_hits"),
        (lambda: exact.unconditional(5, 400, 5, 400), "fisher_mid_p"),
        (lambda: exact.unconditional(1, 4, 1, 4, "wald"), "boschloo or barnard"),
    ],
)
def test_impossible_tables_are_refused(call, message):
    with pytest.raises(DataError, match=message):
        call()
