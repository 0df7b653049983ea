"""No attack leaves a trace, none asks for more than it needs, and every count is the real one; whatever the model does."""

from __future__ import annotations

import random
import sys

import numpy as np
import pytest
import torch
from torch import nn

import attacks
from attacks import Threat, search
from attacks.guard import Guard
from attacks.points import build, check
from tests.attacks.cases import ATTACKS, BUDGETS, EVERY
from tests.attacks.contracts import ORDER
from tests.attacks.planes import linear

ENGINES = {
    "evaluate": lambda m, x, y, norm, **more: (
        attacks.evaluate(m, x, y, Threat(norm, BUDGETS[norm], **more), effort="quick").adversarial
    ),
    "curve": lambda m, x, y, norm, **more: (
        attacks.curve(m, x, y, norm, (BUDGETS[norm] / 2, BUDGETS[norm]), effort="quick", **more).adversarial
    ),
    "minimal": lambda m, x, y, norm, **more: attacks.minimal(m, x, y, norm, steps=12, **more).adversarial,
}
#: one row each: name, norm; on a model as odd as this one `evaluate` and `curve` call in remedies, which take their time
ALL = EVERY + [(name, norm) for name in ENGINES for norm in ORDER if name == "minimal" or norm in ("linf", "l2")]
#: one norm each, where the norm does not matter
ONE = [(name, next(norm for norm in ("l2", "linf") if norm in case.norms)) for name, case in ATTACKS.items()]
ONE += [(name, "l2") for name in ENGINES]
BLIND = {name for name, case in ATTACKS.items() if not case.gradients}


def run(name, model, inputs, labels, norm, **more):
    if name in ENGINES:
        return ENGINES[name](model, inputs, labels, norm, **more)
    case = ATTACKS[name]
    return case.attack(model, inputs, labels, Threat(norm, BUDGETS[norm], **more), **case.options)


class Careless(nn.Module):
    """Mixed modes and freezing, shared weights, a buffer written in place and one replaced, hooks, global draws."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.norm, self.drop = nn.BatchNorm1d(5), nn.Dropout(0.5)
            self.body, self.head = nn.Linear(5, 5), nn.Linear(5, 3)
        self.again = self.body
        self.register_buffer("written", torch.zeros(2))
        self.register_buffer("replaced", torch.zeros(2))
        self.norm.train()
        self.drop.eval()
        self.head.bias.requires_grad_(False)
        self.head.register_forward_hook(lambda module, args, out: None)
        self.rows, self.seen, self.explode = 0, [], None

    def forward(self, x):
        self.rows += len(x)
        self.seen += (x[:, 4].detach() * 1000).round().int().tolist()
        if self.explode is not None and self.rows > 10:
            raise self.explode
        self.written += 1
        self.replaced = self.replaced + 1
        drawn = torch.rand(()) + random.random() + float(np.random.rand())  # noqa: NPY002 - the careless way
        x = x.sub_(0.5)  # in place, on what the attack handed over
        return self.head(torch.tanh(self.again(self.body(self.norm(self.drop(x)))))) + 0 * drawn


def points(model, n=8):
    """Inputs whose last element is their number, fixed, and labels of which the first two are wrong."""
    inputs = torch.rand(n, 5, generator=torch.Generator().manual_seed(3))
    inputs[:, 4] = torch.arange(n) / 1000
    twin = Careless().eval()
    twin.load_state_dict(model.state_dict())
    labels = twin(inputs.clone()).argmax(1)
    labels[:2] = (labels[:2] + 1) % 3
    return inputs, labels, torch.tensor([True] * 4 + [False])


def snapshot(model):
    numpy = np.random.get_state()  # noqa: NPY002 - the global one must stay
    return {
        "state": {name: value.clone() for name, value in model.state_dict().items()},
        "objects": [id(value) for value in (*model.parameters(), *model.buffers())],
        "asks": [weight.requires_grad for weight in model.parameters()],
        "grads": [None if weight.grad is None else weight.grad.tolist() for weight in model.parameters()],
        "modes": [module.training for module in model.modules()],
        "hooks": [
            (list(m._forward_hooks), list(m._forward_pre_hooks), list(m._backward_hooks)) for m in model.modules()
        ],
        "torch": torch.get_rng_state().tolist(),
        "numpy": (numpy[1].tolist(), numpy[2], numpy[3], numpy[4]),
        "random": random.getstate(),
        "trace": (sys.gettrace(), sys.getprofile()),
        "switches": (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.backends.cudnn.enabled),
    }


def assert_untouched(model, before):
    after = snapshot(model)
    torch.testing.assert_close(after.pop("state"), before.pop("state"), rtol=0, atol=0, equal_nan=True)
    assert after == before


def watched(frame, event, argument):
    return None


@pytest.mark.parametrize(("name", "norm"), ALL)
def test_nothing_is_left_behind(name, norm):
    model = Careless()
    inputs, labels, mutable = points(model)
    model(inputs.clone()).sum().backward()  # gradients of the caller's own
    given = inputs.clone(), labels.clone()
    old = sys.gettrace()
    sys.settrace(watched if old is None else old)
    try:
        before = snapshot(model)
        run(name, model, inputs, labels, norm, mutable=mutable)
        assert_untouched(model, before)
    finally:
        sys.settrace(old)
    assert torch.equal(inputs, given[0])
    assert torch.equal(labels, given[1])


@pytest.mark.parametrize("error", [RuntimeError("the model broke"), KeyboardInterrupt()], ids=["error", "interrupt"])
@pytest.mark.parametrize(("name", "norm"), ONE)
def test_nothing_is_left_behind_by_a_failure_either(name, norm, error):
    model = Careless()
    inputs, labels, mutable = points(model)
    model.explode = error
    before = snapshot(model)
    with pytest.raises(type(error)):
        run(name, model, inputs, labels, norm, mutable=mutable)
    assert model.rows > 10, "it broke in the middle of the attack"
    assert_untouched(model, before)


@pytest.mark.parametrize(("name", "norm"), ALL)
def test_what_is_wrong_already_is_seen_once_and_every_call_is_counted(name, norm, monkeypatch):
    guards = []

    class Witness(Guard):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            guards.append(self)

    for module in ("search", "evaluate", "curve", "minimal"):
        monkeypatch.setattr(sys.modules[f"attacks.{module}"], "Guard", Witness)
    model = Careless()
    inputs, labels, mutable = points(model)
    found = run(name, model, inputs, labels, norm, mutable=mutable)
    assert sum(guard.forwards for guard in guards) == model.rows
    assert sum(guard.backwards for guard in guards) == 0 if name in BLIND else True
    assert torch.equal(found[:2], inputs[:2])
    if name not in ("evaluate", "curve"):  # these two probe the model besides, for signs of masking
        assert model.seen.count(0) == model.seen.count(1) == 1
        assert model.seen.count(2) > 1


def test_a_run_with_nothing_to_attack_is_one_pass():
    for name, norm in ALL:
        if name not in ENGINES:
            model = Careless()
            inputs, labels, mutable = points(model)
            found = run(name, model, inputs[:2], labels[:2], norm, mutable=mutable)
            assert model.rows == 2
            assert torch.equal(found, inputs[:2])


@pytest.mark.parametrize(("name", "norm"), [case for case in ONE if case[0] not in BLIND])
def test_no_gradient_of_a_weight_is_computed(name, norm):
    class Watched(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, weight):
            ctx.save_for_backward(weight)
            return x @ weight

        @staticmethod
        def backward(ctx, up):
            assert ctx.needs_input_grad == (True, False)
            asked.append(len(up))
            return up @ ctx.saved_tensors[0].T, None

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(4, 3, generator=torch.Generator().manual_seed(0)))

        def forward(self, x):
            return Watched.apply(x, self.weight)

    asked, model = [], Net()
    model.weight.register_hook(lambda gradient: pytest.fail("a weight's gradient was computed"))
    inputs = torch.rand(6, 4, generator=torch.Generator().manual_seed(1))
    run(name, model, inputs, model(inputs).argmax(1), norm)
    assert asked
    assert model.weight.grad is None


@pytest.mark.parametrize(("name", "norm"), [case for case in ONE if case[0] not in ("evaluate", "curve")])
def test_a_model_that_switches_gradients_off_is_attacked_without(name, norm):
    inner = nn.Linear(4, 3)
    inputs = torch.rand(6, 4, generator=torch.Generator().manual_seed(1))
    labels = inner(inputs).argmax(1)
    for switch in (torch.no_grad, torch.inference_mode):

        def model(x, switch=switch):
            with switch():
                return inner(x)

        found = run(name, model, inputs, labels, norm)
        assert found.shape == inputs.shape
        assert not found.is_inference()


@pytest.mark.parametrize(("name", "norm"), ONE)
def test_the_answer_is_the_same_inside_inference_mode(name, norm):
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    inputs = torch.rand(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    labels = model(inputs).argmax(1)
    expected = run(name, model, inputs, labels, norm)
    with torch.inference_mode():
        assert torch.equal(run(name, model, inputs, labels, norm), expected)
        assert torch.equal(run(name, model, inputs.clone(), labels.clone(), norm), expected)


BAD = {
    "bounds": ({"inputs": torch.full((3, 4), 2.0)}, "bounds"),
    "not finite": ({"inputs": torch.full((3, 4), float("nan"))}, "inputs"),
    "no axis": ({"inputs": torch.rand(3)}, "inputs"),
    "integers": ({"inputs": torch.zeros(3, 4, dtype=torch.int64)}, "inputs"),
    "not a tensor": ({"inputs": np.zeros((3, 4))}, "inputs"),
    "empty": ({"inputs": torch.rand(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}, "inputs"),
    "label too large": ({"labels": torch.tensor([0, 1, 3])}, "labels"),
    "label negative": ({"labels": torch.tensor([0, 1, -1])}, "labels"),
    "labels too many": ({"labels": torch.tensor([0, 1, 2, 0])}, "labels"),
    "labels of floats": ({"labels": torch.tensor([0.0, 1.0, 2.0])}, "labels"),
    "scores not finite": ({"model": lambda x: x[:, :3] / 0}, "finite"),
    "scores of one axis": ({"model": lambda x: x.sum(1)}, "model"),
    "not callable": ({"model": 3}, "model"),
}


@pytest.mark.parametrize(("name", "norm"), ONE)
@pytest.mark.parametrize("bad", BAD)
def test_what_no_attack_can_work_on_is_refused_by_name(name, norm, bad):
    change, message = BAD[bad]
    good = {"model": nn.Linear(4, 3), "inputs": torch.rand(3, 4), "labels": torch.tensor([0, 1, 2])}
    given = good | change
    with pytest.raises((TypeError, ValueError), match=message):
        run(name, given["model"], given["inputs"], given["labels"], norm)


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize(("argument", "value"), [("steps", 0), ("restarts", 0), ("batch_size", 0), ("seed", 0.5)])
def test_a_number_out_of_range_is_refused_by_name(name, argument, value):
    norm = dict(ONE)[name]
    with pytest.raises((TypeError, ValueError), match=argument):
        ATTACKS[name].attack(
            nn.Linear(4, 3), torch.rand(3, 4), torch.tensor([0, 1, 2]), Threat(norm, 0.1), **{argument: value}
        )


@pytest.mark.parametrize("norm", ORDER)
def test_the_verdict_does_not_trust_the_search(norm, monkeypatch):
    """A projection that lets everything through is found out, since the verdict measures for itself."""
    model, inputs, labels = linear(2, True)
    threat = Threat(norm, 0.0)
    with Guard(model, (12,), torch.float64) as guard, torch.no_grad():
        here = build(guard, inputs, check(inputs, labels, threat, 0), threat, 0)
        far = attacks.minimal(model, inputs, labels, norm=norm).adversarial
        for tool in ("project", "vertex", "size", "length"):
            monkeypatch.setattr(f"attacks.norms.{tool}", lambda delta, *_: 0 * delta)
        assert not bool(search.verify(guard, here, far).any()), "outside the ball"
        huge = here.within(torch.full((len(inputs),), 100.0, dtype=torch.float64))
        assert bool(search.verify(guard, huge, far).all())
        assert not bool(search.verify(guard, huge, inputs).any()), "not broken"
        assert not bool(search.verify(guard, huge, far + 2).any()), "outside the box"
