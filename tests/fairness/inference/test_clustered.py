"""Repeated people and weights: variances against closed forms, coverage against simulated people."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from audit.fairness import Cube
from audit.fairness.counting import rates
from audit.fairness.inference import clustered, intervals
from reports.record import Outcome


def people(rng, groups, each, rows, rate, alike):
    """Rows of people whose answers correlate by `alike`, their group and who they are."""
    own = rng.beta(rate * (1 / alike - 1), (1 - rate) * (1 / alike - 1), groups * each)
    answer = (rng.random((groups * each, rows)) < own[:, None]).astype(int).ravel()
    return answer, np.repeat(np.arange(groups), each * rows), np.repeat(np.arange(groups * each), rows)


def test_repeating_every_row_adds_nothing():
    rng = np.random.default_rng(0)
    answer, group = rng.integers(0, 2, 300), rng.integers(0, 3, 300)
    again = [np.repeat(column, 5) for column in (answer, group, np.arange(300))]
    found = clustered.sample(Cube.count(again[0], again[0], again[1], clusters=again[2]), "selection_rate")
    clusters = np.bincount(group)
    # p (1 - p) / (m - 1) is the variance of a mean of m equal clusters
    assert found.size == pytest.approx(clusters - 1)
    assert found.freedom == pytest.approx(clusters - 1)


def test_a_cluster_of_one_row_is_a_row():
    rng = np.random.default_rng(1)
    true, predicted, group = rng.integers(0, 2, 400), rng.integers(0, 2, 400), rng.integers(0, 2, 400)
    alone = Cube.count(true, predicted, group, clusters=np.arange(400))
    plain = Cube.count(true, predicted, group)
    for name in ("selection_rate", "accuracy"):
        one, two = clustered.sample(alone, name), clustered.sample(plain, name)
        assert one.size == pytest.approx(two.size * (1 - 1 / two.size))
    for name in rates.NAMES:
        assert clustered.sample(alone, name).size == pytest.approx(clustered.sample(plain, name).size, rel=0.12)


def test_the_variance_is_that_of_the_clusters_residuals():
    rng = np.random.default_rng(2)
    answer, group, person = people(rng, 1, 40, 6, 0.4, 0.3)
    weight = rng.choice([1.0, 4.0], len(answer))
    cube = Cube.count(answer, answer, group, weight, clusters=person)
    p = np.average(answer, weights=weight)
    residual = np.bincount(person, weight * (answer - p)) / weight.sum()
    direct = 40 / 39 * (residual**2).sum()
    assert clustered.sample(cube, "selection_rate").size[0] == pytest.approx(p * (1 - p) / direct)


def test_limits_use_students_t():
    answer = np.repeat([0, 1], [30, 10])
    cube = Cube.count(answer, answer, np.zeros(40, int), clusters=np.repeat(np.arange(8), 5))
    found = clustered.sample(cube, "selection_rate")
    t = float(stats.t.ppf(0.975, 7))
    wilson = intervals.wilson(found.share, found.size, t)
    assert found.ends("wilson", intervals.normal(0.95)) == (pytest.approx(wilson[0]), pytest.approx(wilson[1]))
    # the score that the comparisons use has the same limits for its roots
    low = float(found.ends("mid-p", 2.0)[0][0])
    assert found.score(low)[0] == pytest.approx(2.0, abs=1e-8)


def test_at_zero_and_one_a_cluster_is_worth_one_row():
    answer = np.zeros(100, int)
    cube = Cube.count(answer, answer, np.zeros(100, int), classes=[0, 1], clusters=np.repeat(np.arange(20), 5))
    e = cube.rate("selection_rate", "clopper-pearson")[0]
    assert (e.value, e.n) == (0.0, 20)
    assert e.high > 1 - 0.025 ** (1 / 20)


def test_intervals_cover_where_rows_repeat_people_and_naive_ones_do_not():
    rng, runs, rate = np.random.default_rng(3), 150, 0.3
    covered, naive = 0, 0
    for _ in range(runs):
        answer, group, person = people(rng, 2, 40, 5, rate, 0.5)
        with_people = Cube.count(answer, answer, group, clusters=person).rate("selection_rate")
        without = Cube.count(answer, answer, group).rate("selection_rate")
        covered += sum(e.low <= rate <= e.high for e in with_people.values())
        naive += sum(e.low <= rate <= e.high for e in without.values())
    # 300 intervals at 94 %: fewer than this has probability 0.001
    assert covered >= stats.binom.ppf(0.001, 2 * runs, 0.94)
    assert naive < 0.85 * 2 * runs


def test_the_test_keeps_its_error_where_rows_repeat_people():
    rng, runs = np.random.default_rng(4), 60
    alarms, naive = 0, 0
    for _ in range(runs):
        answer, group, person = people(rng, 5, 40, 5, 0.3, 0.5)
        fail = [
            Cube.count(answer, answer, group, clusters=c).test("selection_rate", margin=0.0).outcome is Outcome.FAIL
            for c in (person, None)
        ]
        alarms, naive = alarms + fail[0], naive + fail[1]
    assert alarms <= stats.binom.isf(0.001, runs, 0.06)
    assert naive > 0.3 * runs


def test_balanced_accuracy_has_an_effective_size_of_its_parts():
    # 100 rows of either class, recalls of 1/2: the variance is that of 200 rows
    true = np.repeat([0, 1], 100)
    predicted = np.tile([0, 1], 100)
    found = clustered.sample(Cube.count(true, predicted, np.zeros(200, int)), "balanced_accuracy")
    assert found.size[0] == pytest.approx(200)
    # a class of two rows, all of them right, leaves much open
    few = Cube.count(np.r_[true, 2, 2], np.r_[predicted, 2, 2], np.zeros(202, int)).rate("balanced_accuracy")[0]
    assert few.value == pytest.approx(2 / 3)
    assert few.high - few.low > 0.25


@pytest.mark.parametrize("method", ["wilson", "mid-p", "clopper-pearson"])
def test_balanced_accuracy_is_covered_by_enumeration(method):
    m, n = 8, 40
    a, b = (part.ravel() for part in np.meshgrid(np.arange(m + 1), np.arange(n + 1), indexing="ij"))
    counts = np.zeros((len(a), 2, 2))
    counts[:, 0, 0], counts[:, 0, 1], counts[:, 1, 1], counts[:, 1, 0] = a, m - a, b, n - b
    cube = Cube(tuple(range(len(a))), (0, 1), counts, counts, counts.astype(np.int64), 1)
    low, high = clustered.sample(cube, "balanced_accuracy").ends(method, intervals.normal(0.95))
    for p, q in ((0.5, 0.5), (0.8, 0.7), (0.95, 0.6), (0.3, 0.99)):
        inside = (low <= (p + q) / 2) & (high >= (p + q) / 2)
        assert (stats.binom.pmf(a, m, p) * stats.binom.pmf(b, n, q))[inside].sum() >= 0.93


@pytest.mark.parametrize("sign", [1, -1])
def test_people_in_several_groups_do_not_raise_the_alarm(sign):
    rng = np.random.default_rng(0)
    who = np.tile(np.repeat(np.arange(50), 4), 2)
    group = np.repeat(["a", "b"], 200)
    alarms = 0
    for _ in range(100):
        own = 2 * rng.standard_normal(50)
        # one group's answers go with the other's, or against them
        answer = (np.r_[own[who[:200]], sign * own[who[200:]]] + rng.standard_normal(400) > 0).astype(int)
        cube = Cube.count(answer, answer, group, clusters=who)
        found = cube.test("selection_rate", margin=0.0)
        alarms += found.outcome is Outcome.FAIL
        assert (found.p < 0.05) == (found.outcome is Outcome.FAIL)
        assert "50 clusters that cross" in found.disparity.method
    assert alarms <= 5
    # one pair of two groups: wider than were their people others
    apart = Cube.count(answer, answer, group, clusters=who + 50 * (group == "b"))
    wide, narrow = cube.disparity("selection_rate"), apart.disparity("selection_rate")
    assert wide.low <= narrow.low and wide.high >= narrow.high
    wide, narrow = (c.rate("selection_rate", simultaneous=True)["a"] for c in (cube, apart))
    assert wide.high - wide.low > narrow.high - narrow.low


def test_one_cluster_says_nothing():
    cube = Cube.count([0, 1] * 50, [0, 1] * 50, ["a", "b"] * 50, clusters=[7] * 100)
    found = cube.test("selection_rate")
    assert found.outcome is Outcome.INSUFFICIENT
    assert (found.disparity.low, found.disparity.high) == (0.0, 1.0)
    many = Cube.count([0, 1, 1, 0] * 30, [0, 1, 1, 0] * 30, ["a", "b", "c"] * 40, clusters=[1, 2, 3] * 40)
    assert many.test("selection_rate").outcome is Outcome.INSUFFICIENT
