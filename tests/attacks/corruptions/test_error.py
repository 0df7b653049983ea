"""The mean corruption error on numbers small enough to check by hand."""

import math

import pytest

from attacks.corruptions import mean_corruption_error

ERRORS = [[0.2, 0.4], [0.6, 0.8]]
BASELINE = [[0.4, 0.8], [0.6, 0.6]]


def test_by_hand() -> None:
    assert mean_corruption_error(ERRORS) == pytest.approx(0.5)
    assert mean_corruption_error(ERRORS, clean=0.1) == pytest.approx(0.4)
    # sums over severities: 0.6 / 1.2 and 1.4 / 1.2
    assert mean_corruption_error(ERRORS, BASELINE) == pytest.approx((0.5 + 1.4 / 1.2) / 2)
    assert mean_corruption_error(ERRORS, [0.6, 0.6]) == pytest.approx((0.5 + 1.4 / 1.2) / 2)
    # only what corruption adds: 0.4 / 0.8 and 1.2 / 0.8
    assert mean_corruption_error(ERRORS, BASELINE, clean=0.1, baseline_clean=0.2) == pytest.approx(1.0)
    assert mean_corruption_error(BASELINE, BASELINE) == pytest.approx(1.0)


def test_a_baseline_without_errors_leaves_the_ratio_undefined() -> None:
    assert math.isnan(mean_corruption_error(ERRORS, [0.0, 0.5]))
    assert math.isnan(mean_corruption_error(ERRORS, [0.2, 0.5], baseline_clean=0.2))


@pytest.mark.parametrize(("errors", "baseline"), [([0.1, 0.2], None), ([[]], None), (ERRORS, [0.1]), (ERRORS, [[0.1]])])
def test_refusals(errors: list, baseline: list | None) -> None:
    with pytest.raises(ValueError, match="Expected"):
        mean_corruption_error(errors, baseline)
