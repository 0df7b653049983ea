"""LIME: linear models, the lime package's own regression, repeatability."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from audit.explainers import lime
from audit.explainers.lime import surrogate


def rows(n: int, players: int, seed: int = 0) -> Tensor:
    return torch.randn(n, players, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def linear(batch: Tensor) -> Tensor:
    return batch @ torch.arange(1.0, batch.shape[1] + 1).to(batch).unsqueeze(1)


def curved(batch: Tensor) -> Tensor:
    return torch.stack([batch.prod(1), (batch**2).sum(1).sqrt()], dim=1)


@pytest.mark.parametrize("players", [5, 15])
def test_recovers_a_linear_model(players):
    x, background = rows(3, players), rows(4, players, seed=1)
    found = lime(linear, x, background, ridge=0.0)
    truth = (x - background.mean(0)) * torch.arange(1.0, players + 1).double()
    torch.testing.assert_close(found.values[:, :, 0], truth, atol=1e-8, rtol=0)
    torch.testing.assert_close(found.base, linear(background).mean(0).expand(3, 1), atol=1e-8, rtol=0)
    torch.testing.assert_close(found.fit, torch.ones(3, 1, dtype=torch.float64))
    assert float((found.high - found.low).max()) < 1e-7


def test_the_default_ridge_hardly_shrinks():
    x, background = rows(3, 15), rows(4, 15, seed=1)
    truth = (x - background.mean(0)) * torch.arange(1.0, 16).double()
    torch.testing.assert_close(lime(linear, x, background).values[:, :, 0], truth, atol=1e-2, rtol=1e-3)


def test_equals_the_lime_package_on_the_same_coalitions():
    from lime.lime_base import LimeBase

    rng = np.random.default_rng(0)
    keep = rng.random((200, 6)) < 0.5
    scores = np.sin(keep @ rng.standard_normal(6)) + 0.1 * rng.standard_normal(200)
    distance = 1 - np.sqrt(keep.mean(1))
    kernel = lambda d: np.sqrt(np.exp(-((d / 0.25) ** 2)))  # noqa: E731 - the peer's argument
    intercept, pairs, fit, _ = LimeBase(kernel).explain_instance_with_data(
        keep.astype(float), scores[:, None], distance, 0, num_features=6, feature_selection="none"
    )
    coefficients, _, r2 = surrogate(keep, kernel(distance), scores[None, :, None], ridge=1.0)
    assert coefficients[0, 0, 0] == pytest.approx(intercept)
    np.testing.assert_allclose(coefficients[0, 1:, 0], [value for _, value in sorted(pairs)], atol=1e-10)
    assert r2[0, 0] == pytest.approx(fit)


def test_intervals_cover_the_fit_to_all_coalitions():
    x, background = rows(6, 9), rows(2, 9, seed=1)
    exact = lime(curved, x, background, evaluations=2**9, ridge=0.0)
    assert torch.equal(exact.low, exact.high)
    covered = []
    for seed in range(30):
        found = lime(curved, x, background, evaluations=200, ridge=0.0, seed=seed)
        covered.append(((found.low <= exact.values) & (exact.values <= found.high)).double().mean())
    assert 0.9 <= float(torch.stack(covered).mean()) <= 0.99


def test_fit_tells_a_curved_score_from_a_straight_one_and_is_undefined_for_a_constant_one():
    x, background = torch.ones(1, 4), torch.zeros(1, 4)
    assert float(lime(curved, x, background).fit[0, 0]) < 0.9
    assert float(lime(linear, x, background).fit[0, 0]) > 0.999
    constant = lime(lambda b: torch.ones(len(b), 1), x, background)
    assert bool(constant.fit.isnan().all())
    assert float(constant.values.abs().max()) < 1e-12


def test_repeatable_and_leaves_the_generators_alone():
    x, background = rows(2, 14), rows(2, 14, seed=1)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002 - watched, not used
    one, two = (lime(curved, x, background, evaluations=100, seed=3, batch_size=size) for size in (None, 33))
    torch.testing.assert_close(one.values, two.values, atol=1e-10, rtol=0)
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all()  # noqa: NPY002 - watched, not used


def test_features_and_targets():
    x, background = rows(2, 6), rows(3, 6, seed=1)
    found = lime(curved, x, background, features=torch.tensor([0, 0, 1, 1, -1, 2]), targets=1)
    assert found.values.shape == (2, 3, 1)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"evaluations": 3}, "evaluations"),
        ({"width": 0.0}, "width"),
        ({"ridge": -1.0}, "width, ridge"),
        ({"targets": 7}, "targets"),
    ],
)
def test_refusals_name_the_argument(change, named):
    with pytest.raises(ValueError, match=named):
        lime(linear, torch.ones(1, 4), torch.zeros(2, 4), **change)
