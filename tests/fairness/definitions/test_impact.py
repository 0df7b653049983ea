"""Impact ratios against the city's own worked examples and the published figures of COMPAS."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from audit.errors import DataError
from audit.fairness import Cube
from audit.fairness.definitions.impact import above_median, four_fifths, impact_ratios

#: applicants and selected, and the impact ratio that 6 RCNY 5-301 prints (DCWP, notice of adoption, April 2023)
SEX = {"Male": (1390, 667, 1.00), "Female": (1181, 555, 0.979)}
RACE = {
    "Hispanic or Latino": (408, 204, 0.97),
    "White": (797, 412, 1.00),
    "Black or African American": (390, 170, 0.84),
    "Native Hawaiian or Pacific Islander": (119, 52, 0.85),
    "Asian": (616, 302, 0.95),
    "Native American or Alaska Native": (41, 18, 0.85),
    "Two or More Races": (213, 96, 0.87),
}
#: people, and the scoring rate in per cent and impact ratio that the rule prints for "culture fit"
SCORED = {
    "Hispanic or Latino": (28, 18, 1.00),
    "White": (40, 15, 0.58),
    "Black or African American": (32, 16, 0.78),
    "Native Hawaiian or Pacific Islander": (8, 5, 0.97),
    "Asian": (24, 10, 0.65),
    "Native American or Alaska Native": (16, 10, 0.97),
    "Two or More Races": (20, 10, 0.78),
}
#: labelled high risk (medium or high) and low risk, two years, from Larson, Mattu, Kirchner and Angwin 2016
COMPAS = {"African-American": (2174, 1522), "Caucasian": (854, 1600)}


def selected(cells: dict[str | None, tuple[int, int]]) -> Cube:
    """Group -> people and how many of them are selected."""
    group = pd.Series([g for g, (n, _) in cells.items() for _ in range(n)], dtype=object)
    answer = np.concatenate([np.repeat([1, 0], [k, n - k]) for n, k in cells.values()])
    return Cube.count(answer, answer, group, classes=[0, 1])


@pytest.mark.parametrize(("example", "decimals"), [(SEX, 3), (RACE, 2)])
def test_the_citys_selection_example(example, decimals):
    cube = selected({g: (n, k) for g, (n, k, _) in example.items()} | {None: (250, 100)})
    lines, unknown = impact_ratios(cube, least=0.0)
    assert unknown == 250
    found = {line.group: line for line in lines}
    for group, (n, k, ratio) in example.items():
        assert (found[group].rows, found[group].hits) == (n, k)
        # Black or African American is 0.8432, which the rule prints as 0.84
        assert found[group].ratio.value == pytest.approx(ratio, abs=0.5 * 10**-decimals + 1e-9)


def test_the_citys_scoring_example():
    # scores such that as many people of each category as the rule says are above the middle of the 168
    groups = np.concatenate([[g] * n for g, (n, _, _) in SCORED.items()])
    scores = np.concatenate([np.repeat([0.9, 0.1], [k, n - k]) for n, k, _ in SCORED.values()])
    scores += np.random.default_rng(0).uniform(-0.05, 0.05, len(scores))
    cube, median, ties = above_median(scores, groups)
    assert 0.15 < median < 0.85
    assert ties == 0
    for line in impact_ratios(cube, least=0.0)[0]:
        n, k, ratio = SCORED[line.group]
        assert (line.rows, line.hits) == (n, k)
        assert line.ratio.value == pytest.approx(ratio, abs=0.006)


def test_only_scores_strictly_above_the_median_count():
    cube, median, ties = above_median([1, 2, 2, 2, 3], list("ababa"))
    assert (median, ties) == (2, 3)
    assert {g: e.value for g, e in cube.rate("selection_rate").items()} == {"a": pytest.approx(1 / 3), "b": 0}


def test_a_small_category_is_listed_without_a_ratio_and_is_not_the_highest():
    cube = selected({"a": (600, 300), "b": (390, 156), "c": (10, 10)})
    lines = {line.group: line for line in impact_ratios(cube)[0]}
    assert (lines["c"].rows, lines["c"].rate.value, lines["c"].ratio.value) == (10, 1.0, None)
    assert "2 %" in lines["c"].ratio.reason
    assert lines["a"].ratio.value == 1.0
    assert lines["b"].ratio.value == pytest.approx(0.8)
    with_it = {line.group: line for line in impact_ratios(cube, least=0.0)[0]}
    assert with_it["a"].ratio.value == pytest.approx(0.5)


def test_crossed_categories_with_an_unknown_part_are_unknown():
    groups = pd.DataFrame({"sex": ["F", "F", "M", None], "race": ["x", None, "x", "x"]})
    lines, unknown = impact_ratios(Cube.count([1, 0, 1, 0], [1, 0, 1, 0], groups))
    assert [line.group for line in lines] == [("F", "x"), ("M", "x")]
    assert unknown == 2


def test_orientation_turns_the_ratio_of_compas():
    answer = np.concatenate([np.repeat([1, 0], pair) for pair in COMPAS.values()])
    group = np.repeat(list(COMPAS), [sum(pair) for pair in COMPAS.values()])
    high_risk = Cube.count(answer, answer, group, classes=[0, 1])
    harmful = {line.group: line for line in four_fifths(high_risk, favourable=False)}["African-American"]
    assert harmful.ratio.value == pytest.approx(0.63, abs=0.005)
    assert harmful.opposite.value == pytest.approx(1.69, abs=0.005)
    assert harmful.reading == "below four fifths, significant"
    # the same people counted by the favourable class
    low_risk = Cube.count(answer, answer, group, classes=[0, 1], positive=0)
    turned = {line.group: line for line in four_fifths(low_risk)}["African-American"]
    for one, other in zip(turned[1:5], harmful[1:5], strict=True):
        assert one.model_dump() == pytest.approx(other.model_dump())
    # called favourable, being labelled high risk would disadvantage the others
    wrong = {line.group: line for line in four_fifths(high_risk)}
    assert wrong["Caucasian"].ratio.value == pytest.approx(1 / harmful.opposite.value)


@pytest.mark.parametrize(
    ("cells", "reading"),
    [
        ({"a": (1000, 500), "b": (1000, 300)}, "below four fifths, significant"),
        ({"a": (1000, 500), "b": (1000, 440)}, "at least four fifths, yet significant"),
        ({"a": (100, 50), "b": (100, 48)}, "at least four fifths"),
        ({"a": (40, 20), "b": (40, 13)}, "below four fifths, may be chance"),
        # one woman more and one man fewer: 4 of 10 against 5 of 10
        ({"a": (10, 5), "b": (10, 3)}, "below four fifths, small numbers"),
        ({"a": (10, 0), "b": (10, 0)}, "nobody has the favourable outcome"),
    ],
)
def test_the_federal_rule_reads_ratio_significance_and_numbers(cells, reading):
    lines = {line.group: line for line in four_fifths(selected(cells))}
    assert lines["b"].reading == reading


def test_equal_groups_are_called_below_and_significant_only_as_often_as_promised():
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(6), 60)
    alarms = 0
    for _ in range(150):
        answer = (rng.random(360) < 0.3).astype(int)
        lines = four_fifths(Cube.count(answer, answer, group, classes=[0, 1]))
        alarms += any("significant" in line.reading for line in lines)
    # 5 % of 150 is 7.5; more than 16 has probability 0.003
    assert alarms <= 16


def test_scores_that_are_none_are_refused():
    with pytest.raises(DataError, match="scores"):
        above_median([0.1, np.nan], ["a", "b"])


def test_repeated_people_are_refused():
    cube = Cube.count([0, 1, 1, 0], [0, 1, 1, 0], ["a", "a", "b", "b"], clusters=[0, 0, 1, 1])
    for measured in (four_fifths, impact_ratios):
        with pytest.raises(DataError, match="clusters"):
            measured(cube)
