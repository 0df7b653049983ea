"""Cluster moments against summing outer products of plain totals, and the variance they give."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.fairness import Cube
from audit.fairness.counting import moments, rates


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(*[st.integers(0, 1)] * 2, *[st.integers(0, 3)] * 3), min_size=1, max_size=80).filter(
        lambda rows: any(row[-1] for row in rows)
    )
)
def test_moments_are_sums_of_outer_products_of_cluster_totals(rows):
    true, predicted, group, person, weight = (np.array(column) for column in zip(*rows, strict=True))
    cube = Cube.count(true, predicted, group, weight, classes=(0, 1), clusters=person)
    there = set()
    for g, key in enumerate(cube.groups):
        expected, number = np.zeros((4, 4)), 0
        for c in range(4):
            own = (group == key) & (person == c) & (weight > 0)
            total = np.bincount(true[own] * 2 + predicted[own], weight[own], 4)
            expected += np.outer(total, total)
            number += bool(own.any())
            there |= {(c, g)} if own.any() else set()
        assert (cube.moments[g] == expected).all()
        assert cube.clusters[g] == number
    of = [c for c, _ in there]
    assert cube.crossing == sum(of.count(c) > 1 for c in set(of))


def test_rows_that_are_their_own_clusters_have_the_squares_as_moments():
    rng = np.random.default_rng(0)
    true, predicted, group, weight = *rng.integers(0, 3, (3, 500)), rng.random(500)
    cube = Cube.count(true, predicted, group, weight, clusters=np.arange(500))
    assert cube.moments == pytest.approx(np.stack([np.diag(s.ravel()) for s in cube.squares]))
    assert cube.clusters.tolist() == cube.rows.sum((1, 2)).tolist()
    assert cube.crossing == 0


def test_blocks_of_pairs_change_nothing(monkeypatch):
    rng = np.random.default_rng(1)
    columns = *rng.integers(0, 2, (2, 600)), rng.integers(0, 7, 600)
    people = rng.integers(0, 90, 600)
    expected = Cube.count(*columns, clusters=people)
    monkeypatch.setattr(moments, "HELD", 40)
    assert (Cube.count(*columns, clusters=people).moments == expected.moments).all()


@pytest.mark.parametrize("name", ["positive_predictive_value", "f1", "balanced_accuracy"])
def test_the_sandwich_of_gradient_and_moments_is_the_variance_over_draws_of_people(name):
    rng = np.random.default_rng(2)
    people, repeats = 300, 4
    drawn, claimed = [], []
    for _ in range(300):
        skill, lean = np.repeat(rng.random(people), repeats), np.repeat(rng.random(people), repeats)
        true = (rng.random(people * repeats) < lean).astype(int)
        predicted = np.where(rng.random(people * repeats) < 0.5 + skill / 2, true, 1 - true)
        cube = Cube.count(
            true, predicted, np.zeros(people * repeats, int), clusters=np.repeat(np.arange(people), repeats)
        )
        slope = rates.gradient(cube, name).reshape(1, -1)
        claimed.append((slope @ cube.moments[0] @ slope.T).item())
        drawn.append(rates.values(cube, name)[0])
    # the standard error of a variance over 300 draws is 8 %
    assert np.mean(claimed) == pytest.approx(np.var(drawn), rel=0.25)
