"""Pairwise interactions: against the definition, closed forms, what they add up to, and their intervals."""

from __future__ import annotations

from itertools import combinations
from math import factorial

import numpy as np
import pytest
import torch
from torch import Tensor

from audit.explainers import interactions, kernel_shap, posterior
from audit.explainers.coalitions import Plan
from tests.explainers.test_kernel_shap import linear, network, rows


def enumerate_interactions(predict, x: Tensor, background: Tensor) -> np.ndarray:
    """The definition (Grabisch and Roubens 1999), one coalition at a time: (players, players, outputs)."""
    players = x.numel()

    def v(members: tuple[int, ...]) -> np.ndarray:
        mixed = background.clone()
        mixed[:, list(members)] = x[list(members)]
        return predict(mixed).double().mean(0).detach().numpy()

    found = np.zeros((players, players, len(v(()))))
    for i, j in combinations(range(players), 2):
        rest = [k for k in range(players) if k not in (i, j)]
        for size in range(players - 1):
            weight = factorial(size) * factorial(players - size - 2) / factorial(players - 1)
            for s in combinations(rest, size):
                change = v((*s, i, j)) - v((*s, i)) - v((*s, j)) + v(s)
                found[i, j] += weight * change
                found[j, i] += weight * change
    return found


def triples(batch: Tensor) -> Tensor:
    """2 ab + 3 bcd − e, over as many inputs as there are."""
    return (2 * batch[:, 0] * batch[:, 1] + 3 * batch[:, 1:4].prod(1) - batch[:, 4]).unsqueeze(1)


@pytest.mark.parametrize("players", [2, 3, 5, 6])
def test_equal_the_definition_where_all_coalitions_fit(players):
    net, x, background = network(players), rows(2, players), rows(3, players, seed=1)
    found = interactions(net, x, background)
    for i in range(2):
        np.testing.assert_allclose(found.values[i], enumerate_interactions(net, x[i], background), atol=1e-10)
    assert torch.equal(found.low, found.high)
    assert found.evaluations == 2**players - 2


@pytest.mark.parametrize("evaluations", [212, 1000, 2**14])
def test_products_of_up_to_three_players_are_exact_at_any_budget(evaluations):
    # an interaction of k players gives 1 / (k - 1) of its worth to each of its pairs
    found = interactions(triples, torch.ones(1, 14), torch.zeros(1, 14), evaluations=evaluations)
    wanted = torch.zeros(14, 14, dtype=torch.float64)
    for i, j, worth in ((0, 1, 2.0), (1, 2, 1.5), (1, 3, 1.5), (2, 3, 1.5)):
        wanted[i, j] = wanted[j, i] = worth
    torch.testing.assert_close(found.values[0, :, :, 0], wanted, atol=1e-8, rtol=0)


def test_main_effects_and_interactions_add_up_to_the_score_and_to_shapley_values():
    net, x, background = network(9), rows(3, 9), rows(2, 9, seed=1)
    for evaluations in (200, 510):
        found = interactions(net, x, background, evaluations=evaluations)
        torch.testing.assert_close(
            found.base + found.main.sum(1) + found.values.sum((1, 2)) / 2, net(x), atol=1e-9, rtol=0
        )
    values = kernel_shap(net, x, background).values
    torch.testing.assert_close(found.main + found.values.sum(2) / 2, values, atol=1e-9, rtol=0)


def test_additive_models_have_none_and_one_player_nothing_to_interact_with():
    found = interactions(linear, rows(2, 12), rows(3, 12, seed=1), evaluations=300)
    assert float(found.values.abs().max()) < 1e-8
    alone = interactions(linear, rows(2, 1), rows(3, 1, seed=1))
    assert alone.values.shape == (2, 1, 1, 1)
    torch.testing.assert_close(alone.base + alone.main.sum(1), linear(rows(2, 1)))


def test_intervals_cover_the_exact_interactions_and_narrow():
    net, x, background = network(11), rows(4, 11), rows(2, 11, seed=1)
    exact = interactions(net, x, background, evaluations=2**11).values
    upper = np.triu_indices(11, 1)
    covered, width = {}, {}
    for evaluations in (250, 700):
        runs = [interactions(net, x, background, evaluations=evaluations, seed=seed) for seed in range(12)]
        inside = torch.stack([(run.low <= exact) & (exact <= run.high) for run in runs])
        covered[evaluations] = float(inside[:, :, upper[0], upper[1]].double().mean())
        width[evaluations] = float(torch.stack([run.high - run.low for run in runs]).mean())
    assert all(0.92 <= share <= 0.98 for share in covered.values()), covered
    assert width[700] < 0.5 * width[250]


def test_too_few_evaluations_are_refused():
    with pytest.raises(ValueError, match=r"^evaluations: Expected at least 212 for 14 players"):
        interactions(linear, rows(1, 14), rows(1, 14), evaluations=211)


def test_what_is_large_is_not_kept_for_later():
    before = posterior._kept_sample.cache_info().currsize
    plan = Plan(24, 1400, 5, 2)  # 2 * 24**2 pairs, of which 699 are asked
    first, again = posterior.sample(plan, 2), posterior.sample(plan, 2)
    assert first is not again and np.array_equal(first.rotate, again.rotate)
    assert posterior._kept_sample.cache_info().currsize == before
    small = Plan(8, 100, 5, 1)
    assert posterior.sample(small, 1) is posterior.sample(small, 1)
