"""Deletion and insertion on models whose curves can be written down."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from audit.checks.explain.faithfulness import Faithfulness, _changes, _verdict
from audit.explaining.examples import Examples, examples
from audit.explaining.players import remove
from audit.explaining.rankings import curves, gains, operators
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
    model = subject(Linear(WEIGHTS))
    found = Faithfulness(**SMALL, methods=("random",), random=20).run(model, data, np.random.default_rng(0))
    gained = {name: e for name, e in found.estimates.items() if "gain@" in name or name.startswith("faithfulness@")}
    assert len(gained) == 5
    for estimate in gained.values():
        assert estimate.low <= 0 <= estimate.high
    assert found.estimates["better_under_every_operator"].value == 0


def test_an_explanation_turned_upside_down_loses(data, monkeypatch):
    model, rng = subject(Linear(WEIGHTS)), np.random.default_rng(0)
    honest = Faithfulness(**SMALL, methods=("integrated_gradients",)).run(model, data, rng).estimates
    each = Examples.attribute_each

    def upside_down(self, methods, rng, evaluations):
        found, refused = each(self, methods, rng, evaluations)
        return {name: replace(of, values=tuple(-v for v in of.values)) for name, of in found.items()}, refused

    monkeypatch.setattr(Examples, "attribute_each", upside_down)
    wrong = Faithfulness(**SMALL, methods=("integrated_gradients",)).run(model, data, np.random.default_rng(0))
    assert honest["faithfulness@integrated_gradients"].low > 0
    assert wrong.estimates["faithfulness@integrated_gradients"].high < 0


def test_the_area_is_the_trapezoids():
    method = np.zeros((1, 2, 3))
    random = np.array([[[0.0, 1.0, 2.0], [0.0, 3.0, 0.0]]])
    deletion, insertion = gains(method, random)
    assert deletion.tolist() == [1.0]
    assert insertion.tolist() == [-1.5]


def test_curves_start_and_end_at_the_model_itself(data):
    model, rng = subject(Linear(WEIGHTS)), np.random.default_rng(0)
    chosen = examples(model, data, rng, 8, 0, 20)
    walk = curves(chosen, {"a": [v[None] for v in rng.normal(size=(8, 5))]}, 5, rng)["a"]
    ends = np.stack(
        remove(model, chosen.rows, [np.array([[1] * 5, [0] * 5], bool)] * 8, chosen.targets, chosen.background)
    )
    assert np.allclose(walk[:, 0, [0, -1]], ends, atol=1e-5)
    assert np.allclose(walk[:, 1, [-1, 0]], ends, atol=1e-5)


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
    assert set(found.headline) == {
        "faithfulness@kernel_shap",
        "faithfulness@integrated_gradients",
        "better_under_every_operator",
    }
    assert [figure.title for figure in found.figures][1:] == ["Deletion", "Insertion"]
    # only one cell counts: right away or at a random moment, half of the effect on average
    for name in ("deletion_gain", "insertion_gain"):
        assert found.estimates[f"{name}@integrated_gradients"].value > 0.3 * _effect(data)


def _effect(data):
    """Mean change of the log-odds when the corner is blurred away."""
    from audit.explainers.segments import blur

    corner = lambda x: 20 * x[:, :, :4, :4].mean((1, 2, 3))  # noqa: E731
    return float((corner(data.inputs) - corner(blur(data.inputs))).abs().mean())


def test_every_operator_is_asked_and_the_truth_passes_them_all(data):
    found = Faithfulness(**SMALL, methods=("kernel_shap",)).run(
        subject(Linear(WEIGHTS)), data, np.random.default_rng(0)
    )
    (board,) = [figure for figure in found.figures if figure.kind == "scoreboard"]
    assert [metric.label for metric in board.metrics] == list(operators(Modality.TABULAR))
    truth, fake = board.rows
    assert all(score.lead.low > 0 for score in truth.scores)
    assert not any(score.lead.low > 0 for score in fake.scores)
    assert found.estimates["better_under_every_operator"].value == 1
    assert found.estimates["above_fakes@kernel_shap"].low > 0


def test_a_constant_is_a_random_ranking(data):
    """Ties must not follow the order of the columns, of which the first may well matter most."""
    rng = np.random.default_rng(0)
    chosen = examples(subject(Linear([3.0, 0.0, 0.0, 0.0, 0.0])), data, rng, 60, 0, 20)
    rankings = {"constant": [np.ones((10, 5))] * 60, "random": [rng.random((10, 5)) for _ in range(60)]}
    walk = curves(chosen, rankings, 5, rng)
    lead = np.mean(gains(walk["constant"], walk["random"]), axis=0)
    assert abs(lead.mean()) < 2 * lead.std() / np.sqrt(60)
    assert lead.std() > 0


@pytest.mark.parametrize("operator", operators(Modality.IMAGE))
def test_pictures_under_every_operator(operator):
    """The corner alone counts, whatever stands for it; taking the rest away changes nothing."""
    rng = np.random.default_rng(0)
    bright = rng.random((6, 1, 28, 28))
    bright[:, :, :4, :4] += 1 + 2 * np.eye(6)[0][:, None, None, None]  # means of two pictures never agree
    chosen = examples(subject(Corner(), Modality.IMAGE), numbers(bright), rng, 0, 6, 4)
    keep = np.ones((2, 49), dtype=bool)
    keep[1, 1:] = False
    from audit.explaining.rankings import scores_without

    whole, corner = np.stack(scores_without(chosen, [keep] * 6, operator)).T
    assert np.allclose(whole, corner, atol=1e-3)
    gone = np.stack(scores_without(chosen, [~keep[1:]] * 6, operator))[:, 0]
    assert (np.abs(gone - whole) > 0.1).sum() >= 5


def test_verdicts_in_words():
    from audit import statistics

    assert _verdict(statistics.mean([1.0, 1.1, 0.9])) == "better"
    assert _verdict(statistics.mean([-1.0, -1.1, -0.9])) == "worse"
    assert _verdict(statistics.mean([-1.0, 1.1])) == "open"
    assert _changes(["better"] * 3) == "better than chance under all 3 operators"
    assert (
        _changes(["better", "worse", "better"]) == "the verdict depends on the operator: better under 2, worse under 1"
    )
    assert _changes(["open"] * 3) == "open under all"
