"""Definitions against counting by hand, and what cannot hold together against the published identity."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from audit.errors import DataError
from audit.fairness import Cube
from audit.fairness.definitions.impossibility import (
    BALANCE,
    ODDS,
    PRECISION,
    SUFFICIENCY,
    chouldechova,
    demands,
    exclusions,
)
from audit.fairness.definitions.published import (
    DEFINITIONS,
    TREATMENT,
    adjusted,
    distance,
    errors,
    find,
    score_bins,
    significant,
)
from audit.fairness.strata.stratified import Strata

#: false negatives, true negatives, false positives and true positives of COMPAS at medium or high risk, two years
#: (Larson, Mattu, Kirchner and Angwin 2016)
COMPAS = {"African-American": (532, 990, 805, 1369), "Caucasian": (461, 1139, 349, 505)}


def compas() -> Cube:
    group = np.repeat(list(COMPAS), [sum(cells) for cells in COMPAS.values()])
    true = np.concatenate([np.repeat([1, 0, 0, 1], cells) for cells in COMPAS.values()])
    predicted = np.concatenate([np.repeat([0, 0, 1, 1], cells) for cells in COMPAS.values()])
    return Cube.count(true, predicted, group)


def simulated(rng: np.random.Generator, n: int, groups: int, k: int = 2, lean: float = 0.0) -> Cube:
    """True and predicted classes that depend on each other, and on the group by `lean` only."""
    group, true = rng.integers(0, groups, n), rng.integers(0, k, n)
    right = rng.random(n) < 0.7 + lean * (group == 0)
    return Cube.count(true, np.where(right, true, rng.integers(0, k, n)), group, classes=range(k))


def test_compas_reads_as_published():
    cube = compas()
    # 44.9 and 23.5 % false positives, 28.0 and 47.7 % false negatives, 63.0 and 59.1 % precision
    assert distance(cube, find("predictive equality")).estimate.value == pytest.approx(0.448 - 0.235, abs=0.002)
    assert distance(cube, find("equal opportunity")).estimate.value == pytest.approx(0.477 - 0.280, abs=0.002)
    assert distance(cube, find("predictive parity")).estimate.value == pytest.approx(0.630 - 0.591, abs=0.002)
    odds = distance(cube, find("equalised odds"))
    assert odds.estimate.value == distance(cube, find("predictive equality")).estimate.value
    assert odds.p < 1e-6
    assert set(odds.groups) == set(COMPAS)
    # of the errors, 532 of 1337 and 461 of 810 are false negatives
    assert distance(cube, find(TREATMENT)).estimate.value == pytest.approx(461 / 810 - 532 / 1337)


def test_errors_are_counted_one_class_against_the_rest():
    true, predicted = [0, 0, 1, 1, 2, 2, 2], [0, 2, 2, 0, 2, 0, 1]
    cube = Cube.count(true, predicted, ["a"] * 7, classes=[0, 1, 2])
    # class 2 was missed twice, and given twice where it was not true
    assert errors(cube).rows.tolist() == [[[2, 0], [0, 2]]]


def test_several_rates_are_the_largest_and_hold_together():
    cube = simulated(np.random.default_rng(0), 900, 3)
    single = [cube.disparity(rate).value for rate in ("positive_predictive_value", "negative_predictive_value")]
    both = distance(cube, find("conditional use accuracy equality"))
    assert both.estimate.value == max(single)
    assert both.estimate.low <= both.estimate.value <= both.estimate.high


def test_fair_models_break_a_definition_only_as_often_as_promised():
    rng = np.random.default_rng(3)
    alarms, runs = 0, 20
    for _ in range(runs):
        cube = simulated(rng, 600, 4, 3)
        found = {d.name: distance(cube, d).p for d in DEFINITIONS if d.rates or d.name == TREATMENT}
        alarms += any(significant(found).values())
    # 5 % of 20 is 1; more than 4 has probability 0.003
    assert alarms <= 4


def test_an_unfair_model_breaks_them():
    cube = simulated(np.random.default_rng(1), 3000, 3, lean=0.2)
    found = {d.name: distance(cube, d).p for d in DEFINITIONS if d.rates}
    verdict = significant(found)
    assert verdict["equalised odds"] and verdict["overall accuracy equality"]
    assert not verdict["demographic parity"]


def test_holm_is_holm():
    p = {"a": 0.01, "b": 0.04, "c": 0.02, "d": None}
    assert significant(p) == {"a": True, "b": True, "c": True, "d": False}
    assert significant({"a": 0.01, "b": 0.04, "c": 0.03}) == {"a": True, "b": False, "c": False}


def test_calibration_is_compared_among_equal_scores():
    rng = np.random.default_rng(2)
    n = 6000
    group = rng.integers(0, 3, n)
    score = rng.beta(2 + group, 3)
    bins = score_bins(score)
    assert np.bincount(bins).min() == np.bincount(bins).max() == n // 10
    true = (rng.random(n) < score).astype(int)
    fair = adjusted(Strata.of(Cube.count(true, true, {"group": group, "score": bins}), "base_rate", "group"))
    assert fair.p > 0.05
    true = (rng.random(n) < np.clip(score + 0.1 * (group == 2), 0, 1)).astype(int)
    cube = Cube.count(true, true, {"group": group, "score": bins})
    unfair = adjusted(Strata.of(cube, "base_rate", "group"))
    assert unfair.p < 0.001
    assert 2 in unfair.groups
    assert unfair.estimate.low < 0.1 < unfair.estimate.high + 0.02


def test_equal_scores_stay_in_one_bin():
    bins = score_bins([0.5] * 50 + list(np.linspace(0.6, 0.9, 50)))
    assert len(set(bins[:50])) == 1


def test_the_identity_holds_for_every_cube():
    cube = compas()
    rates = {name: cube.rate(name) for name in ("positive_predictive_value", "true_positive_rate", "base_rate")}
    for group, estimate in cube.rate("false_positive_rate").items():
        precision, recall, base = (rates[name][group].value for name in rates)
        assert chouldechova(base, precision, recall) == pytest.approx(estimate.value)


def test_demands_are_what_a_model_of_equal_quality_would_show():
    cube = compas()
    found = {line.group: line for line in demands(cube)}
    first, second = found.values()
    assert first.base.value == pytest.approx(1901 / 3696)
    # more of the group re-offends, so equal precision and recall force more false alarms on it
    assert first.under_parity.value > second.under_parity.value
    # and equal error rates force unequal precision and selection
    assert first.precision.value > second.precision.value
    assert first.selection.value > second.selection.value
    recall, alarm = (1369 + 505) / (1901 + 966), (805 + 349) / (1795 + 1488)
    p = first.base.value
    assert first.selection.value == pytest.approx(recall * p + alarm * (1 - p))
    assert first.precision.value == pytest.approx(recall * p / first.selection.value)
    select = (2174 + 854) / 6150
    assert first.under_demography.value == pytest.approx((select - recall * p) / (1 - p))
    for line in found.values():
        for demand in line[3:]:
            assert demand.low < demand.value < demand.high


def test_equal_base_rates_demand_nothing():
    group, true = np.repeat(["a", "b"], 100), np.tile([0, 1], 100)
    predicted = true.copy()
    predicted[[0, 1, 100, 101]] = 1 - predicted[[0, 1, 100, 101]]
    cube = Cube.count(true, predicted, group)
    one, other = demands(cube)
    for name in ("under_parity", "under_demography", "selection", "precision"):
        assert getattr(one, name).value == pytest.approx(getattr(other, name).value)


def test_what_excludes_each_other_depends_on_the_models_errors():
    true, group = np.array([1, 1, 1, 0, 1, 0, 0, 0]), list("aaaabbbb")

    def of(predicted: list[int]) -> set[tuple[str, ...]]:
        return set(exclusions(Cube.count(true, predicted, group)))

    assert of([1, 1, 0, 1, 1, 0, 0, 0]) == {PRECISION, BALANCE, ODDS, SUFFICIENCY}
    # never wrong: everybody gets what is true, and the groups unequal shares of it
    assert of([1, 1, 1, 0, 1, 0, 0, 0]) == {ODDS, SUFFICIENCY}
    # no favourable answer is wrong
    assert of([1, 1, 0, 0, 1, 0, 0, 0]) == {BALANCE, ODDS, SUFFICIENCY}
    # as often where deserved as where not
    assert of([1, 1, 0, 1, 0, 0, 0, 1]) == {PRECISION, BALANCE, SUFFICIENCY}


def test_a_group_of_one_outcome_has_no_demand():
    found = demands(Cube.count([1, 1, 0, 1, 0], [1, 0, 1, 1, 0], list("aabbb")))
    assert found[0].under_parity.value is None
    assert found[1].under_parity.value is not None


def test_misuse_is_refused_by_name():
    with pytest.raises(DataError, match="equalised odds"):
        find("equalised oods")
    with pytest.raises(DataError, match="adjusted"):
        distance(compas(), find("calibration within groups"))


def test_groups_of_pandas_come_through():
    frame = pd.DataFrame({"sex": ["F", "M"] * 50, "grade": [1, 2, 3, 4] * 25})
    answer = np.tile([0, 1], 50)
    found = adjusted(Strata.of(Cube.count(answer, answer, frame), "selection_rate", "sex"))
    # grades 1 and 3 are all women, so nobody is alike
    assert found.estimate.value is None


def test_the_groups_named_are_the_clearest_pair_and_the_lower_rate_stands_first():
    # "few" differ most in the true positive rate, on rows that prove nothing; the false positive rates part the others
    def rows(group, tp, fn, fp, tn):
        return [(group, 1, 1)] * tp + [(group, 1, 0)] * fn + [(group, 0, 1)] * fp + [(group, 0, 0)] * tn

    cells = rows("often", 500, 500, 300, 700) + rows("seldom", 500, 500, 100, 900) + rows("few", 1, 3, 1, 4)
    group, true, predicted = (list(column) for column in zip(*cells, strict=True))
    cube = Cube.count(true, predicted, group)
    odds = distance(cube, find("equalised odds"))
    assert odds.estimate.value == pytest.approx(0.25)
    assert odds.groups == ("seldom", "often")
    assert distance(cube, find("predictive equality")).groups == ("seldom", "often")
