"""Entropies against their definitions and their axioms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.fairness.individuals.benefits import BENEFITS, between, entropy, unevenness

TABLES = st.lists(st.tuples(*[st.integers(1, 40)] * 3), min_size=1, max_size=5).map(np.array)


def plain(b: np.ndarray, alpha: float) -> float:
    r = b / b.mean()
    if alpha == 1:
        return float(np.mean([x * np.log(x) if x else 0.0 for x in r]))
    return float(np.mean(r**alpha - 1) / (alpha * (alpha - 1)))


@pytest.mark.parametrize("alpha", [1, 2, 3])
@given(table=TABLES)
@settings(max_examples=50, deadline=None, derandomize=True)
def test_entropy_is_its_definition_and_falls_apart_into_within_and_between(table, alpha):
    people = [np.repeat(BENEFITS, row) for row in table]
    everyone = np.concatenate(people)
    whole = plain(everyone, alpha)
    assert entropy(BENEFITS, table.sum(0), alpha) == pytest.approx(whole)
    part = float(between(BENEFITS, table, alpha))
    assert part == pytest.approx(plain(np.concatenate([np.full(len(p), p.mean()) for p in people]), alpha), abs=1e-12)
    within = sum(len(p) / len(everyone) * (p.mean() / everyone.mean()) ** alpha * plain(p, alpha) for p in people)
    assert part + within == pytest.approx(whole)
    assert entropy(BENEFITS, table.sum(0) * 10, alpha) == pytest.approx(whole)


def test_equal_benefits_are_even_and_no_benefits_undefined():
    assert entropy(BENEFITS, np.array([0, 9, 0]), 2) == 0
    assert np.isnan(entropy(BENEFITS, np.array([9, 0, 0]), 2))
    rng = np.random.default_rng(0)
    found = unevenness(np.ones(9), np.ones(9), {"sex": np.arange(9) % 2}, rng, 50)
    assert found.entropy.value == 0
    assert found.shares["sex"].value is None
    none = unevenness(np.zeros(9), np.ones(9), {}, rng, 50)
    assert none.entropy.value is None
    assert none.independent.value is None


def test_what_lies_between_groups_stands_beside_chance():
    rng = np.random.default_rng(1)
    n = 4000
    code = rng.integers(0, 2, n)
    true = rng.random(n) < 0.5
    wrong = rng.random(n) < 0.2
    fair = unevenness(true ^ wrong, true, {"sex": code}, rng, 400)
    assert fair.shares["sex"].value <= fair.chance["sex"].high
    # one group's errors are refusals, the other's are favours
    biased = unevenness(np.where(wrong, code == 1, true), true, {"sex": code}, rng, 400)
    assert biased.shares["sex"].low > 5 * biased.chance["sex"].high
    assert biased.entropy.value < biased.independent.value
    # as good as answers without regard to the truth
    blind = unevenness(rng.random(n) < 0.5, true, {}, rng, 400)
    assert blind.entropy.low <= blind.independent.value <= blind.entropy.high


def test_intervals_cover_and_rows_of_no_group_count_nowhere():
    rng = np.random.default_rng(2)
    truth = float(entropy(BENEFITS, np.array([0.1, 0.8, 0.1]), 2))
    inside = 0
    for _ in range(200):
        true = rng.random(200) < 0.5
        e = unevenness(true ^ (rng.random(200) < 0.2), true, {}, rng, 200).entropy
        inside += e.low <= truth <= e.high
    assert inside / 200 >= 0.91
    code = np.array([0, 0, 1, -1])
    found = unevenness(np.array([1, 0, 1, 1]), np.array([1, 1, 1, 0]), {"sex": code}, rng, 50)
    assert found.shares["sex"].n == 3
