"""Planted examples are found by an attack that works, and missed by one that was sabotaged."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import attacks
from attacks import Threat, control, losses, masking, norms, trust
from attacks.guard import Guard
from attacks.points import Points, build


def measure(model, inputs, labels, threat, seed=0):
    with Guard(model, inputs.shape[1:], inputs.dtype, None, seed) as guard, torch.no_grad():
        points = build(guard, inputs, labels, threat, seed)
        right = points.take((~points.broken(points.scores)).nonzero()[:, 0])
        return control.measure(guard, right, trust.control_stages(right))


def clean():
    """Nets of every common kind, with inputs in [0, 1] and their own answers."""
    with torch.random.fork_rng():
        torch.manual_seed(0)

        class Attention(nn.Module):
            def __init__(self):
                super().__init__()
                self.mix, self.head = nn.MultiheadAttention(6, 2, batch_first=True), nn.Linear(30, 3)

            def forward(self, x):
                return self.head(self.mix(x, x, x, need_weights=False)[0].flatten(1))

        class Recurrent(nn.Module):
            def __init__(self):
                super().__init__()
                self.lstm, self.head = nn.LSTM(6, 12, batch_first=True), nn.Linear(12, 3)

            def forward(self, x):
                return self.head(self.lstm(x)[0][:, -1])

        nets = {
            "linear": (nn.Linear(30, 3), (30,)),
            "mlp": (nn.Sequential(nn.Linear(30, 32), nn.ReLU(), nn.Linear(32, 2)), (30,)),
            "tanh": (nn.Sequential(nn.Linear(30, 16), nn.Tanh(), nn.Linear(16, 5)), (30,)),
            "attention": (Attention(), (5, 6)),
            "lstm": (Recurrent(), (5, 6)),
            "group norm": (
                nn.Sequential(
                    nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.GELU(), nn.Flatten(), nn.Linear(8 * 36, 10)
                ),
                (3, 8, 8),
            ),
            "large logits": (
                nn.Sequential(nn.Linear(30, 32), nn.ReLU(), nn.Linear(32, 4), Times(1e4)), (30,)
            ),
            "probabilities": (nn.Sequential(nn.Linear(30, 32), nn.ReLU(), nn.Linear(32, 4), nn.Softmax(1)), (30,)),
            "sigmoids": (nn.Sequential(nn.Linear(30, 32), nn.SiLU(), nn.Linear(32, 4), nn.Sigmoid()), (30,)),
        }  # fmt: skip
        return {name: (net.eval(), torch.rand(60, *shape)) for name, (net, shape) in nets.items()}


class Times(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return x * self.factor


CLEAN = clean()


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("name", CLEAN)
def test_no_alarm_on_clean_nets_and_the_control_is_found(name, norm):
    model, inputs = CLEAN[name]
    labels = model(inputs).argmax(1)
    e = attacks.evaluate(model, inputs, labels, Threat(norm, 0.05 if norm == "linf" else 0.2), effort="quick")
    assert e.trustworthy, e.findings
    assert e.control.planted == 32
    assert e.control.rate >= 0.95
    assert e.control.interval[0] > 0.8


@pytest.mark.parametrize("norm", ["linf", "l2", "l1", "l0"])
def test_a_healthy_attack_finds_what_is_planted_in_every_norm(digits, norm):
    model, inputs, labels = digits
    found = measure(model, inputs, labels, Threat(norm, {"linf": 0.1, "l2": 0.5, "l1": 2.0, "l0": 4.0}[norm]))
    assert found.planted == 32
    assert not found.interval[1] < 0.95


def test_what_is_planted_exists(digits):
    model, inputs, labels = digits
    with Guard(model, inputs.shape[1:], inputs.dtype) as guard, torch.no_grad():
        points = build(guard, inputs, labels, Threat("l2", 0.5), 0)
        delta, shift = control._plant(guard, points)
        assert float(norms.size(delta, "l2").max()) <= 0.5
        moved = points.x + delta
        assert float(moved.min()) >= 0
        assert float(moved.max()) <= 1
        # what the model says itself, shifted by hand
        before = (model(inputs) + shift).argmax(1) == labels
        after = (model(moved.view_as(inputs)) + shift).argmax(1) == labels
    assert bool(before.all())
    assert not bool(after.any())


def test_nothing_can_be_planted_without_a_budget(digits):
    model, inputs, labels = digits
    found = measure(model, inputs, labels, Threat("linf", 0.0))
    assert found == control.Control(0, 0)
    assert found.rate is None
    assert found.interval == (0.0, 1.0)


def test_the_control_leaves_the_rest_of_the_run_alone(digits):
    model, inputs, labels = digits
    order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(0))
    one = attacks.evaluate(model, inputs, labels, Threat("linf", 0.1), effort="quick")
    two = attacks.evaluate(model, inputs[order], labels[order], Threat("linf", 0.1), effort="quick", batch_size=7)
    assert one.control == two.control


def reverse(patch):
    true = Guard.gradient
    patch.setattr(Guard, "gradient", lambda self, x, loss: (*(r := true(self, x, loss))[:2], -r[2]))


def another(patch):
    true = Guard.gradient
    patch.setattr(Guard, "gradient", lambda self, x, loss: (*(r := true(self, x, loss))[:2], r[2].roll(1, 0)))


def standstill(patch):
    patch.setattr(Points, "project", lambda self, delta: torch.zeros_like(delta))


def stepless(patch):
    true = Guard.gradient
    patch.setattr(Guard, "gradient", lambda self, x, loss: (*(r := true(self, x, loss))[:2], 0 * r[2]))
    patch.setattr(Points, "usable", lambda self, gradient, stream: gradient)


def constant(patch):
    true = Guard.gradient
    patch.setattr(Guard, "gradient", lambda self, x, loss: true(self, x, lambda s, rows: 0 * loss(s, rows)))


def wrong_label(patch):
    for name in ("margin", "lead", "dlr", "cross_entropy"):
        true = getattr(losses, name)
        patch.setattr(
            losses, name, lambda scores, label, *rest, true=true: true(scores, (label + 1) % scores.shape[1], *rest)
        )


SABOTAGE = [reverse, another, standstill, stepless, constant, wrong_label]


@pytest.mark.parametrize("how", SABOTAGE, ids=lambda how: how.__name__)
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_sabotaged_attack_is_rejected(digits, monkeypatch, how, norm):
    model, inputs, labels = digits
    rejected = []
    planted = control._plant
    for seed in range(3):
        with monkeypatch.context() as patch:
            # what is planted is honest; only the attack is spoilt
            honest = {(Points, name): getattr(Points, name) for name in ("project", "usable")}
            honest[losses, "margin"] = losses.margin

            def plant(guard, points, patch=patch, honest=honest):
                with monkeypatch.context() as inner:
                    for (owner, name), method in honest.items():
                        inner.setattr(owner, name, method)
                    return planted(guard, points)

            patch.setattr(control, "_plant", plant)
            how(patch)
            found = measure(model, inputs, labels, Threat(norm, 0.1 if norm == "linf" else 0.5), seed)
        assert found.planted == 32
        rejected.append(found.interval[1] < masking._CONTROL)
    assert all(rejected)
