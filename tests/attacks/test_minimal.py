"""Smallest perturbations against solvers on linear models, and the face of the function."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import attacks
from tests.attacks.contracts import ORDER
from tests.attacks.planes import FREE, UNIT, linear, smallest

EVERYTHING = torch.ones(12, dtype=torch.bool)
CASES = [(norm, box) for norm in ORDER for box in (True, False) if box or norm != "l0"]


def sizes(found, inputs, norm):
    return torch.linalg.vector_norm((found - inputs).double().flatten(1), ORDER[norm], dim=1)


@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize(("norm", "box"), CASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_linear_models_are_broken_at_the_optimum(classes, norm, box, dtype):
    model, inputs, labels = linear(classes, box, dtype=dtype)
    truth = smallest(model, inputs, labels, norm, box, EVERYTHING)
    m = attacks.minimal(model, inputs, labels, norm=norm, bounds=UNIT if box else FREE)
    assert bool(truth.isfinite().all())
    assert bool(m.success.all())
    ratio = m.distance / truth
    assert float(ratio.median()) <= 1.001
    assert float(ratio.quantile(0.99)) <= 1.01
    # nobody beats an optimum, up to the rounding of the model's own sums
    assert float(ratio.min()) >= 1 - (1e-9 if dtype == torch.float64 else 1e-3)
    assert m.backwards <= 40 * len(inputs)
    torch.testing.assert_close(m.distance, sizes(m.adversarial, inputs, norm))
    assert bool((model(m.adversarial).argmax(1) != labels).all())


@pytest.mark.parametrize("norm", ORDER)
@pytest.mark.parametrize("classes", [2, 10])
def test_points_the_box_protects_come_back_infinite(classes, norm):
    model, inputs, labels = linear(classes, True, n=60)
    mutable = torch.arange(12) < (2 if classes == 2 else 1)
    truth = smallest(model, inputs, labels, norm, True, mutable)
    out = truth.isinf()
    assert 5 < int(out.sum()) < 55, "the case must hold both kinds"
    m = attacks.minimal(model, inputs, labels, norm=norm, mutable=mutable)
    assert torch.equal(m.success, ~out)
    assert bool(m.distance[out].isinf().all())
    assert torch.equal(m.adversarial[out], inputs[out])
    assert torch.equal(m.adversarial[:, ~mutable], inputs[:, ~mutable])
    ratio = (m.distance / truth)[~out]
    assert float(ratio.median()) <= 1.001
    assert float(ratio.quantile(0.99)) <= 1.01


def test_the_wrong_cost_nothing():
    model, inputs, labels = linear(3, True)
    labels[:5] = (labels[:5] + 1) % 3
    m = attacks.minimal(model, inputs, labels, steps=10)
    assert m.distance[:5].tolist() == [0.0] * 5
    assert bool(m.success.all())
    assert torch.equal(m.adversarial[:5], inputs[:5])
    assert m.backwards <= 10 * (len(inputs) - 5)
    none = attacks.minimal(model, inputs[:5], labels[:5])
    assert (none.forwards, none.backwards) == (5, 0)


@pytest.mark.parametrize("norm", ORDER)
def test_a_goal_is_met(norm):
    model, inputs, labels = linear(4, True)
    goal = (labels + 1) % 4
    m = attacks.minimal(model, inputs, labels, norm=norm, target=goal)
    free = attacks.minimal(model, inputs, labels, norm=norm)
    assert float(m.success.double().mean()) > 0.9
    assert bool((model(m.adversarial).argmax(1) == goal)[m.success].all())
    assert bool((m.distance >= free.distance * (1 - 1e-3)).all()), "any class is nearer than a given one"


@pytest.mark.parametrize("norm", ORDER)
@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_neither_the_scale_of_scores_nor_the_unit_of_inputs_matters(digits, norm, scale):
    model, inputs, labels = digits
    inputs, labels = inputs[:20].double(), labels[:20]
    model = nn.Sequential(model, nn.Identity()).double()
    plain = attacks.minimal(model, inputs, labels, norm=norm, steps=20).distance
    loud = attacks.minimal(lambda x: scale * model(x), inputs, labels, norm=norm, steps=20).distance
    torch.testing.assert_close(loud, plain, rtol=1e-3, atol=0)
    far = attacks.minimal(lambda x: model(x / scale), inputs * scale, labels, norm, (0.0, scale), steps=20).distance
    torch.testing.assert_close(far / (scale if norm != "l0" else 1), plain, rtol=1e-3, atol=0)
    model.float()


@pytest.mark.parametrize("norm", ORDER)
def test_more_steps_and_any_batch_give_what_they_should(digits, norm):
    model, inputs, labels = digits
    few = attacks.minimal(model, inputs, labels, norm=norm, steps=12)
    many = attacks.minimal(model, inputs, labels, norm=norm, steps=60)
    assert float(many.distance.median()) <= float(few.distance.median())
    assert float(many.distance.mean()) < float(few.distance.mean())
    other = attacks.minimal(model, inputs.flip(0), labels.flip(0), norm=norm, steps=12, batch_size=7)
    torch.testing.assert_close(other.distance.flip(0), few.distance, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_answers_are_true_in_half_precision(dtype):
    model, inputs, labels = linear(3, True, dtype=torch.float32)
    model, inputs = model.to(dtype), inputs.to(dtype)
    labels = model(inputs).argmax(1)
    m = attacks.minimal(model, inputs, labels, norm="linf")
    assert m.adversarial.dtype == dtype
    assert torch.equal(model(m.adversarial).argmax(1) != labels, m.success)
    assert float(m.success.double().mean()) > 0.9


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_any_number_of_steps_is_kept(steps):
    model, inputs, labels = linear(10, True)
    m = attacks.minimal(model, inputs, labels, norm="l2", steps=steps)
    assert m.backwards == steps * len(inputs)
    assert bool((model(m.adversarial).argmax(1) != labels)[m.success].all())


@pytest.mark.parametrize(("argument", "value"), [("steps", 0), ("norm", "l3"), ("batch_size", 0), ("seed", None)])
def test_what_cannot_be_is_refused(argument, value):
    model, inputs, labels = linear(2, True)
    with pytest.raises((TypeError, ValueError), match=argument):
        attacks.minimal(model, inputs, labels, **{argument: value})
