"""Worlds with proxies, harmless companions and honest features, and models that use what they are told to."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from audit.checks.explain._carried import carried, cells, exceeding, respond, tallies
from audit.checks.explain._telling import Teller
from audit.checks.explain.proxies import Proxies
from audit.fairness.attributes import levels
from audit.subject import Modality
from tests.checks.explain.known_models import Linear, numbers, people, subject

SMALL = {"rows": 80, "people": 500, "permutations": 59, "resamples": 8}
SEEDS = 20


def world(rng: np.random.Generator, tells: list[float], n: int = 500):
    """Standard normal features, each moved by so much for those in group "a"."""
    inside = rng.random(n) < 0.4
    inputs = rng.normal(size=(n, len(tells))) + inside[:, None] * np.array(tells)
    return replace(numbers(inputs), groups={"club": np.where(inside, "a", "b").astype(object)}), inside


def named(model, data, seed: int) -> set[str]:
    found = Proxies(**SMALL).run(model, data, np.random.default_rng(seed))
    rows = {row[0] for row in found.tables[0].rows if row[1] == "proxy"}
    assert found.estimates["proxies@club"].value == len(rows)
    return rows


@pytest.mark.parametrize(
    ("weights", "proxies"),
    [
        ([1.0, 0.0, 1.0, 0.0, 0.0], set()),  # what goes with the group is not used, what is used goes with nobody
        ([1.0, 0.0, 1.0, 1.0, 0.0], {"x3"}),
        ([1.0, 1.0, 1.0, 1.0, 0.0], {"x1", "x3"}),
    ],
    ids=["decoys", "one proxy", "both"],
)
def test_a_proxy_tells_and_is_used(weights, proxies):
    """x1 and x3 go with the group; the others do not."""
    model = subject(Linear(weights))
    found = []
    for seed in range(SEEDS):
        data, _ = world(np.random.default_rng(seed), [0.0, 1.5, 0.0, 1.5, 0.0])
        found.append(named(model, data, seed))
    assert all(proxies <= names for names in found)  # power
    # a false alarm in one world of twenty is allowed; more than four would be rarer than one in 300
    assert sum(names != proxies for names in found) <= stats.binom.ppf(0.997, SEEDS, 0.05)


def test_false_alarms_are_as_rare_as_stated():
    model = subject(Linear([1.0, 1.0, 1.0, 1.0]))
    alarms = 0
    for seed in range(SEEDS):
        data, _ = world(np.random.default_rng(seed), [0.0] * 4)
        alarms += bool(named(model, data, seed))
    assert alarms <= stats.binom.ppf(0.997, SEEDS, 0.05)


def test_a_trained_network_is_not_blamed_for_a_companion():
    """The companion is in the training data, and training leaves it a little weight."""
    for seed in range(3):
        rng = np.random.default_rng(seed)
        data, _ = world(rng, [0.0, 1.5, 0.0], 1200)
        x = data.inputs
        y = (x[:, 0] + x[:, 2] + torch.from_numpy(rng.logistic(size=len(x))).float() > 0).long()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            network = nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Linear(16, 2))
        optimiser = torch.optim.Adam(network.parameters(), lr=0.01)
        for _ in range(100):
            optimiser.zero_grad()
            nn.functional.cross_entropy(network(x), y).backward()
            optimiser.step()
        assert float(network[0].weight.detach()[:, 1].abs().max()) > 0
        assert named(subject(network), data, seed) == set()


def test_what_is_carried_by_hand():
    """Linear: a binary feature carries its weight times the difference of its means."""
    rng = np.random.default_rng(0)
    inside = rng.random(400) < 0.5
    x = np.column_stack([rng.random(400) < 0.2 + 0.6 * inside, rng.normal(size=400)])
    data = replace(numbers(x), groups={"club": np.where(inside, "a", "b").astype(object)})
    found = Proxies(**SMALL).run(subject(Linear([2.0, 1.0])), data, rng)
    gap = x[inside, 0].mean() - x[~inside, 0].mean()
    effect = found.estimates["carried@club:x0"]
    assert effect.value == pytest.approx(2 * gap, rel=1e-4)
    assert effect.low < effect.value < effect.high
    assert found.estimates["strongest_proxy@club"] == effect


def test_effects_that_cancel_on_average_are_carried_all_the_same():
    """The sign of x1 says which way x0 counts: on average over people x0 does nothing."""

    class Product(nn.Module):
        def forward(self, x):
            z = x[:, :1] * x[:, 1:2].sign()
            return torch.cat([torch.zeros_like(z), z], dim=1)

    rng = np.random.default_rng(0)
    data, _ = world(rng, [2.0, 0.0])
    assert named(subject(Product()), data, 0) == {"x0"}


def test_the_attribute_is_no_proxy_of_itself():
    rng = np.random.default_rng(0)
    found = Proxies(**SMALL).run(subject(Linear([1.0, 1.0, 3.0, -3.0])), people(400, 0.5, rng), rng)
    assert found.estimates["proxies@sex"].value == 0
    assert not any("carried@sex:sex" in name for name in found.estimates)
    # the other features know nothing, the answers know it from the attribute
    assert found.estimates["attribute_in_inputs@sex"].low < 0.5
    assert found.estimates["attribute_in_answers@sex"].low > 0.8


def test_pictures_with_groups_say_what_inputs_and_answers_tell():
    rng = np.random.default_rng(0)
    inside = rng.random(300) < 0.5
    pictures = rng.random((300, 1, 6, 6))
    pictures[:, :, :2, :2] += inside[:, None, None, None]
    data = replace(numbers(pictures), groups={"club": np.where(inside, "a", "b").astype(object)})
    blind = torch.zeros(36)
    blind[-1] = 1.0
    found = Proxies(**SMALL).run(subject(Linear(blind.tolist()), Modality.IMAGE), data, rng).estimates
    assert found["attribute_in_inputs@club"].low > 0.95
    assert found["attribute_in_answers@club"].low < 0.5 < found["attribute_in_answers@club"].high + 0.05
    assert "proxies@club" not in found


def test_adjusted_p_values():
    rng = np.random.default_rng(0)
    null = rng.normal(size=(999, 5))
    observed = np.array([6.0, 0.0, -1.0, 3.2, 0.5])
    adjusted = exceeding(observed, null)
    single = np.array([exceeding(observed[i : i + 1], null[:, i : i + 1])[0] for i in range(5)])
    assert (adjusted >= single - 1e-12).all()
    assert adjusted[0] == 1 / 1000  # beyond all draws
    assert single[3] <= adjusted[3] <= 5 * single[3] + 1e-9  # no worse than Bonferroni
    assert exceeding(np.zeros(2), np.zeros((99, 2))).tolist() == [1.0, 1.0]
    rejected = [bool((exceeding(draw, null) <= 0.05).any()) for draw in rng.normal(size=(1000, 5))]
    assert np.mean(rejected) == pytest.approx(0.05, abs=0.025)


def test_groups_of_an_attribute():
    found = levels(np.array(["a"] * 5 + ["b"] * 5 + ["c", None], dtype=object), least=2)
    assert found.names == ("a", "b", "others")
    assert found.code.tolist() == [0] * 5 + [1] * 5 + [2] * 2
    alone = levels(np.array(["a"] * 5 + ["b"] * 5 + ["c"], dtype=object), least=2)
    assert alone.names == ("a", "b") and alone.code[-1] == -1
    ages = levels(np.arange(100, dtype=object), least=2)
    assert len(ages.names) == 4
    assert np.bincount(ages.code).tolist() == [25, 25, 25, 25]


def test_values_of_a_feature():
    data = people(50, 0.5, np.random.default_rng(0))
    code, values = cells(data.inputs, data.features[2])
    assert torch.equal(values[torch.from_numpy(code)], data.inputs[:, 2:])
    many = numbers(np.random.default_rng(0).normal(size=(400, 1)))
    code, values = cells(many.inputs, many.features[0])
    assert len(values) == 32 and np.bincount(code).min() >= 10
    assert (values[torch.from_numpy(code), 0] - many.inputs[:, 0]).abs().median() < 0.1


def test_what_is_not_read_moves_nothing():
    data, inside = world(np.random.default_rng(0), [1.0, 1.0])
    rows, targets = np.arange(40), torch.ones(40, dtype=torch.int64)
    response = respond(subject(Linear([1e3, 0.0])), data, rows, targets, data.features[1])
    assert not response.moves.any() and not response.changed.any() and not response.flips.any()
    tally = tallies(response.code, inside.astype(np.int64), response.moves.shape[1], 2)
    assert tally.sum() == len(data)
    assert carried(response.moves, tally).tolist() == [0.0, 0.0]


def test_losses_name_who_tells():
    rng = np.random.default_rng(0)
    data, _ = world(rng, [0.0, 2.0])
    teller = Teller(data.inputs.double().numpy(), levels(data.groups["club"], 20), rng)
    lost = teller.losses([[0], [1]], rng)
    assert abs(lost[0]) < 0.02 and lost[1] > 0.2


def test_it_is_skipped_where_there_is_nobody_to_compare():
    rng = np.random.default_rng(0)
    model = subject(Linear([1.0, 1.0]))
    assert "no protected attribute" in Proxies().skip_reason(model, numbers(rng.normal(size=(9, 2))))
    few, _ = world(rng, [0.0, 0.0], 12)
    assert "two groups" in Proxies().skip_reason(model, few)


def test_equal_seeds_give_equal_figures():
    data, _ = world(np.random.default_rng(0), [1.0, 0.0])
    model = subject(Linear([1.0, 1.0]))
    state = torch.get_rng_state()
    first, second = (Proxies(**SMALL).run(model, data, np.random.default_rng(5)) for _ in range(2))
    assert first == second
    assert torch.equal(state, torch.get_rng_state())
