"""Lessons against plain re-implementations, and what averaging and AWP do to weights and statistics."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from attacks import Threat
from attacks.defence.material import Room
from attacks.defence.recipes import Attack, Lesson, Teacher
from attacks.defence.settings import Settings
from attacks.defence.weights import Average, kept_statistics, shaken, trainable
from attacks.noise import row_keys


def settings(recipe, **changes):
    usual = {
        "epochs": 1, "batch_size": 10, "steps": None, "noise": 1.0, "beta": 6.0, "optimiser": "adamw",
        "learning_rate": None, "weight_decay": 0.0, "schedule": "cycle", "averaging": 0.0, "awp": 0.0,
        "patience": None, "seed": 0,
    }  # fmt: skip
    return Settings(recipe=recipe, **(usual | changes))


def lesson(network, train, recipe, threat, attack=None, turn=0, **changes):
    chosen = settings(recipe, **changes)
    inputs, labels = train[0][:40], train[1][:40]
    teacher = Teacher(network, chosen, Room.of(threat, inputs))
    keys = row_keys(torch.arange(40), 0, "harden")
    return teacher, teacher.lesson(inputs, labels, keys, attack or Attack(chosen.first_steps, chosen.noise), turn)


@pytest.mark.parametrize("recipe", ["pgd", "trades", "fast"])
@pytest.mark.parametrize(
    ("norm", "eps", "order"), [("linf", 0.1, torch.inf), ("l2", 0.7, 2), ("l1", 2.0, 1), ("l0", 3, 0)]
)
def test_a_lesson_keeps_to_box_ball_and_mask(net, train, recipe, norm, eps, order):
    mask = torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(0)) < 0.7
    teacher, found = lesson(net(), train, recipe, Threat(norm, eps, mutable=mask))
    moved = (found.adversarial - found.clean).flatten(1)
    assert found.adversarial.min() >= 0 and found.adversarial.max() <= 1
    assert (moved[:, ~mask.flatten()] == 0).all()
    assert (moved != 0).any(1).all()
    # a single step may leave the ball by as much as its noise, never the box
    reach = 2 * eps if recipe == "fast" else eps
    assert (torch.linalg.vector_norm(moved.double(), order, dim=1) <= reach * (1 + 1e-5)).all()
    assert teacher.network.training is False


def test_other_epochs_draw_other_starts(net, train):
    threat = Threat("linf", 0.1)
    first, again, other = (lesson(net(), train, "fast", threat, turn=t)[1].adversarial for t in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_plain_fgsm_is_the_gradients_sign(net, train):
    network = net()
    _, found = lesson(network, train, "fast", Threat("linf", 0.1), Attack(1, 0.0))
    leaf = found.clean.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(functional.cross_entropy(network(leaf), found.labels), leaf)
    expected = (found.clean + 0.1 * gradient.sign()).clamp(0, 1)
    assert torch.allclose(found.adversarial, expected, atol=1e-6)


def test_inner_attacks_raise_what_they_are_meant_to_raise(net, train):
    network, threat = net(), Threat("linf", 0.1)
    _, madry = lesson(network, train, "pgd", threat)
    _, zhang = lesson(network, train, "trades", threat)
    noise = 0.1 * torch.randn(zhang.clean.shape, generator=torch.Generator().manual_seed(0)).sign()
    with torch.no_grad():
        clean, pushed, away, noisy = (
            network(x) for x in (madry.clean, madry.adversarial, zhang.adversarial, zhang.clean + noise)
        )
    assert functional.cross_entropy(pushed, madry.labels) > functional.cross_entropy(clean, madry.labels) + 0.1

    def divergence(moved):
        return functional.kl_div(moved.log_softmax(1), clean.log_softmax(1), log_target=True, reduction="none").sum(1)

    assert (divergence(away) > divergence(noisy)).all()


def test_the_trades_loss_is_that_of_the_paper(net, train):
    network = net()
    teacher, found = lesson(network, train, "trades", Threat("linf", 0.1), beta=3.0)
    clean, moved = network(found.clean).softmax(1), network(found.adversarial).softmax(1)
    rows = torch.arange(len(found.labels))
    natural = -clean[rows, found.labels].log().mean()
    robust = (clean * (clean / moved).log()).sum(1).mean()
    assert float(teacher.loss(found).detach()) == pytest.approx(float((natural + 3 * robust).detach()), rel=1e-4)


def test_inner_attacks_leave_statistics_and_weights_alone(net, train):
    network = net().train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    for recipe in ("pgd", "trades", "fast"):
        teacher, _ = lesson(network, train, recipe, Threat("linf", 0.1))
        assert teacher.network.training
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert all(weight.grad is None for weight in network.parameters())


def test_passes_are_counted(net, train):
    calls = {"forwards": 0}
    network = net()
    network.register_forward_pre_hook(lambda _, inputs: calls.update(forwards=calls["forwards"] + len(inputs[0])))
    for recipe, forwards, backwards in (("pgd", 11, 11), ("trades", 13, 12), ("fast", 2, 2)):
        calls["forwards"] = 0
        teacher, found = lesson(network, train, recipe, Threat("linf", 0.1))
        teacher.loss(found)
        assert teacher.passes.forwards == calls["forwards"] == 40 * forwards
        assert teacher.passes.backwards == 40 * backwards


def test_an_average_is_the_recursion_and_takes_its_own_statistics(net, train):
    network = net().train()
    average = Average(network, 0.99)
    expected = network[0].weight.detach().clone()
    given = Lesson(train[0][:60], train[0][:60], train[1][:60])
    for step in range(1, 6):
        with torch.no_grad():
            network[0].weight.add_(0.1)
        average.see(network, given)
        decay = (1 + step) / (10 + step)
        expected = decay * expected + (1 - decay) * network[0].weight.detach()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with average.within(network):
        assert torch.allclose(network[0].weight, expected, atol=1e-6)
        features = network[0](given.adversarial)
        assert torch.allclose(network[1].running_mean, features.mean((0, 2, 3)), atol=1e-5)
        assert torch.allclose(network[1].running_var, features.var((0, 2, 3)), rtol=1e-4)
        assert network[1].momentum == 0.1
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_awp_moves_each_matrix_by_its_share_up_the_loss(net, train):
    network = net().train()
    weights = trainable(network)
    inputs, labels = train[0][:60], train[1][:60]
    network[5].p = 0.0
    before = [weight.detach().clone() for weight in weights]
    statistics = network[1].running_mean.clone()
    with kept_statistics(network):
        loss = functional.cross_entropy(network(inputs), labels)
        gradients = torch.autograd.grad(loss, weights)
        with shaken(network, gradients, 0.01):
            worse = functional.cross_entropy(network(inputs), labels)
            for weight, old, gradient in zip(weights, before, gradients, strict=True):
                move = weight.detach() - old
                if weight.ndim > 1:
                    assert float(move.norm()) == pytest.approx(0.01 * float(old.norm()), rel=1e-3)
                    assert float((move * gradient).sum()) > 0
                else:
                    assert not move.any()
    assert worse > loss
    assert all(torch.equal(weight, old) for weight, old in zip(weights, before, strict=True))
    assert torch.equal(network[1].running_mean, statistics)
