"""Randomised smoothing on models whose chance under noise is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import special
from torch import Tensor, nn

import attacks
from attacks.certify import smoothing
from attacks.certify.sequential import looks


def halfspace(width: int = 5) -> nn.Module:
    """Class 1 where the sum of the elements, over the root of their number, is above 0: a unit normal."""
    model = nn.Linear(width, 2)
    with torch.no_grad():
        model.weight.copy_(torch.stack([-torch.ones(width), torch.ones(width)]) / width**0.5)
        model.bias.zero_()
    return model


def at_distance(*distances: float, width: int = 5) -> Tensor:
    return torch.tensor(distances, dtype=torch.float32)[:, None] * torch.ones(width) / width**0.5


def test_the_radius_approaches_the_distance_of_a_linear_model_and_never_exceeds_it():
    x = at_distance(0.05, 0.2, 0.4, -0.3)
    c = attacks.certify_smoothing(halfspace(), x, sigma=0.25, n=20_000)
    assert c.label.tolist() == [1, 1, 1, 0]
    truth = torch.tensor([0.05, 0.2, 0.4, 0.3], dtype=torch.float64)
    assert bool((c.radius <= truth).all())
    torch.testing.assert_close(c.radius, truth, atol=0.02, rtol=0)
    torch.testing.assert_close(c.radius, 0.25 * torch.special.ndtri(c.p_lower))
    assert c.samples.tolist() == [20_100] * 4
    assert c.forwards == 4 * 20_100


def test_it_abstains_where_the_vote_is_open():
    c = attacks.certify_smoothing(halfspace(), at_distance(0.0005, 0.5), n=500)
    assert c.label.tolist() == [-1, 1]
    assert c.abstained.tolist() == [True, False]
    assert float(c.radius[0]) == 0


def test_a_decision_costs_few_draws_and_agrees_with_all_of_them():
    x = at_distance(*np.linspace(0.02, 0.9, 12))
    every = attacks.certify_smoothing(halfspace(), x, n=10_000)
    few = attacks.certify_smoothing(halfspace(), x, n=10_000, radius=0.3)
    assert torch.equal(few.label >= 0, every.radius >= 0.3)
    assert bool((few.radius[few.label >= 0] == 0.3).all())
    assert few.samples.double().mean() < 0.1 * every.samples.double().mean()
    assert few.forwards == int(few.samples.sum())


def test_a_tolerance_buys_draws_with_radius():
    x = at_distance(0.1, 0.2, 0.4)
    every = attacks.certify_smoothing(halfspace(), x, n=20_000)
    some = attacks.certify_smoothing(halfspace(), x, n=20_000, tolerance=0.03)
    assert bool((some.samples < every.samples / 3).all())
    assert bool((some.radius >= every.radius - 0.06).all())
    assert bool((some.radius <= torch.tensor([0.1, 0.2, 0.4])).all())


def test_the_error_at_the_boundary_is_at_most_alpha():
    """The whole rule at the one chance where a decision is hardest: right at the threshold."""
    wanted, n, alpha, points = float(special.ndtr(2.0)), 3000, 0.05, 8000
    rule, stops = smoothing._rule(0.25, n, alpha, 0.5, None)
    rng = np.random.default_rng(0)
    going, k, wrong, before = np.arange(points), np.zeros(points, np.int64), 0, 0
    assert stops == tuple(looks(n))
    for stop in stops:
        k[going] += rng.binomial(stop - before, wanted, len(going))
        shown, unsure = rule(k[going], stop)
        wrong += int((shown >= wanted).sum())
        going, before = going[unsure], stop
    assert 0 < wrong / points < alpha


def test_draws_belong_to_the_example():
    with torch.random.fork_rng():  # weights of any seed could be sure of every draw
        torch.manual_seed(0)
        model, x = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4)), 0.1 * torch.randn(7, 6)
    for arguments in ({}, {"radius": 0.05}, {"tolerance": 0.02}):
        whole = attacks.certify_smoothing(model, x, n=300, **arguments)
        order = torch.randperm(7, generator=torch.Generator().manual_seed(0))
        moved = attacks.certify_smoothing(model, x[order], n=300, batch_size=13, **arguments)
        torch.testing.assert_close(moved.p_lower, whole.p_lower[order])
        assert torch.equal(moved.label, whole.label[order])
        one = attacks.certify_smoothing(model, x[3:4], n=300, **arguments)
        torch.testing.assert_close(one.radius, whole.radius[3:4])
    other = attacks.certify_smoothing(model, x, n=300, seed=1)
    assert not torch.equal(other.p_lower, attacks.certify_smoothing(model, x, n=300).p_lower)


def test_noise_is_for_what_may_move():
    x = at_distance(0.2, width=4)
    mask = torch.tensor([True, False, False, False])
    c = attacks.certify_smoothing(halfspace(4), x, n=20_000, mutable=mask)
    # along one axis the plane is twice as far
    assert float(c.radius[0]) == pytest.approx(0.4, abs=0.02)


def test_selection_and_estimation_draw_apart():
    seen: list[Tensor] = []

    def model(batch: Tensor) -> Tensor:
        seen.append(batch.clone())
        return torch.stack([batch.sum(1), -batch.sum(1)], 1)

    attacks.certify_smoothing(model, torch.zeros(1, 3), n=400, n0=400)
    rows = torch.cat(seen)
    assert len(rows) == 800
    assert len(rows.unique(dim=0)) == 800
    assert abs(float(rows.std()) - 0.25) < 0.02
    assert abs(float(torch.corrcoef(torch.stack([rows[:400, 0], rows[400:, 0]]))[0, 1])) < 0.2


def test_scores_of_nan_vote_for_nothing():
    def model(batch: Tensor) -> Tensor:
        scores = torch.stack([batch.sum(1), -batch.sum(1)], 1)
        return scores.masked_fill(batch[:, :1] > 0, torch.nan)

    c = attacks.certify_smoothing(model, at_distance(2.0) * 0 - 1, n=200)
    assert c.label.tolist() == [1]
    c = attacks.certify_smoothing(model, at_distance(2.0) * 0 + 2, n=200)
    assert c.label.tolist() == [-1]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"sigma": 0.0}, "sigma"),
        ({"sigma": float("nan")}, "sigma"),
        ({"n": 0}, "n "),
        ({"n0": 0}, "n0"),
        ({"alpha": 1.0}, "alpha"),
        ({"radius": -1.0}, "radius"),
        ({"radius": 0.1, "tolerance": 0.1}, "both"),
        ({"seed": "0"}, "seed"),
        ({"mutable": torch.ones(3, dtype=torch.bool)}, "mutable"),
    ],
)
def test_refusals_name_the_argument(arguments, named):
    with pytest.raises((ValueError, TypeError), match=named):
        attacks.certify_smoothing(halfspace(), at_distance(1.0), **arguments)


def test_the_model_and_the_generators_are_left_as_they_were():
    model = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 3)).train()
    before, state = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    attacks.certify_smoothing(model, torch.randn(3, 5, generator=torch.Generator().manual_seed(0)), n=50)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
