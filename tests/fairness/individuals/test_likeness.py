"""Neighbours against brute force, the jackknife against truly leaving rows out, and its coverage."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from audit.errors import DataError
from audit.fairness.individuals import likeness as individual
from audit.fairness.individuals.likeness import Neighbours, by_chance, consistency, neighbours, violations


def test_neighbours_are_the_nearest_whatever_the_block(monkeypatch):
    x = np.random.default_rng(0).normal(3, 2, (300, 7))
    distance, near = NearestNeighbors(n_neighbors=7).fit(x).kneighbors(x)
    found = neighbours(x, 5)
    assert (found.near == near[:, 1:]).all()
    assert found.distance == pytest.approx(distance[:, 1:], abs=1e-5)
    monkeypatch.setattr(individual, "BLOCK", 1000)
    some = neighbours(x, 5, np.array([4, 200]))
    assert (some.near == near[[4, 200], 1:]).all()
    assert found.k == 5


def test_equal_rows_are_no_distance_apart_though_far_from_zero():
    x = np.repeat(np.random.default_rng(1).normal(1000, 1, (50, 4)), 3, axis=0)
    assert (neighbours(x, 1).distance[:, :2] == 0).all()


@pytest.mark.parametrize("k", [0, 3])
def test_too_few_rows_are_refused(k):
    with pytest.raises(DataError, match="Expected k from 1 to 2"):
        neighbours(np.eye(4), k)


def slow(found: Neighbours, y: np.ndarray, without: int | None) -> float:
    terms = []
    for row, near in zip(found.rows, found.near, strict=True):
        if row != without:
            kept = [j for j in near if j != without][: found.k]
            terms.append(1 - abs(y[row] - y[kept].mean()))
    return float(np.mean(terms))


def test_leaving_out_is_what_it_says():
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(40, 2)), (rng.random(40) < 0.4).astype(float)
    found = neighbours(x, 3, np.arange(0, 40, 2))
    drawn = np.array([slow(found, y, row) for row in range(40)])
    error = (39 / 40 * ((drawn - drawn.mean()) ** 2).sum()) ** 0.5
    from scipy import stats

    e = consistency(found, y)
    assert e.value == pytest.approx(slow(found, y, None))
    assert e.value - e.low == pytest.approx(stats.t.ppf(0.975, 19) * error)


def test_consistency_and_violations_in_closed_form():
    line = np.arange(10.0)[:, None]
    found = neighbours(line, 2)
    assert consistency(found, np.ones(10)).value == 1.0
    step = (line[:, 0] >= 5).astype(float)
    # only 4 and 5 have a neighbour on the other side, one of two; the ends look two to the side
    assert consistency(found, step).value == pytest.approx(1 - 2 * 0.5 / 10)
    # a score that climbs 0.1 a step: allowed over 10 steps, not over 10.1
    slope = line[:, 0] / 10
    assert violations(found, slope, 10.0).value == 0.0
    assert violations(found, slope, 10.1).value == 1.0
    members = np.arange(10) >= 5
    assert consistency(found, step, members).value == pytest.approx(1 - 0.5 / 5)
    assert consistency(found, step, np.arange(10) == 3).value is None


def test_intervals_cover_the_mean_over_samples():
    """The jackknife does not cover too rarely (Efron and Stein 1981)."""
    rng = np.random.default_rng(3)

    def draw():
        x = rng.normal(size=(150, 2))
        y = (rng.random(150) < 1 / (1 + np.exp(-2 * x[:, 0]))).astype(float)
        return consistency(neighbours(x, 5, np.arange(75)), y)

    found = [draw() for _ in range(300)]
    truth = np.mean([e.value for e in found])
    assert np.mean([e.low <= truth <= e.high for e in found]) >= 0.93
    # and is not wide for nothing
    assert np.mean([e.high - e.low for e in found]) < 2 * 1.96 * 1.35 * np.std([e.value for e in found])


def test_chance_is_found_where_answers_have_nothing_to_do_with_people():
    rng = np.random.default_rng(4)
    x = rng.normal(size=(400, 2))
    found = neighbours(x, 5)
    noise = (rng.random(400) < 0.3).astype(float)
    chance, p = by_chance(lambda v: consistency(found, v), noise, 99, rng)
    # E|y - mean of five| for independent answers, rate 0.3: 2 p (1 - p)
    assert chance.value == pytest.approx(1 - 2 * noise.mean() * (1 - noise.mean()), abs=0.02)
    assert chance.low <= consistency(found, noise).value <= chance.high
    assert p > 0.01
    chance, p = by_chance(lambda v: consistency(found, v), (x[:, 0] > 0).astype(float), 99, rng)
    assert p == 0.01
    assert chance.high < 0.6
