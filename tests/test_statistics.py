"""Intervals cover what they promise; the undefined stays undefined."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from audit import statistics


def test_a_proportions_interval_is_wilsons():
    e = statistics.proportion(7, 20)
    low, high = stats.binomtest(7, 20).proportion_ci(method="wilson")
    assert (e.value, e.low, e.high, e.n) == (0.35, pytest.approx(low), pytest.approx(high), 20)


@pytest.mark.parametrize(
    "estimate", [statistics.proportion(0, 0), statistics.mean([1.0]), statistics.quantile([], 0.5)]
)
def test_no_data_is_undefined_with_a_reason(estimate):
    assert estimate.value is None
    assert estimate.reason


def test_intervals_cover_the_truth():
    rng = np.random.default_rng(0)
    hits = {"mean": 0, "quantile": 0, "bootstrap": 0, "difference": 0}
    runs = 200
    for _ in range(runs):
        x = rng.exponential(1.0, 60)
        k1, k2 = rng.binomial(80, 0.4), rng.binomial(80, 0.25)
        found = {
            "mean": (statistics.mean(x), 1.0),
            "quantile": (statistics.quantile(x, 0.5), np.log(2)),
            "bootstrap": (statistics.bootstrap(lambda a: float(np.median(a)), x, rng=rng, replicates=200), np.log(2)),
            "difference": (statistics.difference(statistics.proportion(k1, 80), statistics.proportion(k2, 80)), 0.15),
        }
        for name, (e, truth) in found.items():
            hits[name] += e.low <= truth <= e.high
    # 95 % of 200 is 190; all but a thousandth of such counts are at least 178; the skewed mean and bootstrap lose a little
    assert min(hits.values()) >= 174, hits


def test_a_bootstrap_undefined_on_most_resamples_says_so():
    rng = np.random.default_rng(0)
    e = statistics.bootstrap(
        lambda a: float(a.mean()) if len(set(a)) == len(a) else float("nan"), np.arange(9.0), rng=rng
    )
    assert e.value is None


def test_a_constant_sample_has_an_interval_of_no_width():
    e = statistics.mean([2.0, 2.0, 2.0], unit="s")
    assert (e.low, e.value, e.high, e.unit) == (2.0, 2.0, 2.0, "s")


def test_intervals_that_hold_together_are_wider():
    x = np.random.default_rng(0).normal(size=20)
    five = statistics.mean(x, of=5)
    assert (five.low, five.high) == pytest.approx(stats.t.interval(0.99, 19, x.mean(), stats.sem(x)))
    low, high = stats.binomtest(7, 20).proportion_ci(0.99, method="wilson")
    share = statistics.proportion(7, 20, of=5)
    assert (share.low, share.high) == pytest.approx((low, high))
    assert statistics.difference(five, statistics.mean(x + 1, of=5), of=5).method == "Newcombe 95 %, 5 together"


def test_holm_multiplies_the_smallest_most_and_stays_in_order():
    assert statistics.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert statistics.holm([0.9, 0.5]) == pytest.approx([1.0, 1.0])
    assert statistics.holm([]).size == 0
    rng = np.random.default_rng(0)
    named = [bool((statistics.holm(rng.random(6)) <= 0.05).any()) for _ in range(4000)]
    assert np.mean(named) == pytest.approx(0.05, abs=0.012)
