"""`attacks.harden`: it hardens, leaves no trace, gives the same again, goes on where it stopped, and refuses aloud."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import attacks
from attacks import Threat, harden

LINF = Threat("linf", 0.15)
QUICK = {"epochs": 3, "batch_size": 50}


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def states():
    legacy = np.random.get_state()  # noqa: NPY002 - the global state is the point
    return random.getstate(), legacy[1].tolist(), torch.get_rng_state().tolist()


def accuracy(model, rows, threat):
    return attacks.evaluate(model, *rows, threat, effort="quick").robust_accuracy


@pytest.fixture(scope="module")
def plain(train):
    """A net trained on clean images."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
        optimiser = torch.optim.Adam(model.parameters(), 1e-2)
        for _ in range(40):
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(train[0]), train[1]).backward()
            optimiser.step()
    return model.eval()


@pytest.mark.parametrize(
    ("recipe", "threat"),
    [
        ("pgd", LINF),
        ("trades", LINF),
        ("fast", LINF),
        ("trades", Threat("l2", 0.7)),
        ("fast", Threat("l2", 0.7)),
        ("pgd", Threat("l1", 2.0)),
    ],
    ids=["pgd-linf", "trades-linf", "fast-linf", "trades-l2", "fast-l2", "pgd-l1"],
)
def test_every_recipe_hardens(plain, train, unseen, recipe, threat):
    hardened = harden(plain, train, threat, recipe, epochs=6, batch_size=50)
    before, after = accuracy(plain, unseen, threat), accuracy(hardened.model, unseen, threat)
    assert after > before + 0.08
    assert hardened.history[0].robust < hardened.history[hardened.best].robust


def test_a_sparse_attack_teaches_a_model_to_look_at_all_columns():
    labels = torch.arange(300) % 2
    inputs = (labels.float() * 2 - 1)[:, None].expand(-1, 10).contiguous()
    threat = Threat("l0", 1, (-1.0, 1.0))
    model = nn.Linear(10, 2)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[-1.0] + [0.0] * 9, [1.0] + [0.0] * 9]))
        model.bias.zero_()
    assert accuracy(model, (inputs, labels), threat) == 0
    hardened = harden(model, (inputs, labels), threat, "pgd", epochs=5, batch_size=30, learning_rate=0.1)
    assert accuracy(hardened.model, (inputs, labels), threat) == 1


def test_a_linear_model_is_hardened_by_giving_up_the_brittle_feature():
    # one feature is right in 90 % of rows and large, five are always right and small: under attack only the first counts
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 2, (600,), generator=generator)
    sign = labels.float() * 2 - 1
    first = torch.where(torch.rand(600, generator=generator) < 0.9, sign, -sign)
    inputs = torch.cat([first[:, None], 0.2 * sign[:, None].expand(-1, 5)], 1)
    threat = Threat("linf", 0.4, (-5.0, 5.0))
    model = nn.Linear(6, 2)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[-1.0] + [-9.0] * 5, [1.0] + [9.0] * 5]))
        model.bias.zero_()
    assert accuracy(model, (inputs, labels), threat) == 0
    hardened = harden(model, (inputs, labels), threat, "pgd", epochs=12, batch_size=50, learning_rate=0.1)
    found = accuracy(hardened.model, (inputs, labels), threat)
    assert found == pytest.approx(float((first == sign).double().mean()), abs=0.005)


def test_the_caller_is_left_alone(net, train):
    model = net()
    model[1].weight.requires_grad_(False)
    before, generators = weights(model), states()
    asked = [p.requires_grad for p in model.parameters()]
    hardened = harden(model, train, Threat("linf", 0.05), "fast", averaging=0.9, awp=0.01, **QUICK)
    assert same(before, weights(model))
    assert not model.training and all(p.grad is None for p in model.parameters())
    assert generators == states()
    assert not hardened.model.training
    assert [p.requires_grad for p in hardened.model.parameters()] == asked
    # what asked for no gradient was not trained, the rest was
    assert torch.equal(hardened.model[1].weight, model[1].weight)
    assert not torch.equal(hardened.model[0].weight, model[0].weight)


def test_a_model_frozen_as_a_whole_is_trained(net, train):
    model = net().requires_grad_(False)
    hardened = harden(model, train, LINF, "fast", **QUICK)
    assert not torch.equal(hardened.model[0].weight, model[0].weight)
    assert not any(p.requires_grad for p in hardened.model.parameters())


@pytest.mark.parametrize(
    "options",
    [
        {"recipe": "pgd", "steps": 2},
        {"recipe": "trades", "steps": 2, "averaging": 0.9},
        {"recipe": "fast", "optimiser": "sgd", "awp": 0.01, "schedule": "constant"},
        {"recipe": "fast", "averaging": 0.9},
    ],
    ids=["pgd", "trades-averaged", "fast-sgd-awp", "fast-averaged"],
)
def test_interrupted_or_not_the_weights_are_the_same_to_the_bit(net, train, tmp_path, options):
    whole = harden(net(), train, LINF, **QUICK, **options)

    def stop(at):
        if at.epoch == 2 and at.batch == 3:
            raise KeyboardInterrupt

    state = tmp_path / "state.pt"
    with pytest.raises(KeyboardInterrupt):
        harden(net(), train, LINF, resume=state, progress=stop, **QUICK, **options)
    torch.rand(7)  # what happens to the global generator meanwhile is no matter
    seen = []
    again = harden(net(), train, LINF, resume=state, progress=seen.append, **QUICK, **options)
    assert {at.epoch for at in seen} == {2, 3}
    assert same(weights(whole.model), weights(again.model))
    assert whole.history == again.history
    # a finished training is read, not run
    seen.clear()
    third = harden(net(), train, LINF, resume=state, progress=seen.append, **QUICK, **options)
    assert not seen
    assert same(weights(whole.model), weights(third.model))
    assert (third.forwards, third.backwards) == (whole.forwards, whole.backwards)


@pytest.mark.parametrize("change", ["weights", "rows", "threat", "settings"])
def test_the_state_of_another_hardening_is_refused(net, train, tmp_path, change):
    given = {"model": net(), "train": train, "threat": LINF, "seed": 0}
    harden(**given, recipe="fast", epochs=1, resume=tmp_path / "s")
    other = {
        "weights": {"model": net(1)},
        "rows": {"train": (train[0][1:], train[1][1:])},
        "threat": {"threat": replace(LINF, eps=0.1)},
        "settings": {"seed": 1},
    }[change]
    with pytest.raises(ValueError, match="found that of another"):
        harden(**(given | other), recipe="fast", epochs=1, resume=tmp_path / "s")


def test_a_damaged_state_is_refused(net, train, tmp_path):
    (tmp_path / "s").write_bytes(b"not a state")
    with pytest.raises(ValueError, match="delete the file"):
        harden(net(), train, LINF, "fast", epochs=1, resume=tmp_path / "s")


def test_the_state_needs_no_unpickling(net, train, tmp_path):
    harden(net(), train, LINF, "fast", epochs=1, averaging=0.9, resume=tmp_path / "s")
    assert torch.load(tmp_path / "s", weights_only=True)["history"][1]["epoch"] == 1


def test_batches_are_as_good_as_one_pair(net, train):
    batches = zip(train[0].split(70), train[1].split(70), strict=True)
    assert same(
        weights(harden(net(), batches, LINF, "fast", **QUICK).model),
        weights(harden(net(), train, LINF, "fast", **QUICK).model),
    )


def test_the_best_epoch_is_kept(net, train):
    held = train[0][:100], train[1][:100]
    rows = train[0][100:], train[1][100:]
    hardened = harden(net(), rows, LINF, "fast", epochs=4, learning_rate=0.3, schedule="constant", held_out=held)
    robust = [line.robust for line in hardened.history]
    assert robust[hardened.best] == max(robust)
    again = attacks.pgd(hardened.model, *held, LINF, steps=10)
    found = (hardened.model(again).argmax(1) == held[1]).double().mean()
    assert float(found) >= robust[hardened.best]  # the line counts rows that fell to one step, too
    assert float(found) == pytest.approx(robust[hardened.best], abs=0.03)


def test_patience_ends_training(net, train):
    hardened = harden(net(), train, LINF, "fast", epochs=50, learning_rate=1e-9, patience=2)
    assert hardened.history[-1].epoch < 50
    assert hardened.history[-1].epoch - hardened.history[hardened.best].epoch == 2


def test_columns_that_may_not_move_are_not_trained_against():
    # the first column alone decides; it may not move, so attacked training is clean training
    rows = torch.randn(300, 3, generator=torch.Generator().manual_seed(0))
    labels = (rows[:, 0] > 0).long()
    low, high = rows.amin(0), rows.amax(0)
    fixed = Threat("linf", 5.0, (low, high), mutable=torch.tensor([False, True, True]))
    model = nn.Linear(3, 2)
    found = harden(model, (rows, labels), fixed, "fast", epochs=10, batch_size=30, learning_rate=0.1)
    assert found.history[found.best].robust > 0.9
    free = harden(
        model, (rows, labels), replace(fixed, mutable=None), "fast", epochs=10, batch_size=30, learning_rate=0.1
    )
    assert free.history[free.best].robust < 0.7


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"recipe": "magic"}, "recipe"),
        ({"epochs": 0}, "epochs"),
        ({"steps": 1.5}, "steps"),
        ({"beta": -1.0}, "beta"),
        ({"averaging": 1.0}, "averaging"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"held_out": 1.5}, "held_out"),
        ({"held_out": 1e-6}, "more rows"),
        ({"threat": Threat("linf", 0.1, target=3)}, "target"),
        ({"threat": Threat("linf", 0.0)}, "eps"),
        ({"threat": Threat("linf", 0.1, (0.0, 0.5))}, "bounds"),
        ({"train": 3}, "train"),
        ({"train": [(torch.zeros(3, 2), "label")]}, "batches"),
        ({"model": lambda x: x}, "torch.nn.Module"),
        ({"model": nn.Flatten()}, "weights to train"),
        ({"learning_rate": 1e30, "optimiser": "sgd", "recipe": "pgd"}, "learning_rate"),
    ],
)
def test_refusals(net, train, change, words):
    given = {"model": net(), "train": train, "threat": LINF, "recipe": "fast", "epochs": 2} | change
    with pytest.raises((ValueError, TypeError), match=r"Expected .* found") as refusal:
        harden(**given)
    assert words in str(refusal.value)


def test_the_learning_rate_rises_and_falls_to_nothing():
    from attacks.defence.settings import Settings

    usual = Settings("pgd", 2, 2, None, 1.0, 6.0, "sgd", 0.1, 0.0, "cycle", 0.0, 0.0, None, 0)
    rates = [usual.rate(i / 100) for i in range(101)]
    assert max(rates) == pytest.approx(0.1) == pytest.approx(rates[30])
    assert rates[:31] == sorted(rates[:31])
    assert rates[30:] == sorted(rates[30:], reverse=True)
    assert rates[-1] == pytest.approx(0, abs=1e-12) and math.isfinite(rates[0]) and rates[0] > 0
