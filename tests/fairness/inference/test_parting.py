"""Critical values and extremes against closed forms, brute force and exact enumeration of small groups."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from audit.fairness.inference import intervals, parting
from audit.fairness.inference.clustered import Sample


def groups(hits, rows):
    rows = np.asarray(rows, float)
    share = np.asarray(hits) / rows
    return Sample("selection_rate", share, share, rows)


@pytest.mark.parametrize("g", [2, 3, 10, 50])
def test_groups_of_one_size_give_tukeys_range(g):
    for c in (1.0, 2.0, 3.0):
        assert parting.alarm(c, np.full(g, 0.7)) == pytest.approx(
            stats.studentized_range.sf(2 * c, g, np.inf), abs=1e-8
        )


@pytest.mark.parametrize("ratio", [1.0, 3.0, 100.0])
def test_two_groups_have_a_closed_form(ratio):
    spread, c = np.array([1.0, ratio]), 1.4
    exact = 2 * stats.norm.sf(c * spread.sum() / np.hypot(*spread))
    assert parting.alarm(c, spread) == pytest.approx(exact, abs=1e-9)
    assert parting.alarm(c, spread, reference=0) == pytest.approx(exact, abs=1e-7)
    assert parting.alarm(c, spread, reference=1) == pytest.approx(exact, abs=1e-7)


def test_unequal_groups_equal_a_simulation():
    spread = np.array([0.1, 0.5, 1.0, 1.0, 4.0])
    draws = np.random.default_rng(0).standard_normal((40_000, 5)) * spread
    for c in (1.0, 1.8):
        apart = ((draws - c * spread).max(1) > (draws + c * spread).min(1)).mean()
        assert parting.alarm(c, spread) == pytest.approx(apart, abs=5 * np.sqrt(0.25 / 40_000))
        with_first = (np.abs(draws - draws[:, :1]) > c * (spread + spread[0]))[:, 1:].any(1).mean()
        assert parting.alarm(c, spread, 0) == pytest.approx(with_first, abs=5 * np.sqrt(0.25 / 40_000))


def test_critical_values_are_those_of_the_alarm():
    spread = np.geomspace(0.01, 1, 30)
    for reference in (None, 3):
        assert parting.alarm(parting.critical(spread, 0.05, reference), spread, reference) == pytest.approx(
            0.05, abs=1e-8
        )


def test_an_alpha_near_one_has_a_critical_value():
    assert parting.alarm(parting.critical(np.ones(2), 1 - 1e-6), np.ones(2)) == pytest.approx(1 - 1e-6, abs=1e-9)


def test_extremes_are_those_of_all_limits():
    rng = np.random.default_rng(1)
    n = rng.integers(2, 300, 60)
    found = groups(rng.binomial(n, 0.4), n)
    low, high = found.ends("mid-p", 2.3)
    assert parting.highest_low(found, 2.3) == pytest.approx(low.max(), abs=1e-9)
    assert parting.lowest_high(found, 2.3) == pytest.approx(high.min(), abs=1e-9)


def test_groups_part_at_the_critical_value_where_their_gap_is_the_margin():
    found = groups([2, 30, 55], [40, 100, 110])
    for margin in (0.0, 0.1, 0.3):
        at = parting.parting(found, found, lambda rate, m=margin: rate + m, 1 - margin)
        assert (at.low, at.high) == (0, 2)
        gap = parting.highest_low(found, at.c) - parting.lowest_high(found, at.c)
        assert gap == pytest.approx(margin, abs=1e-9)


@pytest.mark.parametrize("g", [2, 7, 200])
def test_the_farthest_pair_is_brute_forces(g):
    rng = np.random.default_rng(g)
    value, down, up = rng.random(g), rng.random(g) ** 3, rng.random(g) ** 3
    limit = value[:, None] - value + np.hypot(up[:, None], down)
    np.fill_diagonal(limit, -np.inf)
    found = parting.farthest(value, down, up)
    assert limit.max() - 1e-12 <= found.limit <= limit.max() + 2e-5
    assert limit[found.high, found.low] == pytest.approx(limit.max(), abs=2e-5)
    only = parting.farthest(value, down, up, reference=1)
    assert only.limit == pytest.approx(max(np.delete(limit[1], 1).max(), np.delete(limit[:, 1], 1).max()))


def test_one_wide_group_does_not_pair_with_itself_among_many():
    value, width = np.full(100, 0.5), np.full(100, 0.01)
    width[3] = 0.4
    assert parting.farthest(value, width, width).limit == pytest.approx(np.hypot(0.4, 0.01), abs=1e-5)


@pytest.mark.parametrize(("m", "n"), [(5, 5), (5, 12), (9, 30), (6, 400)])
def test_tiny_groups_alarm_at_most_a_point_more_than_promised_at_any_rate(m, n):
    c = parting.critical(1 / np.sqrt([m, n]), 0.05)
    ends = [intervals.mid_p(np.arange(size + 1) / size, np.full(size + 1, float(size)), c) for size in (m, n)]
    (la, ua), (lb, ub) = ends
    apart = (la[:, None] > ub) | (lb > ua[:, None])
    for rate in np.linspace(0.01, 0.99, 99):
        a, b = (stats.binom.pmf(np.arange(size + 1), size, rate) for size in (m, n))
        assert a @ apart @ b <= 0.06
