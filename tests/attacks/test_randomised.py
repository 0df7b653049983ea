"""Models whose equal calls differ: told, attacked in expectation, and reported as a mean over fresh draws."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

import attacks
from attacks import Threat

FREE = (float("-inf"), float("inf"))


@pytest.fixture
def plane():
    """A linear model of two classes, inputs, and the margin of their label."""
    generator = torch.Generator().manual_seed(0)
    model = nn.Linear(10, 2)
    with torch.no_grad():
        model.weight.copy_(torch.randn(2, 10, generator=generator))
        model.bias.zero_()
    inputs = torch.randn(60, 10, generator=generator)
    labels = model(inputs).argmax(1)
    return model, inputs, labels


def margin(model, inputs, labels):
    scores = model(inputs).detach()
    return (scores[:, 0] - scores[:, 1]) * torch.where(labels == 0, 1.0, -1.0)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("effort", ["quick", "standard"])
def test_noisy_inputs_have_the_accuracy_of_the_closed_form(plane, norm, effort):
    model, inputs, labels = plane
    sigma, eps = 0.5, {"linf": 0.3, "l2": 0.6}[norm]
    w = (model.weight[0] - model.weight[1]).detach()
    dual = w.abs().sum() if norm == "linf" else w.norm()
    sure = (margin(model, inputs, labels) - eps * dual) / (sigma * w.norm())
    truth = torch.special.ndtr(sure.double())
    e = attacks.evaluate(
        lambda x: model(x + sigma * torch.randn_like(x)), inputs, labels, Threat(norm, eps, FREE), effort=effort
    )
    assert {"stochastic"} <= {f.name for f in e.findings}
    assert "averaged" in next(f.advice for f in e.findings if f.name == "stochastic")
    # three deviations of what the fresh draws leave to chance, and what a search that is sure of 3 sigma leaves
    chance = 3 * math.sqrt(float((truth * (1 - truth)).sum()) / e.draws) / len(inputs)
    assert float(truth.mean()) - chance <= e.robust_accuracy <= float(truth.mean()) + chance + 0.005
    low, high = e.interval
    assert low < float(truth.mean()) < high
    assert 0 < low < e.robust_accuracy < high < 1
    assert torch.equal(e.robust, e.standing > 0.5)


def test_dropout_on_inputs_is_attacked_in_expectation(plane):
    model, inputs, labels = plane
    eps, keep = 0.3, 0.8
    w = (model.weight[0] - model.weight[1]).detach() * torch.where(labels == 0, 1.0, -1.0)[:, None]
    # every mask, weighted by its chance, at the input that lowers every term of the mean margin
    worst = inputs - eps * w.sign()
    masks = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 10)
    chance = keep ** masks.sum(1) * (1 - keep) ** (10 - masks.sum(1))
    truth = ((((worst * w) @ masks.T) > 0).double() * chance).sum(1).mean()
    e = attacks.evaluate(
        lambda x: model(functional.dropout(x, 1 - keep)), inputs, labels, Threat("linf", eps, FREE), effort="standard"
    )
    assert abs(e.robust_accuracy - float(truth)) <= 0.03
    assert not e.trustworthy


def test_every_call_is_counted_and_the_run_repeats_itself(plane):
    model, inputs, labels = plane
    rows = []

    def noisy(x):
        rows.append(len(x))
        return model(x + 0.1 * torch.randn_like(x))

    state = torch.get_rng_state()
    runs = [attacks.evaluate(noisy, inputs, labels, Threat("l2", 0.3, FREE), effort="quick") for _ in range(2)]
    assert runs[0].forwards + runs[1].forwards == sum(rows)
    assert runs[0].robust_accuracy == runs[1].robust_accuracy
    assert torch.equal(runs[0].adversarial, runs[1].adversarial)
    assert torch.equal(torch.get_rng_state(), state)


def test_one_draw_for_a_whole_batch_is_random_too(plane):
    model, inputs, labels = plane
    e = attacks.evaluate(
        lambda x: model(x + torch.randn(10)), inputs, labels, Threat("linf", 0.1, FREE), effort="quick"
    )
    assert "stochastic" in {f.name for f in e.findings}


def test_a_curve_tells_of_chance(plane):
    model, inputs, labels = plane
    c = attacks.curve(
        lambda x: model(x + 0.3 * torch.randn_like(x)), inputs, labels, "linf", (0.1, 0.2), FREE, effort="quick"
    )
    assert "stochastic" in {f.name for f in c.findings}
    assert list(c.robust_accuracy) == sorted(c.robust_accuracy, reverse=True)


def test_a_module_in_training_mode_is_no_randomness():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(10, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 3)).train()
        inputs = torch.rand(40, 10)
    labels = model.eval()(inputs).argmax(1)
    model.train()
    e = attacks.evaluate(model, inputs, labels, Threat("linf", 0.02), effort="quick")
    assert e.draws == 1
    assert e.trustworthy, e.findings
    assert set(e.standing.tolist()) <= {0.0, 1.0}


def test_the_interval_of_an_ordinary_model_is_wilsons(plane):
    from scipy.stats import binomtest

    model, inputs, labels = plane
    e = attacks.evaluate(model, inputs, labels, Threat("linf", 0.2, FREE), effort="quick")
    wilson = binomtest(int(e.standing.sum()), 60).proportion_ci(method="wilson")
    assert e.interval == pytest.approx((wilson.low, wilson.high))
