"""Nothing that hides a gradient yields a confident wrong number; nothing clean raises an alarm."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

import attacks
from attacks import Threat

EPS = 0.1


class Backward(torch.autograd.Function):
    """The identity with a backward pass of its own."""

    @staticmethod
    def forward(ctx, x, how):
        ctx.how = how
        return x.clone()

    @staticmethod
    def backward(ctx, up):
        return {"nan": up * float("nan"), "random": torch.randn_like(up)}[ctx.how], None


#: these keep every decision, so the truth is the clean model's
SCALED = {
    "times 1000": lambda m, x: m(x) * 1000,
    "times 1e-6": lambda m, x: m(x) * 1e-6,
    "plus a constant": lambda m, x: m(x) + 1000,
    "probabilities": lambda m, x: m(x).softmax(1),
    "log-probabilities": lambda m, x: m(x).log_softmax(1),
}
#: these too, but no honest gradient is left
HIDDEN = {
    "detached": (lambda m, x: m(x.detach()), "zero_gradients"),
    "nan": (lambda m, x: m(Backward.apply(x, "nan")), "nan_gradients"),
    "random": (lambda m, x: m(Backward.apply(x, "random")), "loss_not_rising"),
    "rounded scores": (lambda m, x: m(x).round(), "zero_gradients"),
    "saturated": (lambda m, x: (m(x) * 100).softmax(1), "zero_gradients"),
    "hard labels": (lambda m, x: functional.one_hot(m(x).argmax(1), 10).float(), "zero_gradients"),
    "straight through": (lambda m, x: m(x + ((x * 7).round() / 7 - x).detach()), "loss_not_rising"),
    "shattered": (lambda m, x: m(x + 0.1 * torch.sin(1000 * x)), "unlimited_fails"),
    "dropout left on": (lambda m, x: m(functional.dropout(x, 0.2)), "stochastic"),
}


@pytest.fixture(scope="module")
def plain(digits):
    model, inputs, labels = digits
    return attacks.evaluate(model, inputs, labels, Threat("linf", EPS), effort="quick")


@pytest.mark.parametrize("how", SCALED)
def test_a_scale_hides_nothing(digits, plain, how):
    model, inputs, labels = digits
    e = attacks.evaluate(lambda x: SCALED[how](model, x), inputs, labels, Threat("linf", EPS), effort="quick")
    assert e.trustworthy, e.findings
    assert int((e.robust != plain.robust).sum()) <= 1  # rounding may move a point that lies on the edge


@pytest.mark.parametrize("how", HIDDEN)
def test_a_hidden_gradient_is_told(digits, how):
    model, inputs, labels = digits
    wrapped, name = HIDDEN[how]
    e = attacks.evaluate(lambda x: wrapped(model, x), inputs, labels, Threat("linf", EPS), effort="quick")
    assert not e.trustworthy
    assert name in {finding.name for finding in e.findings}
    assert all(finding.advice and finding.measurement > 0 for finding in e.findings)
    c = attacks.curve(lambda x: wrapped(model, x), inputs, labels, "linf", (EPS / 2, EPS), effort="quick")
    assert not c.trustworthy


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("eps", [0.02, 0.1, 0.3])
def test_no_alarm_on_a_clean_net(digits, norm, eps):
    model, inputs, labels = digits
    e = attacks.evaluate(model, inputs, labels, Threat(norm, eps * (5 if norm == "l2" else 1)), effort="quick")
    assert e.trustworthy, e.findings


def test_no_alarm_on_a_table_with_fixed_columns():
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 2))
    inputs = torch.randn(150, 10, generator=generator)
    labels = model(inputs).argmax(1)
    free = (float("-inf"), float("inf"))
    e = attacks.evaluate(model, inputs, labels, Threat("l2", 0.5, free, torch.arange(10) < 6))
    assert e.trustworthy, e.findings
    assert torch.equal(e.adversarial[:, 6:], inputs[:, 6:])


def test_a_module_in_training_mode_is_judged_in_eval_mode(digits, plain):
    model, inputs, labels = digits
    model.train()
    try:
        e = attacks.evaluate(model, inputs, labels, Threat("linf", EPS), effort="quick")
        assert model.training
    finally:
        model.eval()
    assert e.trustworthy
    assert torch.equal(e.robust, plain.robust)
