"""A fake explainer fails the battery and the truth passes it: on a network that reads one corner of a picture."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from audit import statistics
from audit.explainers import quality
from audit.explainers.saliency import at_inputs
from audit.explaining.fakes import edges

SIDE = 8


@pytest.fixture(scope="module")
def world():
    """A trained network that answers by the left half's pattern; shapes elsewhere have edges too."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    inputs = torch.from_numpy(rng.random((400, 1, SIDE, SIDE)).astype(np.float32))
    pattern = torch.from_numpy(rng.normal(size=(SIDE, 3)).astype(np.float32))
    labels = ((inputs[:, 0, :, :3] - 0.5) * pattern).sum((1, 2)).gt(0).long()
    model = nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, 16), nn.Tanh(), nn.Linear(16, 2))
    generator = torch.Generator().manual_seed(0)
    share = quality.relearn(model, lambda rows: model(inputs[rows]), labels, 60, generator, learning_rate=1e-2)
    assert share > 0.97
    return model.requires_grad_(False), inputs[:60], labels[:60]


def gradient(model, inputs, targets):
    """Gradient times displacement from grey."""

    def score(x, rows):
        own = torch.nn.functional.one_hot(targets[rows], 2)
        return (model(x) * (2 * own - 1)).sum(1)

    return (at_inputs(score, inputs) * (inputs - 0.5)).flatten(1).numpy()


EXPLAINERS = {
    "gradient": gradient,
    "edges": lambda model, inputs, targets: edges(inputs.double()).flatten(1).numpy(),
    "input": lambda model, inputs, targets: inputs.double().flatten(1).numpy(),
    "constant": lambda model, inputs, targets: np.ones((len(inputs), SIDE * SIDE)),
}


@pytest.mark.parametrize("name", EXPLAINERS)
def test_only_the_truth_is_better_than_random_rankings(world, name):
    model, inputs, _ = world
    targets, rng = model(inputs).argmax(1), np.random.default_rng(0)
    value = quality.removal(lambda x: model(x) - model(x).flip(1), inputs, targets, torch.full((1, 1, SIDE, SIDE), 0.5))
    values = EXPLAINERS[name](model, inputs, targets)
    values = values + 1e-9 * rng.random(values.shape)  # ties in random order
    chance = quality.shuffled(values, 10, rng)
    lead = quality.area(quality.deletion(value, chance)).mean(0) - quality.area(quality.deletion(value, values))
    gain = statistics.mean(lead)
    sums, changes = quality.sums_and_changes(value, np.concatenate([values[None], chance]), rng.random((200, 64)) < 0.5)
    explained = quality.explained(sums, changes)
    foretold = statistics.mean(explained[0] - explained[1:].mean(0))
    if name == "gradient":
        assert gain.low > 0
        assert foretold.low > 0.3
    else:
        assert gain.low <= 0
        assert foretold.low <= 0.01


@pytest.mark.parametrize("name", EXPLAINERS)
def test_only_the_truth_changes_when_the_model_forgets(world, name):
    model, inputs, _ = world
    targets = model(inputs).argmax(1)
    forgetful = copy.deepcopy(model)
    layers = quality.weighted_layers(forgetful)
    assert [type(layer) for layer in layers] == [nn.Linear, nn.Linear]
    assert layers[0].out_features == 2
    quality.redraw(layers, torch.Generator().manual_seed(0))
    before, after = (EXPLAINERS[name](m, inputs, targets) for m in (model, forgetful))
    same = quality.rank_correlation(before, after)
    if name == "gradient":
        assert statistics.mean(same).high < 0.6
    elif name == "constant":
        assert np.isnan(same).all()  # tells no pixel from another, whatever the model
    else:
        assert same == pytest.approx(1)


def test_labels_in_random_order_are_learned_by_heart_and_explained_otherwise(world):
    model, inputs, labels = world
    nonsense = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(0)
    quality.redraw(quality.weighted_layers(nonsense), generator)
    shuffled = labels[torch.randperm(60, generator=generator)]
    state = torch.random.get_rng_state()
    share = quality.relearn(nonsense, lambda rows: nonsense(inputs[rows]), shuffled, 80, generator, learning_rate=1e-2)
    assert share > 0.9
    assert torch.equal(state, torch.random.get_rng_state())
    assert not any(p.requires_grad or p.grad is not None for p in nonsense.parameters())
    targets = model(inputs).argmax(1)
    same = quality.rank_correlation(gradient(model, inputs, targets), gradient(nonsense, inputs, targets))
    assert statistics.mean(same).high < 0.6
