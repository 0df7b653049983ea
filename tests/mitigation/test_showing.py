"""What is said of the model that was taken."""

from __future__ import annotations

from audit.mitigation.remedy import Aim
from audit.mitigation.showing import scatter, unproven
from audit.statistics import undefined
from reports.record import Estimate, Measured

AIM = Aim("sex", "demographic_parity", 1)


def figures(gap, accuracy, change=None):
    found = {"demographic_parity_difference": estimate(gap), "accuracy": estimate(accuracy)}
    return Measured(estimates=found | ({"demographic_parity_difference_change": change} if change else {}))


def estimate(value, low=None, high=None):
    low, high = (value if end is None else end for end in (low, high))
    return Estimate(value=value, low=low, high=high, n=100, method="counted", unit="fraction")


def test_a_smaller_difference_is_claimed_only_where_the_test_rows_show_it():
    assert unproven(figures(0.1, 0.8, estimate(-0.1, -0.15, -0.05)), "thresholds", AIM) is None
    for change in (estimate(-0.1, -0.25, 0.05), estimate(0.1, 0.05, 0.15), estimate(0.0)):
        assert "do not show that thresholds brings" in (unproven(figures(0.1, 0.8, change), "thresholds", AIM) or "")
    said = unproven(figures(0.1, 0.8, undefined("no group has rows")), "thresholds", AIM)
    assert said is not None and "not known" in said and "no group has rows" in said


def test_the_picture_marks_the_front_and_the_model_taken():
    found = {"as it was": figures(0.3, 0.9), "a": figures(0.1, 0.8), "b": figures(0.1, 0.8), "c": figures(0.2, 0.7)}
    places = scatter(found, AIM, "", "a").points
    assert [place.label for place in places] == ["as it was", "a (taken)", "b", "c"]
    assert [place.front for place in places] == [True, True, True, False]
