"""All metrics of all methods on a model whose explanation is known, and on one that cannot be rewritten."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from audit.checks.explain import _nudges as nudges
from audit.checks.explain.battery import Battery
from audit.explaining.examples import examples
from audit.subject import Capability, Modality
from tests.checks.explain.known_models import Linear, numbers, subject

WEIGHTS = [3.0, -2.0, 1.0, 0.5, 0.0, 0.25]
SMALL = {"rows": 20, "media": 5, "background": 20, "evaluations": 64, "noisy": 2}


@pytest.fixture
def data():
    return numbers(np.random.default_rng(0).normal(size=(50, 6)))


def test_the_exact_explanation_adds_up_and_holds_still(data):
    methods = ("kernel_shap", "integrated_gradients", "saliency")
    found = Battery(**SMALL, methods=methods).run(subject(Linear(WEIGHTS)), data, np.random.default_rng(0))
    for name in ("kernel_shap", "integrated_gradients"):
        e = {kind.split("@")[0]: value for kind, value in found.estimates.items() if kind.endswith(f"@{name}")}
        assert e["sensitivity_n"].value == pytest.approx(1, abs=1e-3)
        assert e["explained"].value == pytest.approx(1, abs=1e-3)
        assert e["sensitivity_n_lead"].low > 0.5
        assert e["seeds"].value == pytest.approx(0, abs=1e-6)
        assert e["units"].value == pytest.approx(0, abs=1e-4)
        assert 0 < e["noise"].value < 0.3
        assert e["noise_lead"].low > 0
    # the bare gradient halves when inputs are twice as large, and knows no displacement to add up
    assert found.estimates["units@saliency"].value == pytest.approx(0.5, abs=1e-4)
    assert found.estimates["explained@saliency"].value < 0.7


def test_a_fake_does_not_add_up_and_a_random_ranking_is_at_chance(data):
    leads = []
    for seed in range(12):
        found = Battery(**SMALL, methods=("random",)).run(subject(Linear(WEIGHTS)), data, np.random.default_rng(seed))
        leads.append([found.estimates[f"{kind}_lead@random"].value for kind in ("sensitivity_n", "explained")])
    error = np.std(leads, axis=0, ddof=1) / np.sqrt(12)
    assert (np.abs(np.mean(leads, axis=0)) < 3 * error).all()
    assert (error < 0.1).all()
    assert found.estimates["seeds@random"].value > 0.5
    (board,) = found.figures
    assert [row.label for row in board.rows] == ["random", "the input, no model"]
    assert all(score.lead.low <= 0 for score in board.rows[1].scores[:2])


def test_the_model_is_written_differently_and_explained_alike(data):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 2))
    audited = subject(model)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    found = Battery(**SMALL, methods=("kernel_shap",)).run(audited, data, np.random.default_rng(0))
    assert found.estimates["rewrites@kernel_shap"].value == pytest.approx(0, abs=1e-4)
    assert any("units reordered in 1 of 1 places, units rescaled in 1 of 1" in note for note in found.notes)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_what_cannot_be_done_is_said(data):
    frozen = subject(Linear(WEIGHTS), capabilities=frozenset({Capability.INPUT_GRADIENT}))
    found = Battery(**SMALL, methods=("integrated_gradients",)).run(frozen, data, np.random.default_rng(0))
    assert "rewrites@integrated_gradients" not in found.estimates
    assert "The weights of this checkpoint cannot be changed, so it could not be written differently." in found.notes


def test_noise_leaves_categories_and_bounds(data):
    chosen = examples(subject(Linear(WEIGHTS)), data, np.random.default_rng(0), 20, 0, 20)
    shift = (nudges.moved(chosen, np.random.default_rng(0)).rows.inputs - chosen.rows.inputs).abs()
    spread = chosen.background.inputs.std(0, correction=0)
    assert (shift <= 0.1 * spread + 1e-6).all()
    assert (shift > 0).any(1).all()
    pictures = numbers(np.random.default_rng(0).random((6, 1, 14, 14)))
    lit = examples(subject(nn.Flatten(), Modality.IMAGE), pictures, np.random.default_rng(0), 0, 5, 4)
    moved = nudges.moved(lit, np.random.default_rng(0)).rows.inputs
    assert moved.min() >= lit.rows.inputs.min()
    assert moved.max() <= lit.rows.inputs.max()
    assert 0 < float((moved - lit.rows.inputs).abs().max()) <= 0.02


def test_other_units_are_the_same_function(data):
    chosen = examples(subject(Linear(WEIGHTS)), data, np.random.default_rng(0), 20, 0, 20)
    other = nudges.in_other_units(chosen)
    assert torch.equal(other.rows.inputs, chosen.rows.inputs * 2 + 0.5)
    assert torch.allclose(other.subject.scores(other.rows), chosen.subject.scores(chosen.rows), atol=1e-5)
    assert torch.allclose(other.subject.model(other.rows.inputs), chosen.subject.scores(chosen.rows), atol=1e-5)


def test_texts(words):
    known, texts = words
    found = Battery(methods=("kernel_shap",), media=7, evaluations=64).run(known, texts, np.random.default_rng(0))
    assert found.estimates["sensitivity_n@kernel_shap"].value == pytest.approx(1, abs=1e-3)
    assert "noise@kernel_shap" not in found.estimates
