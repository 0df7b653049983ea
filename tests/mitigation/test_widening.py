"""Changes of the largest difference between groups, against counts by hand and draws of people."""

from __future__ import annotations

import numpy as np
import pytest

from audit.mitigation.widening import widening


def draws(sizes, before, after, times, shared=0.0, seed=0):
    """Intervals of draws of people who are favoured with these chances before and after."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(len(sizes)), sizes)
    found = []
    for _ in range(times):
        luck = rng.random(len(groups))
        again = np.where(rng.random(len(groups)) < shared, luck, rng.random(len(groups)))
        old, new = luck < np.asarray(before)[groups], again < np.asarray(after)[groups]
        found.append(widening(groups, old, new, [np.arange(len(groups))]))
    return found


def covered(found, truth):
    return np.mean([one.low <= truth <= one.high for one in found])


@pytest.mark.parametrize(
    ("sizes", "before", "after", "shared"),
    [
        ((500, 1000), (0.1, 0.3), (0.2, 0.2), 0.0),
        ((500, 1000), (0.1, 0.3), (0.2, 0.2), 0.9),
        ((200, 200), (0.2, 0.5), (0.3, 0.4), 1.0),
        ((20, 20), (0.02, 0.5), (0.98, 0.5), 0.0),
        ((20,) * 6, (0.0,) * 6, (0.5,) * 5 + (0.9,), 0.0),
    ],
)
def test_the_interval_covers_the_change(sizes, before, after, shared):
    found = draws(sizes, before, after, 300, shared)
    assert covered(found, np.ptp(after) - np.ptp(before)) >= 0.93


def test_noise_of_small_groups_is_no_change():
    """Ten groups that nobody treats differently, before or after: the observed difference grows from 0 to 0.15."""
    found = draws((100,) * 10, (0.0,) * 10, (0.3,) * 10, 100)
    assert np.mean([one.value for one in found]) > 0.1
    assert np.mean([one.low > 0 for one in found]) <= 0.05


def test_a_change_of_large_groups_is_seen_and_pairs_make_it_surer():
    apart, paired = (draws((2000, 2000), (0.2, 0.4), (0.25, 0.3), 20, shared) for shared in (0.0, 1.0))
    assert all(one.high < 0 for one in paired)
    widths = [np.mean([one.high - one.low for one in found]) for found in (apart, paired)]
    assert widths[1] < 0.7 * widths[0]


def test_by_hand():
    # g0 4/10 then 5/10, g1 6/10 then 5/10; a row of no group counts nowhere
    groups = np.repeat([0, 1, -1], [10, 10, 1])
    before = np.repeat([1, 0, 1, 0, 1], [4, 6, 6, 4, 1]).astype(bool)
    after = np.repeat([1, 0, 1, 0, 0], [5, 5, 5, 5, 1]).astype(bool)
    found = widening(groups, before, after, [np.arange(21)])
    assert found.value == pytest.approx(-0.2) and found.n == 20
    assert -1 <= found.low < -0.2 < found.high
    # of two strata the wider one counts, and both at once need more room
    twice = widening(np.append(groups, [0, 1]), np.append(before, [True, False]), np.append(after, [True, True]),
                     [np.arange(21), np.array([21, 22])])  # fmt: skip
    assert twice.value == pytest.approx(-1.0)
    wider = widening(groups, before, after, [np.arange(21)] * 2)
    assert wider.value == found.value and wider.high - wider.low > found.high - found.low


def test_one_group_has_no_difference():
    groups, answers = np.zeros(30, dtype=np.int64), np.ones(30, dtype=bool)
    found = widening(groups, answers, answers, [np.arange(30)])
    assert found.value is None and "two groups" in found.reason


def test_thousands_of_groups():
    groups = np.repeat(np.arange(2000), 20)
    rng = np.random.default_rng(0)
    found = widening(groups, *(rng.random((2, len(groups))) < 0.5), [np.arange(len(groups))])
    assert found.low < 0 < found.high
