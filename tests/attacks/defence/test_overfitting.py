"""Catastrophic overfitting: induced, told within the epoch, cured; and never told where training is sound."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import attacks
from attacks import Threat, harden
from attacks.defence import training
from attacks.defence.overfitting import Trial, caught

DATA = Path(__file__).parents[3] / "examples" / "fashion" / "data.npz"
WIDE = Threat("linf", 0.2)
ROUND = Threat("l2", 3.0)


def rows(split, n):
    with np.load(DATA) as arrays:
        images = torch.from_numpy(arrays[f"{split}_images"][:n]).float()[:, None] / 255
        return images, torch.from_numpy(arrays[f"{split}_labels"][:n]).long()


def net(seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(1, 16, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(1568, 100),
            nn.ReLU(),
            nn.Linear(100, 10),
        )


def train(threat, seed, noise):
    return harden(
        net(seed), rows("train", 1200), threat, "fast",
        noise=noise, epochs=8, learning_rate=5e-3, batch_size=50, seed=seed, schedule="constant",
    )  # fmt: skip


@pytest.mark.parametrize(("threat", "seed"), [(WIDE, 0), (ROUND, 1)], ids=["linf", "l2"])
def test_what_is_induced_is_told_within_the_epoch_and_cured(monkeypatch, threat, seed):
    with monkeypatch.context() as patch:
        patch.setattr(training, "caught", lambda *_: False)
        blind = train(threat, seed, noise=0.0)
    # plain one-step training ends where ten steps leave next to nothing of what one step leaves
    ruined = [i for i, e in enumerate(blind.history) if e.one_step > 0.2 and e.robust < 0.3 * e.one_step]
    assert ruined, "nothing was induced"
    seeing = train(threat, seed, noise=0.0)
    told = [i for i, e in enumerate(seeing.history) if e.overfitted]
    assert told and told[0] <= ruined[0]
    assert seeing.history[: told[0]] == blind.history[: told[0]]  # the same training until then
    after = seeing.history[told[0] + 1]
    assert (after.steps, after.noise) == (1, 2.0)
    assert seeing.history[-1].epoch == 8
    last, best = blind.history[-1], seeing.history[seeing.best]
    assert best.robust > 2 * last.robust
    assert best.robust > 0.6 * best.one_step
    kept = [
        attacks.evaluate(model, *rows("test", 200), threat, effort="quick").robust_accuracy
        for model in (blind.model, seeing.model)
    ]
    assert kept[1] > kept[0] + 0.05, "the cure beats stopping before the overfitting"


@pytest.mark.parametrize(("threat", "seed"), [(Threat("linf", 0.1), 0), (Threat("l2", 1.0), 1)], ids=["linf", "l2"])
def test_sound_training_raises_no_alarm(threat, seed):
    history = train(threat, seed, noise=1.0).history
    assert not any(line.overfitted for line in history)
    assert history[-1].robust > 0.4


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (Trial(0.9, 0.85, 0.01, 256), True),
        (Trial(0.7, 0.50, 0.20, 256), True),
        (Trial(0.8, 0.60, 0.45, 256), False),  # better all round
        (Trial(0.8, 0.50, 0.40, 256), False),  # robust rows are most of those that withstand one step
        (Trial(0.8, 0.12, 0.05, 256), False),  # weak, but not blind by more than chance
    ],
)
def test_when_it_is_told(now, expected):
    assert caught(Trial(0.8, 0.5, 0.45, 256), now) is expected


def test_few_rows_prove_nothing():
    good, bad = Trial(0.8, 0.5, 0.45, 10), Trial(0.8, 0.5, 0.2, 10)
    assert not caught(good, bad)
    assert caught(Trial(0.8, 0.5, 0.45, 500), Trial(0.8, 0.5, 0.2, 500))


def test_the_cure_grows_stronger():
    from attacks.defence.recipes import Attack

    found = [Attack(1, 0.0)]
    for _ in range(3):
        found.append(found[-1].stronger())
    assert [(a.steps, a.noise) for a in found] == [(1, 0.0), (1, 2.0), (2, 2.0), (4, 2.0)]
