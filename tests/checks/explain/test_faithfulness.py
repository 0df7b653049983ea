"""Deletion and insertion on models whose curves can be written down."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from audit.checks.explain._examples import Examples, examples
from audit.checks.explain._players import remove
from audit.checks.explain.faithfulness import Faithfulness, _gains
from audit.subject import Modality
from tests.checks.explain.known_models import Linear, numbers, subject

WEIGHTS = [3.0, -2.0, 1.0, 0.5, 0.0]
SMALL = {"rows": 40, "evaluations": 64, "background": 20, "steps": 5}


@pytest.fixture
def data():
    return numbers(np.random.default_rng(0).normal(size=(60, 5)))


def test_a_linear_model_by_hand(data):
    """The log-odds of what is kept are the base plus the kept features' shares w (x - mean)."""
    rng = np.random.default_rng(1)
    model = subject(Linear(WEIGHTS))
    found = Faithfulness(**SMALL, methods=("kernel_shap",), random=60).run(model, data, rng)
    rng = np.random.default_rng(1)
    chosen = examples(model, data, rng, 40, 0, 20)
    sign = np.where(chosen.targets.numpy() == 1, 1, -1)[:, None]
    x, mean = chosen.rows.inputs.numpy(), chosen.background.inputs.numpy().mean(0)
    shares = -np.sort(-sign * (x - mean) * np.array(WEIGHTS), axis=1)  # the largest first
    taken = np.concatenate([np.zeros((40, 1)), shares.cumsum(1)], axis=1)
    # a random ranking takes an equal share at each step: a straight line, whose area is half of the total
    area = (taken[:, 1:] + taken[:, :-1]).mean(1) / 2
    gain = area - taken[:, -1] / 2
    for name in ("deletion_gain@kernel_shap", "insertion_gain@kernel_shap", "faithfulness@kernel_shap"):
        assert found.estimates[name].value == pytest.approx(gain.mean(), rel=0.1)
        assert found.estimates[name].low > 0


def test_a_random_ranking_gains_nothing(data):
    found = Faithfulness(**SMALL, methods=("random",), random=20).run(
        subject(Linear(WEIGHTS)), data, np.random.default_rng(0)
    )
    for estimate in found.estimates.values():
        assert estimate.low <= 0 <= estimate.high


def test_an_explanation_turned_upside_down_loses(data, monkeypatch):
    model, rng = subject(Linear(WEIGHTS)), np.random.default_rng(0)
    honest = Faithfulness(**SMALL, methods=("integrated_gradients",)).run(model, data, rng).estimates
    attribute = Examples.attribute

    def upside_down(self, method, rng, evaluations):
        found = attribute(self, method, rng, evaluations)
        return type(found)(**{**found.__dict__, "values": tuple(-v for v in found.values)})

    monkeypatch.setattr(Examples, "attribute", upside_down)
    wrong = Faithfulness(**SMALL, methods=("integrated_gradients",)).run(model, data, np.random.default_rng(0))
    assert honest["faithfulness@integrated_gradients"].low > 0
    assert wrong.estimates["faithfulness@integrated_gradients"].high < 0


def test_the_area_is_the_trapezoids():
    method = np.zeros((1, 2, 3))
    random = np.array([[[0.0, 1.0, 2.0], [0.0, 3.0, 0.0]]])
    deletion, insertion = _gains(method, random)
    assert deletion.tolist() == [1.0]
    assert insertion.tolist() == [-1.5]


def test_states_take_the_highest_first_and_put_it_back_first():
    states = Faithfulness(steps=3)._states(np.array([0.1, 5.0, -2.0])).astype(int).tolist()
    assert states[:4] == [[1, 1, 1], [1, 0, 1], [0, 0, 1], [0, 0, 0]]
    assert states[4:] == [[0, 0, 0], [0, 1, 0], [1, 1, 0], [1, 1, 1]]


def test_curves_start_and_end_at_the_model_itself(data):
    model, rng = subject(Linear(WEIGHTS)), np.random.default_rng(0)
    chosen = examples(model, data, rng, 8, 0, 20)
    check = Faithfulness(steps=5)
    curves = check._curves(chosen, {"a": [[v] for v in rng.normal(size=(8, 5))]})["a"]
    ends = np.stack(
        remove(model, chosen.rows, [np.array([[1] * 5, [0] * 5], bool)] * 8, chosen.targets, chosen.background)
    )
    assert np.allclose(curves[:, 0, [0, -1]], ends, atol=1e-5)
    assert np.allclose(curves[:, 1, [-1, 0]], ends, atol=1e-5)


class Corner(nn.Module):
    """The log-odds are the lightness of the upper left corner."""

    def forward(self, x):
        z = 20 * x[:, :, :4, :4].mean((1, 2, 3))[:, None]
        return torch.cat([torch.zeros_like(z), z], dim=1)


def test_pictures():
    rng = np.random.default_rng(0)
    data = numbers(rng.random((10, 1, 28, 28)))
    found = Faithfulness(methods=("kernel_shap", "integrated_gradients"), media=6, evaluations=128, random=4).run(
        subject(Corner(), Modality.IMAGE), data, rng
    )
    assert found.estimates["faithfulness@integrated_gradients"].value is not None
    assert set(found.headline) == {"faithfulness@kernel_shap", "faithfulness@integrated_gradients"}
    assert [figure.title for figure in found.figures] == ["Deletion", "Insertion"]
    # only one cell counts: right away or at a random moment, half of the effect on average
    for name in ("deletion_gain", "insertion_gain"):
        assert found.estimates[f"{name}@integrated_gradients"].value > 0.3 * _effect(data)


def _effect(data):
    """Mean change of the log-odds when the corner is blurred away."""
    from audit.explainers.segments import blur

    corner = lambda x: 20 * x[:, :, :4, :4].mean((1, 2, 3))  # noqa: E731
    return float((corner(data.inputs) - corner(blur(data.inputs))).abs().mean())
