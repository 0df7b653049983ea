"""Numbers as people read them, against forms written by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports import words
from reports.record import Estimate, Gate


def estimate(value, low, high, n=100, method="Wilson 95 %", unit="fraction"):
    return Estimate(value=value, low=low, high=high, n=n, method=method, unit=unit)


@pytest.mark.parametrize(
    ("given", "name", "expected"),
    [
        (estimate(0.851, 0.845, 0.856, 15060), "accuracy", "85.1 % (95 % interval 84.5 to 85.6, n = 15,060)"),
        (estimate(0.85, 0.6, 0.95, 20), "accuracy", "85 % (95 % interval 60 to 95, n = 20)"),
        (estimate(0.85123, 0.8508, 0.8517), "accuracy", "85.123 % (95 % interval 85.080 to 85.170, n = 100)"),
        (
            estimate(0.0123, -0.0041, 0.0302),
            "train_test_gap",
            "1.2 percentage points (95 % interval −0.4 to 3.0, n = 100)",
        ),
        (estimate(41234, 41234, 41234, 1, "exact count", "parameters"), "p", "41,234 parameters (exact)"),
        (estimate(12, 12, 12, 9, "largest of all", ""), "p", "12 (largest of all, n = 9)"),
        (
            estimate(8, 8, 8, 3, "smallest within 5 % of the best", "inputs"),
            "b",
            "8 inputs (smallest within 5 % of the best, n = 3)",
        ),
        (estimate(1, 1, 1, 50, "bootstrap 95 % (1000 resamples)"), "a", "100 % (95 % interval 100 to 100, n = 50)"),
        (
            estimate(3.2e-7, 2.9e-7, 4e-7, 9, unit="s"),
            "t",
            "3.20 × 10⁻⁷ s (95 % interval 2.90 × 10⁻⁷ to 4.00 × 10⁻⁷, n = 9)",
        ),
        (estimate(1234.5, 1200, 1300, 9, unit="ms"), "t", "1,234 ms (95 % interval 1,200 to 1,300, n = 9)"),
        (estimate(0.3, 0.29, 296, 10, unit="ms"), "t", "0.3 ms (95 % interval 0.3 to 296.0, n = 10)"),
        (Estimate(value=None, n=0, method="undefined", reason="no rows"), "a", "undefined: no rows"),
        (estimate(-0.00001, -0.02, 0.02), "gap", "0.0 percentage points (95 % interval −2.0 to 2.0, n = 100)"),
    ],
)
def test_an_estimate_in_words(given, name, expected):
    assert words.show(given, name).full == expected


@given(
    st.floats(-1e12, 1e12, allow_nan=False),
    st.floats(0, 1e6, allow_nan=False),
    st.floats(0, 1e6, allow_nan=False),
)
def test_what_is_shown_lies_within_half_a_digit_of_the_interval(value, below, above):
    low, high = value - below, value + above
    shown = words.show(estimate(value, low, high, unit=""))
    if "×" in shown.value:
        return
    back = float(shown.number.replace(",", "").replace("−", "-"))
    room = max((high - low) / 10, abs(value) * 1e-3) if high > low else abs(value) * 1e-3
    assert abs(back - value) <= room + 1e-12


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("macro_f1", "Macro F1"),
        ("ece", "ECE"),
        ("robust_accuracy@linf:0.1", "Robust accuracy, linf:0.1"),
        ("p95_latency", "p95 latency"),
        ("selection_rate@sex=Female", "Selection rate, sex=Female"),
    ],
)
def test_a_name_in_words(name, expected):
    assert words.title(name) == expected


def test_a_bound_takes_the_unit_of_what_was_observed():
    gate = Gate(estimate="fit.accuracy/*", at_least=0.8)
    assert words.asked(gate, "fit.accuracy/accuracy", estimate(0.9, 0.8, 0.95)) == "Accuracy at least 80 %"
    assert words.asked(gate, "fit.accuracy/*", None) == "fit.accuracy/* at least 0.8"
    gap = Gate(estimate="fit.accuracy/train_test_gap", at_most=0.1)
    asked = words.asked(gap, "fit.accuracy/train_test_gap", estimate(0.02, 0.01, 0.03))
    assert asked == "Train test gap at most 10 percentage points"


def test_cleaning_takes_controls_overrides_and_colours_away():
    assert words.clean("a\x1b[31mb\x00c\u202ed\x85e\tf\ng") == "abcde\tf\ng"
    assert words.clean("\ud800x\ufffe") == "x"
    assert words.line("a\n b\t c", limit=5) == "a b c"
    assert words.line("abcdef", limit=4) == "abc…"


@pytest.mark.parametrize(
    "name", ["net_favour@sex=F", "largest_excess@error", "probability_effect@sex=F", "accuracy_change"]
)
def test_differences_of_shares_are_in_points(name):
    assert words.unit("fraction", name) == "percentage points"
    assert words.unit("fraction", "answers_changed@sex") == "%"
