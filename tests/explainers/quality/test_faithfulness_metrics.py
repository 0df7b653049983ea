"""Faithfulness where it can be written down: a linear model, whose exact explanation is w (x − baseline)."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from audit.explainers import quality
from audit.explainers.quality.additive import random_sets

WEIGHTS = torch.tensor([3.0, -2.0, 1.0, 0.5, 0.0, -0.25])


@pytest.fixture
def linear():
    """Value, exact attributions (n, 6), and the generator that made the examples."""
    rng = np.random.default_rng(0)
    inputs, baseline = torch.from_numpy(rng.normal(size=(40, 6))).float(), torch.zeros(1, 6)
    value = quality.removal(
        lambda x: torch.stack([torch.zeros(len(x)), x @ WEIGHTS], 1), inputs, torch.ones(40).long(), baseline
    )
    return value, (inputs * WEIGHTS).double().numpy(), rng


def test_states_take_the_highest_first():
    assert quality.states(np.array([0.1, 5.0, -2.0]), 3).astype(int).tolist() == [
        [1, 1, 1],
        [1, 0, 1],
        [0, 0, 1],
        [0, 0, 0],
    ]


def test_curves_of_a_linear_model(linear):
    value, exact, _ = linear
    highest = -np.sort(-exact, axis=1)
    total = exact.sum(1, keepdims=True)
    taken = np.concatenate([np.zeros((40, 1)), highest.cumsum(1)], axis=1)
    deletion, insertion = quality.deletion(value, exact, 6), quality.insertion(value, exact, 6)
    assert np.allclose(deletion, total - taken, atol=1e-5)
    assert np.allclose(insertion, taken, atol=1e-5)
    assert np.allclose(quality.area(insertion), (taken[:, 1:] + taken[:, :-1]).mean(1) / 2, atol=1e-5)
    assert np.allclose(quality.aopc(deletion), taken.mean(1), atol=1e-5)


def test_no_order_beats_the_exact_one(linear):
    _, exact, _ = linear
    orders = np.array(list(itertools.permutations(range(6))), dtype=float)[:, None].repeat(5, 1)
    few = quality.removal(
        lambda x: torch.stack([torch.zeros(len(x)), x @ WEIGHTS], 1),
        torch.from_numpy(exact[:5] / np.where(WEIGHTS == 0, 1, WEIGHTS)).float(),
        torch.ones(5).long(),
        torch.zeros(1, 6),
    )
    areas = quality.area(quality.deletion(few, orders, 6))
    assert areas.shape == (720, 5)
    assert (quality.area(quality.deletion(few, exact[:5], 6)) <= areas.min(0) + 1e-5).all()


def test_many_methods_at_once_are_each_as_if_alone(linear):
    value, exact, rng = linear
    methods = np.stack([exact, -exact, rng.normal(size=exact.shape)])
    together = quality.deletion(value, methods, 4)
    assert np.array_equal(together, np.stack([quality.deletion(value, one, 4) for one in methods]))


def test_the_exact_explanation_has_no_infidelity_and_full_correlation(linear):
    value, exact, rng = linear
    removed = rng.random((64, 6)) < 0.5
    sums, changes = quality.sums_and_changes(value, exact, removed)
    assert np.allclose(quality.infidelity(sums, changes), 0, atol=1e-9)
    assert np.allclose(quality.explained(sums, changes), 1)
    found = quality.sensitivity_n(value, exact, [1, 2, 4], 60, rng)
    assert found.shape == (40, 3)
    assert np.allclose(found, 1, atol=1e-6)


def test_infidelity_of_a_wrong_explanation_by_hand(linear):
    """Off by e_i everywhere, it misses every set S by the sum of e over S."""
    value, exact, rng = linear
    removed, wrong = rng.random((32, 6)) < 0.5, rng.normal(size=6)
    sums, changes = quality.sums_and_changes(value, exact + wrong, removed)
    assert np.allclose(quality.infidelity(sums, changes), ((removed @ wrong) ** 2).mean(), atol=1e-5)


def test_scale_does_not_count_and_sign_does(linear):
    value, exact, rng = linear
    sums, changes = quality.sums_and_changes(value, np.stack([7 * exact, -exact]), rng.random((40, 32, 6)) < 0.5)
    scaled, turned = quality.explained(sums, changes)
    assert np.allclose(scaled, 1)
    assert np.allclose(turned, 0)
    assert (quality.infidelity(sums, changes) > 0.01).all()


def test_sensitivity_1_is_the_correlation_with_single_removals(linear):
    """With sets of one player the correlation is that of the attributions with the changes, drawn with replacement."""
    value, exact, rng = linear
    ours = exact + rng.normal(size=exact.shape)
    found = quality.sensitivity_n(value, ours, [1], 2000, rng)[:, 0]
    expected = [np.corrcoef(a, b)[0, 1] for a, b in zip(ours, exact, strict=True)]
    assert np.allclose(found, expected, atol=0.05)


def test_random_rankings_are_centred_at_nothing(linear):
    value, exact, rng = linear
    shuffled = quality.shuffled(exact, 200, rng)
    assert np.allclose(np.sort(shuffled, -1), np.sort(exact, -1))
    taken = quality.area(quality.insertion(value, shuffled, 6)).mean(0)
    assert np.allclose(taken.mean(), (exact.sum(1) / 2).mean(), atol=0.05)
    correlation = quality.sensitivity_n(value, shuffled, [2, 3], 20, rng)
    assert abs(np.nanmean(correlation)) < 0.03


def test_what_cannot_be_said_is_not_a_number(linear):
    value, exact, rng = linear
    assert np.isnan(quality.sensitivity_n(value, np.ones((40, 6)), [2], 10, rng)).all()
    flat = quality.removal(lambda x: torch.zeros(len(x), 2), torch.ones(3, 6), torch.zeros(3).long(), torch.zeros(1, 6))
    assert np.isnan(quality.explained(*quality.sums_and_changes(flat, exact[:3], random_sets(6, 2, 5, rng)))).all()


def test_what_does_not_fit_is_refused(linear):
    value, exact, rng = linear
    with pytest.raises(ValueError, match="attributions: Expected finite numbers"):
        quality.deletion(value, np.full((40, 6), np.nan))
    with pytest.raises(ValueError, match="removed: Expected shape"):
        quality.sums_and_changes(value, exact, np.ones((4, 5), dtype=bool))
    with pytest.raises(ValueError, match="sizes, draws: Expected sizes from 1 to 6"):
        quality.sensitivity_n(value, exact, [7], 10, rng)
    with pytest.raises(ValueError, match="steps: Expected at least 1"):
        quality.deletion(value, exact, 0)
    with pytest.raises(ValueError, match="targets: Expected one index an example"):
        quality.removal(lambda x: x, torch.ones(3, 2), torch.zeros(2).long(), torch.ones(1, 2))
