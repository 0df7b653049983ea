"""Complexity, localisation, agreement and stability, each where the number is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import roc_auc_score

from audit.explainers import quality


def test_complexity_from_one_to_all():
    even, one = np.ones((1, 8)), np.eye(8)[:1] * -3
    assert quality.entropy(np.stack([even, one])) == pytest.approx(np.array([[np.log(8)], [0]]))
    assert quality.effective_features(np.stack([even, one])) == pytest.approx(np.array([[8], [1]]))
    assert quality.gini(np.stack([even, one])) == pytest.approx(np.array([[0], [7 / 8]]), abs=1e-12)
    assert np.isnan(quality.gini(np.zeros((1, 8)))).all()


def test_gini_is_half_the_mean_difference():
    values = np.abs(np.random.default_rng(0).normal(size=(5, 12)))
    pairs = np.abs(values[:, :, None] - values[:, None]).mean((1, 2)) / (2 * values.mean(1))
    assert quality.gini(values) == pytest.approx(pairs)


def test_localisation_by_hand():
    values, masks = np.array([[5.0, 3.0, -2.0, 1.0]]), np.array([[True, False, False, True]])
    assert quality.pointing_game(values, masks) == 1
    assert quality.relevance_mass(values, masks) == pytest.approx(6 / 9)
    assert quality.relevance_rank(values, masks) == 0.5
    assert quality.top_k_intersection(values, masks, 3) == pytest.approx(2 / 3)
    assert quality.inside_auroc(values, masks) == 0.75
    assert quality.pointing_game(np.ones((1, 4)), masks) == 0.5


@pytest.mark.parametrize("name", ["pointing_game", "relevance_mass", "relevance_rank", "inside_auroc"])
def test_marks_that_say_nothing_give_nothing(name):
    masks = np.array([[False] * 4, [True] * 4])
    assert np.isnan(getattr(quality, name)(np.random.default_rng(0).random((3, 2, 4)), masks)).all()
    with pytest.raises(ValueError, match="masks: Expected bool of shape"):
        getattr(quality, name)(np.ones((2, 4)), np.ones((2, 4)))


def test_random_orders_find_marks_by_their_share():
    rng = np.random.default_rng(0)
    masks = rng.random((50, 40)) < 0.3
    orders = quality.shuffled(rng.random((50, 40)), 100, rng)
    share = masks.mean()
    assert quality.relevance_mass(orders, masks).mean() == pytest.approx(share, abs=0.01)
    assert quality.relevance_rank(orders, masks).mean() == pytest.approx(share, abs=0.01)
    assert quality.pointing_game(orders, masks).mean() == pytest.approx(share, abs=0.02)
    assert quality.inside_auroc(orders, masks).mean() == pytest.approx(0.5, abs=0.01)


def test_the_auroc_is_scikit_learns():
    rng = np.random.default_rng(0)
    values, masks = rng.normal(size=(20, 30)).round(1), rng.random((20, 30)) < 0.4
    peer = [roc_auc_score(m, v) for m, v in zip(masks, values, strict=True)]
    assert quality.inside_auroc(values, masks) == pytest.approx(np.array(peer))


def test_agreement_is_spearmans_of_magnitudes():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 10, 7))
    peer = [stats.spearmanr(np.abs(x), np.abs(y)).statistic for x, y in zip(a, b, strict=True)]
    assert quality.rank_correlation(a, b) == pytest.approx(np.array(peer))
    assert quality.rank_correlation(a, -2 * a) == pytest.approx(1)
    assert np.isnan(quality.rank_correlation(a, np.ones((10, 7)))).all()
    assert np.isnan(quality.rank_correlation(a[:, :2], b[:, :2])).all()
    assert quality.top_k_overlap(np.array([4.0, 3, 2, 1, 0]), np.array([0.0, 4, 3, 1, 0]), 2) == pytest.approx(0.5)
    assert quality.top_k_overlap(np.array([9.0, -8, 7, 1, 0]), np.array([1.0, 8, 7, 9, 0]), 3) == pytest.approx(2 / 3)
    assert np.isnan(quality.top_k_overlap(a[:, :2], b[:, :2], 2)).all()


def test_max_sensitivity_of_gradient_times_input():
    """w x of a linear model moves by w (y − x): the largest of the draws, and the noise itself is the witness."""
    rng = np.random.default_rng(0)
    weights = np.array([3.0, -2.0, 0.5])
    inputs = torch.from_numpy(rng.normal(size=(5, 3)).astype(np.float32))
    noise = rng.uniform(-0.1, 0.1, (7, 3)).astype(np.float32)
    found = quality.max_sensitivity(
        lambda x, rows: x.double().numpy() * weights, inputs, 0.1, noise=noise, batch_size=4
    )
    exact = np.linalg.norm(noise * weights, axis=1).max() / np.linalg.norm(inputs.numpy() * weights, axis=1)
    assert found == pytest.approx(exact, rel=1e-4)


def test_max_sensitivity_keeps_each_examples_own_class_and_grows_with_the_radius():
    inputs = torch.arange(12.0).reshape(4, 3)
    seen = []

    def explain(points, rows):
        seen.append((points.round().long() // 3 == rows[:, None]).all().item())
        return points.double().numpy()

    little, more = (quality.max_sensitivity(explain, inputs, radius, 5, seed=1) for radius in (0.01, 0.1))
    assert all(seen)
    assert (more > little).all()
    assert np.array_equal(more, quality.max_sensitivity(explain, inputs, 0.1, 5, seed=1, batch_size=3))
    with pytest.raises(ValueError, match="radius, draws: Expected positive"):
        quality.max_sensitivity(explain, inputs, 0.0)


def test_relative_distance():
    a = np.array([[3.0, 4.0], [0.0, 0.0]])
    found = quality.relative_distance(a, a + np.array([0.0, 1.0]))
    assert found[0] == pytest.approx(0.2)
    assert np.isnan(found[1])


def test_whole_numbers_that_cannot_move_a_little_are_refused():
    """Small displacements would be rounded to none, and every explanation be perfectly steady."""
    with pytest.raises(ValueError, match=r"inputs: Expected floats, which can move a little, found torch.int64"):
        quality.max_sensitivity(lambda points, rows: points.double().numpy(), torch.ones(2, 3).long(), 0.3)


def test_explanations_that_name_one_feature_each_share_no_more_than_chance():
    one, other = np.eye(49)[3], np.eye(49)[7]
    assert quality.top_k_overlap(one, one, 5) == pytest.approx(1)
    # four places left to the 48 that got nothing, for both alike
    shares = np.array([1, *[4 / 48] * 48])
    expected = (2 * shares[1] + 47 * shares[1] ** 2) / (shares**2).sum()
    assert quality.top_k_overlap(one, other, 5) == pytest.approx(expected)
    assert expected < 0.4
