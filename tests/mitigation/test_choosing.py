"""The front and the rules, on spots where the answer is plain."""

from __future__ import annotations

import pytest

from audit.errors import DataError, PlanError
from audit.mitigation.choosing import Spot, choose, front, refuse_rule

SPOTS = {
    "none": Spot(0.20, 0.90),
    "worse": Spot(0.20, 0.85),
    "near": Spot(0.04, 0.88),
    "exact": Spot(0.01, 0.86),
    "dear": Spot(0.02, 0.70),
    "unknown": Spot(None, 0.99),
}


def test_the_front_is_what_no_other_beats():
    assert front(SPOTS) == {"none", "near", "exact"}
    # of equal models neither beats the other
    assert front({"a": Spot(0.1, 0.8), "b": Spot(0.1, 0.8)}) == {"a", "b"}
    assert front({"a": Spot(None, 0.8)}) == frozenset()


@pytest.mark.parametrize(
    ("rule", "margin", "name", "words"),
    [
        ("pareto", 0.05, "near", "at most 0.05"),
        ("pareto", 0.3, "none", "at most 0.3"),
        ("pareto", 0.001, "exact", "none comes within 0.001"),
        ("difference", 0.3, "exact", "smallest difference"),
        ("dear", 0.0, "dear", "names it"),
    ],
)
def test_rules(rule, margin, name, words):
    found, why = choose(SPOTS, rule, margin)
    assert found == name and words in why


def test_of_equal_differences_the_more_accurate_is_taken():
    assert choose({"a": Spot(0.1, 0.7), "b": Spot(0.1, 0.8)}, "difference", 0)[0] == "b"


def test_what_cannot_be_chosen_is_refused():
    with pytest.raises(DataError, match="no method"):
        choose({"unknown": Spot(None, 0.9)}, "pareto", 0.1)
    with pytest.raises(DataError, match="left out"):
        choose(SPOTS, "thresholds", 0.1)
    with pytest.raises(PlanError, match="pareto"):
        refuse_rule("pareot", ["thresholds"])
    refuse_rule("thresholds", ["thresholds"])
