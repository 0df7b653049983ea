"""Intervals against exact sums of probabilities, published tables and their own promises."""

from __future__ import annotations

from fractions import Fraction
from math import comb

import numpy as np
import pytest
from scipy import stats

from audit.fairness.inference import intervals

Z = intervals.normal(0.95)


def limits(method, x, n, z=Z):
    low, high = intervals.METHODS[method](np.array([x / n]), np.array([float(n)]), z)
    return float(low[0]), float(high[0])


def at_least(x, n, rate):
    """P(X >= x) and P(X = x), summed over exact fractions."""
    q = Fraction(rate)
    terms = [comb(n, i) * q**i * (1 - q) ** (n - i) for i in range(x, n + 1)]
    return float(sum(terms)), float(terms[0])


@pytest.mark.parametrize(("x", "n"), [(1, 5), (3, 7), (5, 5), (1, 29), (15, 148), (59, 60)])
def test_exact_limits_leave_out_what_they_promise_to_1e_9(x, n):
    tail = 0.025
    for method, half in (("clopper-pearson", 0.0), ("mid-p", 0.5)):
        for hits, end in ((x, limits(method, x, n)[0]), (n - x, 1 - limits(method, x, n)[1])):
            if hits == 0:
                assert end == 0
                continue
            beyond, own = at_least(hits, n, end)
            assert beyond - half * own == pytest.approx(tail, abs=1e-9)


@pytest.mark.parametrize("n", [1, 5, 20, 200])
def test_no_hits_have_a_closed_form(n):
    assert limits("clopper-pearson", 0, n) == (0.0, pytest.approx(1 - 0.025 ** (1 / n), abs=1e-12))
    assert limits("mid-p", 0, n) == (0.0, pytest.approx(1 - 0.05 ** (1 / n), abs=1e-12))
    assert limits("wilson", 0, n) == (0.0, pytest.approx(Z**2 / (n + Z**2), abs=1e-12))


@pytest.mark.parametrize(
    ("x", "n", "wilson", "exact", "mid"),
    [
        (81, 263, (0.2553, 0.3662), (0.2527, 0.3676), (0.2544, 0.3658)),
        (15, 148, (0.0624, 0.1605), (0.0578, 0.1617), (0.0601, 0.1581)),
        (0, 20, (0.0, 0.1611), (0.0, 0.1684), (0.0, 0.1391)),
        (1, 29, (0.0061, 0.1718), (0.0009, 0.1776), (0.0017, 0.1585)),
    ],
)
def test_the_table_of_newcombe_1998_on_single_proportions(x, n, wilson, exact, mid):
    for method, published in (("wilson", wilson), ("clopper-pearson", exact), ("mid-p", mid)):
        assert limits(method, x, n) == pytest.approx(published, abs=5.1e-5)


@pytest.mark.parametrize(
    ("a", "m", "b", "n", "published"),
    [
        (56, 70, 48, 80, (0.0524, 0.3339)),
        (9, 10, 3, 10, (0.1705, 0.8090)),
        (6, 7, 2, 7, (0.0582, 0.8062)),
        (5, 56, 0, 29, (-0.0381, 0.1926)),
        (0, 10, 0, 20, (-0.1611, 0.2775)),
        (0, 10, 0, 10, (-0.2775, 0.2775)),
        (10, 10, 0, 20, (0.6791, 1.0)),
        (10, 10, 0, 10, (0.6075, 1.0)),
    ],
)
def test_the_table_of_newcombe_1998_on_differences(a, m, b, n, published):
    value, low, high = intervals.newcombe(a / m, limits("wilson", a, m), b / n, limits("wilson", b, n))
    assert value == pytest.approx(a / m - b / n)
    assert (low, high) == pytest.approx(published, abs=5.1e-5)


@pytest.mark.parametrize(
    ("cells", "published"), [((1, 1, 7, 12), (-0.507, -0.026)), ((36, 12, 2, 0), (0.0569, 0.3404))]
)
def test_the_examples_of_the_paired_interval(cells, published):
    # airway hyper-responsiveness in Fagerland, Lydersen and Laake 2014; the first row of Newcombe's own table
    value, low, high = intervals.paired_newcombe(*cells, Z)
    assert value == pytest.approx((cells[1] - cells[2]) / sum(cells))
    assert (low, high) == pytest.approx(published, abs=6e-4)


def test_equal_answers_are_not_a_certain_difference_of_zero():
    _, low, high = intervals.paired_newcombe(5, 0, 0, 5, Z)
    assert low < 0 < high


def test_the_ratio_interval_is_the_fieller_one_for_symmetric_limits():
    # for b with symmetric limits and a known, MOVER is a over the limits of b
    value, low, high = intervals.mover_ratio(
        np.array([0.4]), (np.array([0.4]), np.array([0.4])), np.array([0.5]), (np.array([0.4]), np.array([0.6]))
    )
    assert (value[0], low[0], high[0]) == pytest.approx((0.8, 0.4 / 0.6, 1.0))


@pytest.mark.parametrize("method", intervals.METHODS)
def test_limits_mirror_each_other_and_widen_with_the_level(method):
    for x in range(8):
        low, high = limits(method, x, 7)
        assert (1 - high, 1 - low) == pytest.approx(limits(method, 7 - x, 7), abs=1e-12)
        assert limits(method, x, 7, 3.0)[0] <= low <= x / 7 <= high <= limits(method, x, 7, 3.0)[1]


def coverage(method, n, rates, z=Z):
    """Exact coverage at each rate, summed over all outcomes."""
    x = np.arange(n + 1)
    low, high = intervals.METHODS[method](x / n, np.full(n + 1, float(n)), z)
    inside = (low[:, None] <= rates) & (rates <= high[:, None])
    return (stats.binom.pmf(x[:, None], n, rates) * inside).sum(0)


@pytest.mark.parametrize("n", [5, 10, 40, 100])
def test_coverage_is_what_brown_cai_and_dasgupta_say(n):
    rates = np.linspace(0.002, 0.998, 499)
    assert coverage("clopper-pearson", n, rates).min() >= 0.95
    # both are about right on average, and neither everywhere
    for method, mean in (("wilson", 0.945), ("mid-p", 0.95)):
        found = coverage(method, n, rates)
        assert mean <= found.mean() <= 0.98
        assert found.min() < 0.95


def test_all_groups_together_are_covered_by_exact_limits_and_not_by_wilsons():
    sizes = (5, 7, 11, 20, 35, 60, 120, 200)
    rates = np.array([0.005, 0.02, 0.1, 0.3, 0.5, 0.9])
    # 48 groups, six of each size
    z = intervals.normal(0.95 ** (1 / 48))
    together = {
        m: np.prod([coverage(m, n, rates, z) ** 6 for n in sizes], axis=0) for m in ("clopper-pearson", "wilson")
    }
    assert together["clopper-pearson"].min() >= 0.95
    assert together["wilson"].min() < 0.9


def test_limits_take_effective_sizes():
    # Korn and Graubard's beta limits run continuously through the whole numbers
    sizes = np.array([49.999, 50.0, 50.001])
    for method in intervals.METHODS.values():
        low, high = method(np.full(3, 0.1), sizes, Z)
        assert np.all(np.diff(low) > 0) and np.all(np.diff(high) < 0)
        assert np.ptp(low) < 1e-4


def test_the_mid_p_score_is_zero_in_the_middle_and_at_its_limits_the_critical_value():
    p, n = np.array([0.0, 0.1, 0.5, 1.0]), np.array([20.0, 30.0, 40.0, 8.0])
    low, high = intervals.mid_p(p, n, 2.5)
    assert intervals.mid_p_score(p, n, low)[1:] == pytest.approx([2.5] * 3, abs=1e-9)
    assert intervals.mid_p_score(p, n, high)[:3] == pytest.approx([-2.5] * 3, abs=1e-9)
    assert intervals.mid_p_score(np.array([0.5]), np.array([40.0]), 0.5)[0] == pytest.approx(0, abs=1e-12)
