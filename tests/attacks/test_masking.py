"""Nothing that hides a gradient yields a confident wrong number; nothing clean raises an alarm."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import attacks
from attacks import Threat, trust
from attacks.query import surrogate
from tests.attacks import zoo

EPS = 0.1

#: these keep every decision and hide nothing, so the answer is the bare model's and no alarm is due
HARMLESS = (
    "times 1000", "times 1e-6", "temperature 1e-3", "plus a constant", "plus a constant each", "probabilities",
    "log-probabilities", "float16 scores", "gradient tiny",
)  # fmt: skip
#: what each of these is told by
SIGNS = {
    "saturated": {"zero_gradients", "saturated_scores"},
    "smoothed labels": {"zero_gradients", "saturated_scores"},
    "detached": {"zero_gradients", "control_missed"},
    "gradient nan": {"nan_gradients", "control_missed"},
    "gradient infinite": {"exploding_gradients", "control_missed"},
    "gradient random": {"random_gradients", "loss_not_rising", "control_missed"},
    "gradient reversed": {"loss_not_rising", "control_missed"},
    "gradient of its neighbour": {"loss_not_rising", "control_missed"},
    "hard labels": {"zero_gradients"},
    "2 decimals": {"zero_gradients", "control_missed"},
    "0 decimals": {"zero_gradients", "quantised_scores"},
    "0 decimals, straight through": {"quantised_scores"},
    "clipped": {"zero_gradients"},
    "16 levels": {"zero_gradients", "quantised_scores"},
    "16 levels, straight through": {"quantised_scores"},
    "shattered": {"loss_not_rising"},
    "jpeg": {"zero_gradients", "quantised_scores"},
    "jpeg, straight through": {"quantised_scores"},
    "noisy inputs": {"stochastic"},
    "noisy scores": {"stochastic"},
    "dropout left on": {"stochastic"},
}


@pytest.fixture(scope="module")
def plain(trained):
    model, inputs, labels = trained
    return attacks.evaluate(model, inputs, labels, Threat("linf", EPS), effort="quick")


@pytest.mark.parametrize("how", HARMLESS)
def test_a_scale_hides_nothing(digits, plain, how):
    model, inputs, labels = digits
    e = attacks.evaluate(lambda x: zoo.SAME[how](model, x), inputs, labels, Threat("linf", EPS), effort="quick")
    assert e.trustworthy, e.findings
    assert e.control.rate > 0.95
    assert int((e.robust != plain.robust).sum()) <= 1  # rounding may move a point that lies on the edge


@pytest.fixture
def hasty(monkeypatch):
    """Remedies that hardly try: findings do not hang on them."""
    monkeypatch.setitem(trust._PATIENCE, "quick", trust._Patience(lessons=4, steps=1, moves=1, squares=5, walks=1))
    monkeypatch.setattr(surrogate, "_UPDATES", (10, 10))


@pytest.mark.parametrize("how", zoo.EVERY)
def test_what_hides_a_gradient_is_told_and_no_wrong_number_is_confident(digits, plain, hasty, how):
    """Where decisions are the bare model's, so is the truth; elsewhere an adaptive attack bounds it."""
    model, inputs, labels = digits
    wrapper = zoo.EVERY[how]
    truth = plain.robust_accuracy
    if how in zoo.OTHER:
        truth = float(zoo.adaptive(model, wrapper, inputs, labels, EPS, steps=10).mean())
    e = attacks.evaluate(lambda x: wrapper(model, x), inputs, labels, Threat("linf", EPS), effort="quick")
    assert SIGNS.get(how, set()) <= {finding.name for finding in e.findings}
    assert all(finding.advice and finding.of and finding.measurement > 0 for finding in e.findings)
    assert not e.trustworthy or e.robust_accuracy <= truth + 0.03
    if how not in zoo.RANDOM:  # what was broken is broken
        with torch.no_grad():
            wrong = wrapper(model, e.adversarial).argmax(1) != labels
        assert bool(wrong[~e.robust].all())


@pytest.mark.parametrize("how", ["detached", "gradient random", "0 decimals, straight through", "shattered"])
def test_a_curve_tells_too(digits, hasty, how):
    model, inputs, labels = digits
    wrapper = zoo.EVERY[how]
    c = attacks.curve(
        lambda x: wrapper(model, x), inputs[:30], labels[:30], "linf", (EPS / 2, EPS), effort="quick"
    )  # fmt: skip
    assert not c.trustworthy
    assert c.control.planted > 0


def test_the_remedies_lower_a_number_that_gradients_cannot(digits, plain):
    model, inputs, labels = digits
    e = attacks.evaluate(lambda x: model(x.detach()), inputs[:30], labels[:30], Threat("linf", EPS))
    assert abs(e.robust_accuracy - float(plain.standing[:30].mean())) <= 0.034
    assert {"surrogate", "smoothed", "square_longer", "hop_skip_jump"} & set(e.broken_by)


@pytest.mark.parametrize("how", [*zoo.SAME, "2 decimals", "0 decimals", "16 levels"])
def test_a_linear_model_keeps_its_closed_form_or_says_that_it_does_not(hasty, how):
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(12, 2, generator=generator)
    inputs = torch.rand(80, 12, generator=generator)

    def model(x):
        return 4 * (x - 0.5) @ weights

    gap = (model(inputs)[:, 0] - model(inputs)[:, 1]).abs()
    labels = model(inputs).argmax(1)
    slope = (4 * (weights[:, 0] - weights[:, 1]))[None] * torch.where(labels == 0, 1.0, -1.0)[:, None]
    # how far the box lets each element go against the label
    room = torch.where(slope > 0, inputs.clamp(max=EPS), (1 - inputs).clamp(max=EPS))
    truth = float((gap > (slope.abs() * room).sum(1)).double().mean())
    assert 0.2 < truth < 0.8
    wrapper = zoo.EVERY[how]
    e = attacks.evaluate(lambda x: wrapper(model, x), inputs, labels, Threat("linf", EPS), effort="quick")
    assert not e.trustworthy or abs(e.robust_accuracy - truth) <= 0.03, (e.robust_accuracy, truth)


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
