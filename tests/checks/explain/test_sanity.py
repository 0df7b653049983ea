"""Explanations of models that forget, and of one that has nothing to forget."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from audit.checks.explain.sanity import Sanity
from audit.explaining.copies import Copy
from audit.subject import Capability
from tests.checks.explain.known_models import Linear, numbers, subject

SMALL = {"methods": ("integrated_gradients",), "rows": 20, "background": 20, "evaluations": 16, "stages": 2}


class Stubborn(nn.Module):
    """Has weights and does not use them: the answer is the first inputs, weighted by fixed numbers."""

    def __init__(self):
        super().__init__()
        self.unused = nn.Linear(6, 6)

    def forward(self, x):
        z = (x * torch.tensor([3.0, 2.0, 1.0, 0.5, 0.2, 0.1])).sum(1, keepdim=True)
        return torch.cat([torch.zeros_like(z), z], dim=1)


def signs(n, width):
    """Inputs of -1 and 1 whose mean is 0, so that integrated gradients are as large as the weights."""
    half = np.where(np.random.default_rng(0).random((n // 2, width)) < 0.5, -1.0, 1.0)
    return numbers(np.concatenate([half, -half]))


def test_an_explanation_that_ignores_the_weights_is_found_out():
    found = Sanity(**SMALL, draws=3).run(subject(Stubborn()), signs(40, 6), np.random.default_rng(0))
    assert found.estimates["correlation_with_random_weights@integrated_gradients"].value == pytest.approx(1)


def test_an_explanation_that_depends_on_the_weights_passes():
    weights = np.random.default_rng(1).normal(size=24).tolist()
    data = signs(40, 24)
    found = Sanity(**{**SMALL, "background": 40}, draws=12).run(
        subject(Linear(weights)), data, np.random.default_rng(0)
    )
    e = found.estimates["correlation_with_random_weights@integrated_gradients"]
    assert e.low <= 0 <= e.high
    assert -0.25 < e.value < 0.25
    assert e.n == 12


def test_random_labels_teach_another_model():
    weights = np.random.default_rng(1).normal(size=24).tolist()
    data = signs(40, 24)
    with torch.no_grad():
        data.labels[:] = subject(Linear(weights)).scores(data).argmax(1)
    check = Sanity(**{**SMALL, "background": 40}, draws=2, learned=40, epochs=30)
    found = check.run(subject(Linear(weights)), data, np.random.default_rng(0))
    e = found.estimates["correlation_with_random_labels@integrated_gradients"]
    assert e.n == 20
    assert e.high < 0.6
    assert any(note.startswith("Of 40 labels in random order the copy learned") for note in found.notes)
    assert found.tables[0].rows[-1] == ("trained on random labels", e)


def test_the_model_forgets_from_the_head_down():
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 7), nn.ReLU(), nn.Linear(7, 2))
    copy = Copy(subject(model))
    assert [tuple(layer.weight.shape) for layer in copy.layers] == [(2, 7), (7, 8), (8, 6)]
    copy.randomise(1, np.random.default_rng(0))
    assert not torch.equal(copy.layers[0].weight, model[4].weight)
    assert torch.equal(copy.layers[1].weight, model[2].weight)
    assert torch.equal(copy.layers[2].weight, model[0].weight)


def test_the_audited_model_is_not_touched():
    torch_state = torch.random.get_rng_state()
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
    audited, data = subject(model), signs(40, 6)
    torch.random.set_rng_state(torch_state)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    scores = audited.scores(data).clone()
    Sanity(**SMALL, draws=2).run(audited, data, np.random.default_rng(0))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert torch.equal(audited.predict(data.inputs), scores)
    assert not model.training
    assert not any(p.requires_grad or p.grad is not None for p in model.parameters())
    assert torch.equal(torch.random.get_rng_state(), torch_state)


def test_the_copy_scores_with_its_own_weights():
    """A predict that is a plain function stays bound to the audited model when a subject is copied."""
    audited, data = subject(Linear([1.0, 2.0, 3.0])), numbers(np.random.default_rng(0).normal(size=(300, 3)))
    original = audited.scores(data)
    forgetful = Copy(audited).randomise(1, np.random.default_rng(0))
    assert torch.allclose(forgetful.predict(data.inputs), forgetful.model(data.inputs))
    assert not torch.allclose(forgetful.scores(data), original)


def test_scale_stays_and_content_goes():
    torch.manual_seed(0)
    layer = nn.Linear(200, 50)
    with torch.no_grad():
        layer.weight.mul_(3).add_(0.5)
    copy = Copy(subject(layer))
    copy.randomise(1, np.random.default_rng(0))
    drawn = copy.layers[0].weight
    assert float(drawn.mean()) == pytest.approx(float(layer.weight.mean()), abs=0.01)
    assert float(drawn.std()) == pytest.approx(float(layer.weight.std()), rel=0.05)
    assert abs(np.corrcoef(drawn.flatten(), layer.weight.detach().flatten())[0, 1]) < 0.05


def test_equal_seeds_forget_alike():
    pair = [Copy(subject(Linear([1.0, 2.0, 3.0]))).randomise(1, np.random.default_rng(5)) for _ in range(2)]
    assert torch.equal(pair[0].model.layer.weight, pair[1].model.layer.weight)


def test_it_is_skipped_where_it_cannot_be_done():
    data = signs(4, 3)
    frozen = subject(Linear([1.0, 2.0, 3.0]), capabilities=frozenset({Capability.INPUT_GRADIENT}))
    assert "train" in Sanity().skip_reason(frozen, data)
    blind = subject(Linear([1.0, 2.0, 3.0]), capabilities=frozenset({Capability.TRAIN}))
    assert Sanity(methods=("integrated_gradients",)).skip_reason(blind, data) is not None
    assert Sanity(methods=("kernel_shap",)).skip_reason(blind, data) is None
    assert "no weights" in Sanity().skip_reason(subject(nn.Identity()), data)
