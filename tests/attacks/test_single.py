"""What the attacks called by their names achieve: near the optimum on planes, level with peers on a net."""

from __future__ import annotations

import foolbox
import pytest
import torch
from torch import nn

import attacks
from attacks import Threat
from tests.attacks.cases import ATTACKS
from tests.attacks.contracts import ORDER
from tests.attacks.planes import FREE, UNIT, linear, smallest

EVERYTHING = torch.ones(12, dtype=torch.bool)
#: minimal-norm attacks: steps, and the median ratio to the optimum they must reach on a plane
NEAR = {
    "fmn": ({"steps": 40}, 1.001),
    "deepfool": ({}, 1.021),
    "carlini_wagner": ({"steps": 300}, 1.005),
    "hop_skip_jump": ({"steps": 12}, 1.05),
    "boundary": ({"steps": 1000}, 1.5),
}
MINIMAL = [(name, norm) for name in NEAR for norm in ATTACKS[name].norms]


@pytest.mark.parametrize(("name", "norm"), MINIMAL)
@pytest.mark.parametrize("box", [True, False])
def test_the_smallest_perturbation_of_a_plane(name, norm, box):
    if norm == "l0" and not box:
        bounds = (-50.0, 50.0)
        model, inputs, labels = linear(2, True)
        truth = None
    else:
        bounds = UNIT if box else FREE
        model, inputs, labels = linear(2, box)
        truth = smallest(model, inputs, labels, norm, box, EVERYTHING)
    options, most = NEAR[name]
    found = getattr(attacks, name)(model, inputs, labels, Threat(norm, 1e4, bounds), **options)
    size = torch.linalg.vector_norm(found - inputs, ORDER[norm], dim=1)
    assert bool((model(found).argmax(1) != labels).all())
    if truth is None:
        assert bool((size == 1).all()), "one element can cross any plane that far"
        return
    assert float((size / truth).median()) <= most
    assert float((size / truth).min()) >= 1 - 1e-9


@pytest.mark.parametrize(("name", "norm"), [case for case in MINIMAL if case[0] != "boundary"])
def test_they_break_what_lies_inside_the_ball(name, norm):
    model, inputs, labels = linear(2, True)
    truth = smallest(model, inputs, labels, norm, True, EVERYTHING)
    eps = 1.1 * float(truth.median())
    options, most = NEAR[name]
    found = getattr(attacks, name)(model, inputs, labels, Threat(norm, eps), **options)
    broken = model(found).argmax(1) != labels
    assert not bool(broken[truth > eps].any())
    assert float(broken[truth * most < eps].double().mean()) >= 0.9
    assert float(torch.linalg.vector_norm(found - inputs, ORDER[norm], dim=1)[~broken].min()) > 0.9 * eps


@pytest.mark.parametrize(
    ("name", "options", "peer"),
    [
        ("carlini_wagner", {"steps": 200}, foolbox.attacks.L2CarliniWagnerAttack(4, 60, initial_const=0.1)),
        ("fmn", {"steps": 40}, foolbox.attacks.DDNAttack(steps=40)),
        ("hop_skip_jump", {"steps": 5}, foolbox.attacks.HopSkipJumpAttack(steps=5)),
    ],
    ids=["carlini_wagner", "fmn", "hop_skip_jump"],
)
def test_level_with_foolbox_on_a_net(digits, name, options, peer):
    model, inputs, labels = digits
    right = model(inputs).argmax(1) == labels
    inputs, labels = inputs[right][:20], labels[right][:20]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
        _, moved, _ = peer(wrapped, inputs, labels, epsilons=None)
    theirs = (moved - inputs).flatten(1).norm(dim=1).where(model(moved).argmax(1) != labels, torch.inf)
    found = getattr(attacks, name)(model, inputs, labels, Threat("l2", 100.0), **options)
    ours = (found - inputs).flatten(1).norm(dim=1)
    assert bool((model(found).argmax(1) != labels).all())
    assert float(ours.median()) <= 1.02 * float(theirs.median())


def test_deepfool_is_near_foolbox_s_with_fewer_gradients(digits):
    """A jump that respects the box arrives sooner, and a little farther behind a curved boundary."""
    model, inputs, labels = digits
    right = model(inputs).argmax(1) == labels
    inputs, labels = inputs[right], labels[right]
    wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    _, moved, _ = foolbox.attacks.L2DeepFoolAttack()(wrapped, inputs, labels, epsilons=None)
    found = attacks.deepfool(model, inputs, labels, Threat("l2", 100.0), steps=5)
    assert bool((model(found).argmax(1) != labels).all())
    theirs, ours = ((end - inputs).flatten(1).norm(dim=1).median() for end in (moved, found))
    assert float(ours) <= 1.1 * float(theirs)


@pytest.mark.parametrize("name", [name for name, case in ATTACKS.items() if not case.gradients])
def test_decisions_and_scores_suffice(name):
    """No gradient is asked for: a model whose backward pass fails is attacked all the same."""

    class Forward(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, up):
            raise AssertionError("a gradient was asked for")

    model, inputs, labels = linear(2, True)
    case = ATTACKS[name]
    found = case.attack(lambda x: Forward.apply(model(x)), inputs, labels, Threat("l2", 10.0), **case.options)
    assert bool((model(found).argmax(1) != labels).any())


@pytest.mark.parametrize("name", ["hop_skip_jump", "boundary"])
def test_hard_labels_are_as_good_as_scores(name):
    model, inputs, labels = linear(3, True)
    case, threat = ATTACKS[name], Threat("l2", 10.0)

    def decisions(x):
        return nn.functional.one_hot(model(x).argmax(1), 3).to(x)

    soft = case.attack(model, inputs, labels, threat, **case.options)
    hard = case.attack(decisions, inputs, labels, threat, **case.options)
    assert torch.equal(soft, hard)


def test_carlini_wagner_moves_pixels_at_the_end_of_their_range():
    model, inputs, labels = linear(2, True)
    inputs = inputs.round()
    labels = model(inputs).argmax(1)
    truth = smallest(model, inputs, labels, "l2", True, EVERYTHING)
    found = attacks.carlini_wagner(model, inputs, labels, Threat("l2", 100.0), steps=300)
    assert float(((found - inputs).norm(dim=1) / truth).median()) < 1.01


def test_boundary_needs_one_box_for_all():
    model, inputs, labels = linear(2, True)
    bounds = torch.zeros(12, dtype=torch.float64), torch.linspace(1, 2, 12, dtype=torch.float64)
    with pytest.raises(ValueError, match="bounds"):
        attacks.boundary(model, inputs, labels, Threat("l2", 1.0, bounds))


def test_a_point_without_a_start_does_not_stop_the_others():
    """Every random input belongs to class 0; those of class 0 have no start, the others do."""
    weight = torch.tensor([[0.0, 0.0], [8.0, 8.0]], dtype=torch.float64)
    bias = torch.tensor([15.0, 0.0], dtype=torch.float64)
    inputs = torch.tensor([[0.1, 0.2], [0.97, 0.97], [0.3, 0.1]], dtype=torch.float64)
    labels = torch.tensor([0, 1, 0])
    for name in ("hop_skip_jump", "boundary"):
        case = ATTACKS[name]
        found = case.attack(lambda x: x @ weight.T + bias, inputs, labels, Threat("l2", 5.0), **case.options)
        assert bool(((found @ weight.T + bias).argmax(1) != labels)[1])
