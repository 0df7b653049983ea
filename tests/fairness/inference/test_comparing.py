"""Rates, disparities and the test: error rates by simulation with bounds, and agreement of test and interval."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from audit.errors import DataError
from audit.fairness import Cube
from audit.fairness.inference import comparing as inference
from audit.fairness.inference.intervals import WRITTEN
from reports.record import Outcome

RATE = "selection_rate"


def cube_of(hits, rows, keys=None):
    """A cube with these selected rows of each group, all of them positive."""
    hits, rows = np.asarray(hits), np.asarray(rows)
    counts = np.zeros((len(rows), 2, 2))
    counts[:, 1, 1], counts[:, 1, 0] = hits, rows - hits
    return Cube(tuple(keys or range(len(rows))), (0, 1), counts, counts, counts.astype(np.int64), 1)


def outcomes(rates, rows, runs, margin, seed=0, kind="difference"):
    rng = np.random.default_rng(seed)
    return [cube_of(rng.binomial(rows, rates), rows).test(RATE, margin, 0.05, kind).outcome for _ in range(runs)]


SIZES = {
    "equal": lambda g: np.full(g, 200),
    "tiny": lambda g: np.random.default_rng(g).integers(5, 31, g),
    "one large": lambda g: np.r_[2000, np.random.default_rng(g).integers(5, 31, g - 1)],
}


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize(("groups", "rate"), [(2, 0.3), (5, 0.05), (20, 0.9)])
def test_false_alarms_are_as_rare_as_promised_where_all_rates_are_equal(groups, rate, sizes):
    runs = 60
    alarms = outcomes(np.full(groups, rate), SIZES[sizes](groups), runs, margin=0.0).count(Outcome.FAIL)
    # at 6 % more than this has probability 0.001
    assert alarms <= stats.binom.isf(0.001, runs, 0.06)


@pytest.mark.parametrize("kind", ["difference", "ratio"])
@pytest.mark.parametrize("sizes", SIZES)
def test_false_alarms_and_passes_are_as_rare_on_the_margin(sizes, kind):
    runs, margin = 60, 0.1 if kind == "difference" else 0.8
    low, high = (0.3, 0.4) if kind == "difference" else (0.4, 0.5)
    for groups in (2, 6):
        rates = np.where(np.arange(groups) % 2, low, high)
        found = outcomes(rates, SIZES[sizes](groups), runs, margin, groups, kind)
        assert max(map(found.count, (Outcome.FAIL, Outcome.PASS))) <= stats.binom.isf(0.001, runs, 0.05)


@pytest.mark.parametrize("groups", [2, 10, 50])
def test_twenty_points_on_one_group_of_200_are_found(groups):
    runs, rates = 60, np.r_[0.5, np.full(groups - 1, 0.3)]
    found = outcomes(rates, np.full(groups, 200), runs, margin=0.0).count(Outcome.FAIL)
    # at 97 % fewer than this has probability 0.001
    assert found >= stats.binom.ppf(0.001, runs, 0.97)


def test_equal_groups_of_many_rows_pass():
    assert outcomes(np.full(10, 0.3), np.full(10, 2500), 40, margin=0.1).count(Outcome.PASS) >= 38


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(1, 40)), min_size=2, max_size=6),
    st.sampled_from([0.0, 0.05, 0.1, 0.3]),
    st.sampled_from(["difference", "ratio"]),
    st.booleans(),
)
def test_test_p_value_and_interval_agree(groups, margin, kind, with_reference):
    hits, rows = (np.array(part) for part in zip(*((min(h, n), n) for h, n in groups), strict=True))
    margin = margin if kind == "difference" else 1 - margin
    reference = 0 if with_reference else None
    found = cube_of(hits, rows).test(RATE, margin, 0.05, kind, reference)
    e = found.disparity
    assert e == cube_of(hits, rows).disparity(RATE, kind, reference, alpha=0.05)
    if e.value is None:
        assert found.outcome is Outcome.INSUFFICIENT and found.p is None
        return
    inside = e.low <= margin <= e.high
    beyond = e.low > margin if kind == "difference" else e.high < margin
    assert (found.outcome is Outcome.FAIL) == beyond
    assert not (found.outcome is Outcome.FAIL and inside)
    if abs(found.p - 0.05) > 1e-6:
        assert (found.p < 0.05) == beyond
    if reference is not None:
        assert reference in found.groups


def test_fisher_and_the_test_tell_two_groups_alike():
    # far from 5 % the exact test and the comparison of intervals agree
    for hits in ((2, 2), (0, 12), (5, 9), (1, 14)):
        found = cube_of(hits, (15, 15)).test(RATE, margin=0.0)
        fisher = stats.fisher_exact([[hits[0], hits[1]], [15 - hits[0], 15 - hits[1]]])[1]
        if not 0.02 < fisher < 0.15:
            assert (found.p < 0.05) == (fisher < 0.05), hits


def test_the_decision_names_the_pair_the_worse_off_first():
    cube = cube_of((20, 100, 60), (200, 200, 200), ["a", "b", "c"])
    found = cube.test(RATE, margin=0.1)
    assert found.outcome is Outcome.FAIL and found.groups == ("a", "b")
    assert found.p < 0.001 and "a and b" in found.reason and "0.1" in found.reason
    # of errors less is better
    assert cube.test("false_negative_rate", margin=0.1).groups == ("a", "b")
    assert cube.test(RATE, 0.1, reference="c").groups in {("a", "c"), ("c", "b")}
    assert cube.test(RATE, kind="ratio").outcome is Outcome.FAIL


def test_a_group_without_a_rate_stops_a_pass_and_not_a_fail():
    groups = pd.Series(pd.Categorical(["a", "b"] * 5000, categories=["a", "b", "none"]))
    equal = Cube.count([1, 0] * 5000, [1, 1] * 5000, groups).test(RATE, margin=0.5)
    assert equal.outcome is Outcome.INSUFFICIENT and "none" in equal.reason
    assert Cube.count([1, 0] * 5000, [1, 0] * 5000, groups).test(RATE, margin=0.5).outcome is Outcome.FAIL


def test_disparities_of_zero_are_no_certainty():
    cube = cube_of((0, 0, 5), (10, 20, 40))
    ratio = cube.disparity(RATE, "ratio")
    assert (ratio.value, ratio.low) == (0.0, 0.0) and ratio.high == 1.0
    assert cube_of((0, 0), (10, 20)).disparity(RATE, "ratio").value is None
    difference = cube_of((0, 0), (10, 20)).disparity(RATE)
    assert difference.value == difference.low == 0.0 and difference.high > 0.1


@pytest.mark.parametrize("method", [*WRITTEN, "bootstrap"])
def test_every_interval_names_its_method(method):
    found = cube_of((0, 30), (10, 100)).rate(RATE, method, level=0.9)
    words = WRITTEN.get(method, "bootstrap (2000 resamples)")
    assert found[1].method == f"{words} 90 %"
    # at 0 resamples have no spread
    assert found[0].low == 0.0 < 0.1 < found[0].high
    assert "Clopper-Pearson" in found[0].method or method != "bootstrap"


def test_intervals_of_all_groups_together_are_wider_and_exact():
    cube = cube_of((3, 30, 50), (10, 100, 90))
    alone, together = cube.rate(RATE, "clopper-pearson"), cube.rate(RATE, simultaneous=True)
    for key, e in together.items():
        assert e.low < alone[key].low and alone[key].high < e.high
        assert e.method == "Clopper-Pearson 95 %, 3 groups together"


def test_thousands_of_groups_cost_no_square():
    rng = np.random.default_rng(0)
    rows = rng.integers(5, 400, 2000)
    cube = cube_of(rng.binomial(rows, 0.3), rows)
    start = time.process_time()
    found = cube.test(RATE, margin=0.1)
    # four million pairs of a few operations each would take longer
    assert time.process_time() - start < 2.0
    assert found.disparity.high > found.disparity.value > 0.1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda c: c.rate(RATE, "wald"), "name of an interval"),
        (lambda c: c.rate(RATE, level=95), "level"),
        (lambda c: c.test(RATE, margin=10), "margin"),
        (lambda c: c.test(RATE, alpha=0), "alpha"),
        (lambda c: c.test(RATE, kind="odds"), "difference or ratio"),
        (lambda c: c.test(RATE, reference="b"), "group as reference"),
    ],
)
def test_bad_arguments_are_refused(call, message):
    with pytest.raises(DataError, match=message):
        call(cube_of((1, 2), (5, 5)))


def test_margins_left_out_are_ten_points_and_four_fifths():
    cube = cube_of((600, 400), (1000, 1000))
    for kind, margin in inference.MARGINS.items():
        assert cube.test(RATE, kind=kind) == cube.test(RATE, margin, kind=kind)
