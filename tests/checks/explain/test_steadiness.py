"""Explanations that cannot be moved, and some that can."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from attacks import Threat
from audit.checks.explain._steady import Ball, manipulated, smoothed
from audit.checks.explain.steadiness import Steadiness
from audit.subject import Modality
from tests.checks.explain.known_models import Linear, numbers, people, subject

SMALL = {"methods": ("saliency",), "rows": 24, "media": 6, "evaluations": 32, "background": 8, "draws": 4, "steps": 12,
         "kept": 4}  # fmt: skip


def rugged(seed: int = 0, inputs: int = 8) -> nn.Module:
    """A network whose gradient changes from place to place."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(inputs, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 2))
    with torch.no_grad():
        model[0].weight *= 6
    return model


class Functional(nn.Module):
    """A ReLU that is no module: its second derivative is zero and cannot be smoothed."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(8, 16)
        self.head = nn.Linear(16, 2)

    def forward(self, x):
        return self.head(torch.relu(self.body(x)))


def test_a_linear_model_cannot_be_moved():
    data = numbers(np.random.default_rng(0).normal(size=(100, 5)))
    found = Steadiness(**SMALL).run(subject(Linear([1.0, -2.0, 3.0, 0.5, 0.1])), data, np.random.default_rng(0))
    for kind in ("seeds", "noise", "attack"):
        assert found.estimates[f"similarity_{kind}@saliency"].value == pytest.approx(1)
        assert found.estimates[f"top_kept_{kind}@saliency"].value == 1
    assert "random points only" in found.notes[1]  # there is no curvature to follow


def test_an_attacker_moves_more_than_noise():
    data = numbers(np.random.default_rng(0).normal(size=(200, 8)))
    noise, attack = [], []
    for seed in range(3):
        found = Steadiness(**SMALL).run(subject(rugged(seed)), data, np.random.default_rng(seed))
        assert "follows the gradient" in found.notes[1]
        assert found.estimates["similarity_seeds@saliency"].value == 1
        noise.append(found.estimates["similarity_noise@saliency"])
        attack.append(found.estimates["similarity_attack@saliency"])
    assert all(bad.value < usual.value for bad, usual in zip(attack, noise, strict=True))
    assert np.mean([usual.value - bad.value for bad, usual in zip(attack, noise, strict=True)]) > 0.1


def test_the_gradient_finds_worse_points_than_chance():
    """The same number of points, once along the attacker's path and once at random."""
    from audit.explainers.quality import rank_correlation
    from audit.explainers.saliency import at_inputs

    data = numbers(np.random.default_rng(0).normal(size=(64, 8)))
    model = subject(rugged())
    targets = model.predict(data.inputs).argmax(1)
    ball = Ball(data.inputs, Threat("linf", 0.1, (-9.0, 9.0)), torch.ones(8))
    rng = np.random.default_rng(0)
    path = manipulated(model, ball, targets, torch.eye(8), steps=30, keep=6, rng=rng)
    assert len(path) == 6

    def score(points, rows):
        scores = model.model(points)
        return (scores * torch.tensor([-1.0, 1.0])).sum(1) * (2 * targets[rows] - 1)

    def map_of(points):
        return at_inputs(score, points).abs().numpy()

    worst = [
        np.min([rank_correlation(map_of(data.inputs), map_of(points)) for points in tried], axis=0).mean()
        for tried in (path, [ball.random(rng) for _ in range(6)])
    ]
    assert worst[0] < worst[1] - 0.03


def test_points_stay_in_ball_and_bounds():
    rng = np.random.default_rng(0)
    centres = torch.rand(20, 4, generator=torch.Generator().manual_seed(0))
    mutable = torch.tensor([True, True, False, True])
    scale = torch.tensor([1.0, 2.0, 1.0, 0.5])
    ball = Ball(centres, Threat("linf", 0.3, (torch.zeros(4), torch.ones(4) / scale), mutable), scale)
    points = ball.inside(centres + torch.randn(20, 4, generator=torch.Generator().manual_seed(1)))
    assert bool(((points - centres).abs() <= 0.3 * scale + 1e-6).all())
    assert bool((points >= -1e-6).all()) and bool((points <= 1 + 1e-6).all())
    assert torch.equal(points[:, 2], centres[:, 2])
    drawn = ball.random(rng)
    assert torch.equal(drawn, ball.inside(drawn).where(drawn == centres, drawn))
    assert bool((drawn[:, 0] != centres[:, 0]).any())


def test_columns_that_cannot_move_do_not():
    """Sex is one-hot: no small change of it means anything."""
    rng = np.random.default_rng(0)
    data = people(80, 0.5, rng)
    seen = []
    model = subject(Linear([1.0, 1.0, 1.0, 0.0]))
    original = model.predict

    def watch(inputs):
        seen.append(inputs)
        return original(inputs)

    Steadiness(**SMALL).run(replace(model, predict=watch), data, rng)
    sexes = torch.cat([batch[:, 2:4] for batch in seen])
    assert bool(((sexes == 0) | (sexes == 1)).all())


def test_changes_that_move_the_answer_do_not_count():
    class Cliff(nn.Module):
        """The answer hangs on the sign of x0, and so does which other feature counts."""

        def forward(self, x):
            first = x[:, 0] > 0
            z = torch.where(first, 5 + x[:, 1] + x[:, 0] * 0, -5 + x[:, 2] + x[:, 0] * 0)
            return torch.stack([torch.zeros_like(z), z], dim=1)

    inputs = np.random.default_rng(0).normal(size=(60, 3)) * [0.01, 0.3, 0.3]
    inputs[0] = [1.0, 0.0, 0.0]  # widens the columns' deviation, so that a change crosses the cliff
    found = Steadiness(**{**SMALL, "rows": 60}).run(subject(Cliff()), numbers(inputs), np.random.default_rng(0))
    assert found.estimates["similarity_attack@saliency"].value == pytest.approx(1)
    kept = float(found.notes[0].split("%")[0].split()[-1])
    assert 0 < kept < 100


def test_without_curvature_the_attacker_has_noise_only():
    data = numbers(np.random.default_rng(0).normal(size=(60, 8)))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Functional()
    found = Steadiness(**SMALL).run(subject(model), data, np.random.default_rng(0))
    assert "random points only" in found.notes[1]
    assert found.estimates["similarity_attack@saliency"].value is not None


def test_the_smoothed_copy_leaves_the_model():
    model = subject(rugged())
    soft = smoothed(model)
    assert any(isinstance(module, nn.Softplus) for module in soft.modules())
    assert not any(isinstance(module, nn.Softplus) for module in model.model.modules())
    x = torch.randn(9, 8, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(soft(x), model.model(x), atol=1.0)
    assert smoothed(replace(model, capabilities=frozenset())) is model.model


def test_pictures_and_equal_seeds():
    rng = np.random.default_rng(0)
    data = replace(numbers(rng.random((20, 1, 14, 14))), bounds=(0.0, 1.0))
    model = subject(nn.Sequential(nn.Flatten(), rugged(inputs=196)), Modality.IMAGE)
    state = torch.get_rng_state()
    first, second = (
        Steadiness(**{**SMALL, "methods": ("saliency", "kernel_shap")}).run(model, data, np.random.default_rng(1))
        for _ in range(2)
    )
    assert first == second
    assert torch.equal(state, torch.get_rng_state())
    assert first.estimates["similarity_attack@saliency"].value < 0.95


def test_it_is_skipped_where_nothing_is_small(words):
    known, texts = words
    assert "meant for" in Steadiness().skip_reason(known, texts)
    data = numbers(np.random.default_rng(0).random((9, 1, 4, 4)))
    assert "pixel" in Steadiness().skip_reason(subject(Linear([1.0] * 16), Modality.IMAGE), data)
