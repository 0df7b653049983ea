"""The two intervals the robustness checks rest on."""

import numpy as np
import pytest

from audit.statistics import clustered_proportion, paired_difference, proportion


def test_clusters_of_one_answer_are_wilsons_rows() -> None:
    hits = np.array([1.0] * 30 + [0.0] * 20)
    mine, plain = clustered_proportion(hits, 1), proportion(30, 50)
    assert mine.value == plain.value
    assert mine.low == pytest.approx(plain.low, abs=0.003)  # the variance divides by n - 1
    assert mine.high == pytest.approx(plain.high, abs=0.003)


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_equal_clusters_are_not_certain(share: float) -> None:
    found = clustered_proportion([share] * 20, 5)
    assert found.value == pytest.approx(share)
    assert found.low is not None
    assert found.high is not None
    assert found.high - found.low > 0.1
    assert 0 <= found.low <= found.high <= 1


def test_clustered_interval_covers() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        rates = rng.beta(2, 1, 60)  # mean 2/3; each cluster has its own rate
        found = clustered_proportion(rng.binomial(5, rates) / 5, 5)
        covered += (found.low or 0) <= 2 / 3 <= (found.high or 0)
    assert covered / 400 > 0.92


def test_paired_difference() -> None:
    a = np.array([True] * 60 + [False] * 40)
    b = np.array([True] * 50 + [False] * 10 + [True] * 5 + [False] * 35)
    found = paired_difference(a, b)
    assert found.value == pytest.approx(0.05)
    # Agresti and Min 2005: (b + .5, c + .5) of n + 2 give 5/102 +- 1.96 sqrt(16/102 - (5/102)^2) / sqrt(102)
    half = 1.959964 * (16 / 102 - (5 / 102) ** 2) ** 0.5 / 102**0.5
    assert found.low == pytest.approx(5 / 102 - half, abs=1e-6)
    assert found.high == pytest.approx(5 / 102 + half, abs=1e-6)
    same = paired_difference(a, a)
    assert same.value == 0
    assert same.low is not None
    assert same.low < 0


def test_paired_interval_covers() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(400):
        a = rng.random(80) < 0.9
        b = np.where(rng.random(80) < 0.15, False, a)
        found = paired_difference(a, b)
        covered += (found.low or 0) <= 0.9 * 0.15 <= (found.high or 0)
    assert covered / 400 > 0.92


def test_no_rows_are_undefined() -> None:
    assert clustered_proportion([], 1).value is None
    assert paired_difference([], []).value is None
