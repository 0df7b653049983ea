"""Every attack keeps every contract, for every norm, type and shape."""

from __future__ import annotations

import pytest
import torch
from scipy.optimize import linprog
from torch import nn

import attacks
from attacks import Threat
from tests.attacks.cases import ATTACKS, BUDGETS, EVERY, UNKNOWN
from tests.attacks.contracts import assert_inside, assert_rows_stand_alone, assert_the_wrong_are_left_alone


def problem(shape, classes=3, n=10, dtype=torch.float64):
    """A small smooth net, inputs in [0, 1] and its own answers, one of them made wrong."""
    with torch.random.fork_rng():
        torch.manual_seed(len(shape) + classes)
        size = int(torch.tensor(shape).prod())
        model = nn.Sequential(nn.Flatten(), nn.Linear(size, 16), nn.Tanh(), nn.Linear(16, classes)).to(dtype)
        inputs = torch.rand(n, *shape).to(dtype)
    inputs[1] = inputs[1].round()  # on the edge of the box
    labels = model(inputs).argmax(1)
    labels[0] = (labels[0] + 1) % classes
    return model, inputs, labels


@pytest.mark.parametrize(("name", "norm"), EVERY)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_inside_and_the_wrong_left_alone(name, norm, dtype):
    model, inputs, labels = problem((2, 5, 4), dtype=dtype)
    case = ATTACKS[name]
    mutable = torch.ones(2, 5, 4, dtype=torch.bool)
    mutable[0, :2] = False
    threat = Threat(norm, BUDGETS[norm], mutable=mutable)
    before = inputs.clone()
    found = case.attack(model, inputs, labels, threat, **case.options)
    assert torch.equal(inputs, before)
    assert_inside(found, inputs, threat)
    assert_the_wrong_are_left_alone(model, found, inputs, labels)


@pytest.mark.parametrize(("name", "norm"), EVERY)
def test_rows_stand_alone(name, norm):
    model, inputs, labels = problem((1, 6, 6))
    case = ATTACKS[name]
    threat = Threat(norm, BUDGETS[norm] / 4 if norm != "l0" else 2.0)
    assert_rows_stand_alone(
        lambda x, y, **more: case.attack(model, x, y, threat, **case.options, **more), inputs, labels
    )


@pytest.mark.parametrize(("name", "norm"), UNKNOWN)
def test_a_norm_the_paper_does_not_have_is_refused(name, norm):
    model, inputs, labels = problem((4,))
    with pytest.raises(ValueError, match=f"threat.norm.*{norm}"):
        ATTACKS[name].attack(model, inputs, labels, Threat(norm, 1.0))


@pytest.mark.parametrize("norm", BUDGETS)
@pytest.mark.parametrize(("shape", "classes"), [((7,), 2), ((1,), 3), ((5, 4), 5), ((3, 4, 6), 10)])
def test_evaluate_takes_any_shape_and_number_of_classes(shape, classes, norm):
    model, inputs, labels = problem(shape, classes)
    threat = Threat(norm, 1.0 if shape == (1,) else BUDGETS[norm])
    e = attacks.evaluate(model, inputs, labels, threat, effort="quick")
    assert_inside(e.adversarial, inputs, threat)
    assert torch.equal(model(e.adversarial).argmax(1) != labels, ~e.robust)
    assert e.broken_by[0] == "misclassified"
    assert not bool(e.robust[0])
    assert e.trustworthy, e.findings


def test_one_point_and_no_budget():
    model, inputs, labels = problem((4,))
    e = attacks.evaluate(model, inputs[1:2], labels[1:2], Threat("l2", 0.0), effort="quick")
    assert e.robust.tolist() == [True]
    assert torch.equal(e.adversarial, inputs[1:2])


def test_a_target_is_reached_exactly_where_a_linear_programme_reaches_it():
    generator = torch.Generator().manual_seed(0)
    model = nn.Linear(8, 4).double()
    with torch.no_grad():
        model.weight.copy_(torch.randn(4, 8, generator=generator))
        model.bias.copy_(-model.weight.sum(1) / 2)  # all classes occur in the unit box
    inputs = torch.rand(30, 8, generator=generator, dtype=torch.float64)
    labels = model(inputs).argmax(1)
    target = (labels + 1) % 4
    eps = 0.15
    lead = torch.tensor([_lead(model, x, int(t), eps) for x, t in zip(inputs, target, strict=True)])
    assert 5 < int((lead > 0).sum()) < 25
    assert float(lead.abs().min()) > 1e-3, "no point of the case may lie on the edge"
    e = attacks.evaluate(model, inputs, labels, Threat("linf", eps, target=target))
    assert torch.equal(~e.robust, lead > 0)
    assert torch.equal(model(e.adversarial).argmax(1) == target, ~e.robust)


def _lead(model, x, target, eps):
    """The largest lead of the target over all other classes that the linf ball and the unit box allow."""
    weight, bias = model.weight.detach(), model.bias.detach()
    others = [k for k in range(4) if k != target]
    # variables: the input and the lead t; maximise t with t <= score of the target - score of k for every k
    rows = torch.cat([weight[others] - weight[target], torch.ones(3, 1)], dim=1)
    limits = [(max(v - eps, 0), min(v + eps, 1)) for v in x.tolist()]
    best = linprog(
        [0.0] * 8 + [-1.0],
        A_ub=rows.numpy(),
        b_ub=(bias[target] - bias[others]).numpy(),
        bounds=[*limits, (None, None)],
    )
    return -best.fun


def test_inside_inference_mode_and_with_a_plain_callable():
    model, inputs, labels = problem((4,))
    threat = Threat("linf", 0.2)
    expected = attacks.evaluate(model, inputs, labels, threat, effort="quick")
    with torch.inference_mode():
        found = attacks.evaluate(lambda x: model(x), inputs, labels, threat, effort="quick")
    assert torch.equal(found.robust, expected.robust)
