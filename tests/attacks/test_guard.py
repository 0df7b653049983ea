"""The guard leaves no trace, counts truly, and copes with little memory."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import attacks
from attacks import Threat
from attacks.guard import Guard


class Careless(nn.Module):
    """Mixed modes, mixed freezing, a running buffer, a hook, and draws from every global generator."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.drop, self.head = nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 3)
        self.register_buffer("calls", torch.zeros(()))
        self.norm.eval()
        self.head.bias.requires_grad_(False)
        self.rows = 0
        self.head.register_forward_hook(lambda module, args, out: None)

    def forward(self, x):
        self.calls += 1
        self.rows += len(x)
        noise = torch.rand(()) + random.random() + float(np.random.rand())  # noqa: NPY002 - the careless way
        return self.head(self.drop(self.norm(x))) + 0 * noise


def state(model):
    numpy = np.random.get_state()  # noqa: NPY002 - the global one must stay
    return (
        {name: value.clone() for name, value in model.state_dict().items()},
        {name: (weight.requires_grad, None if weight.grad is None else weight.grad.clone())
         for name, weight in model.named_parameters()},
        [module.training for module in model.modules()],
        [list(module._forward_hooks) for module in model.modules()],
        torch.get_rng_state(), random.getstate(), numpy[1].tolist(), numpy[2],
    )  # fmt: skip


def assert_same(after, before):
    torch.testing.assert_close(after[0], before[0], rtol=0, atol=0)
    for name, (asks, grad) in before[1].items():
        assert after[1][name][0] == asks
        assert (grad is None) == (after[1][name][1] is None)
        assert grad is None or torch.equal(after[1][name][1], grad)
    assert after[2:4] == before[2:4]
    assert torch.equal(after[4], before[4])
    assert after[5:] == before[5:]


RUNS = {
    "evaluate": lambda m, x, y: attacks.evaluate(m, x, y, Threat("linf", 0.1), effort="quick"),
    "curve": lambda m, x, y: attacks.curve(m, x, y, "l2", (0.1, 0.2), effort="quick"),
    "minimal": lambda m, x, y: attacks.minimal(m, x, y),
    **{
        name: lambda m, x, y, name=name: getattr(attacks, name)(m, x, y, Threat("linf", 0.1))
        for name in ("fgsm", "pgd", "apgd", "square")
    },
}


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("fails", [False, True])
def test_everything_is_as_it_was(run, fails):
    model = Careless()
    inputs = torch.rand(6, 4)
    model(inputs).sum().backward()  # gradients of the caller's own
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    if fails:
        model.head.register_forward_hook(lambda module, args, out: out * float("nan"))
    before = state(model)
    if fails:
        with pytest.raises(ValueError, match="finite"):
            RUNS[run](model, inputs, labels)
    else:
        RUNS[run](model, inputs, labels)
    assert_same(state(model), before)


@pytest.mark.parametrize("run", ["evaluate", "curve", "minimal"])
def test_the_count_is_the_real_one(run):
    model = Careless()
    result = RUNS[run](model, torch.rand(6, 4), torch.tensor([0, 1, 2, 0, 1, 2]))
    assert result.forwards == model.rows
    assert 0 < result.backwards < result.forwards


def test_no_weight_gradient_is_computed():
    class Watched(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, weight):
            ctx.save_for_backward(x, weight)
            return x @ weight

        @staticmethod
        def backward(ctx, up):
            assert ctx.needs_input_grad == (True, False)
            return up @ ctx.saved_tensors[1].T, None

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(4, 3, generator=torch.Generator().manual_seed(0)))

        def forward(self, x):
            return Watched.apply(x, self.weight)

    assert RUNS["evaluate"](Net(), torch.rand(6, 4), torch.tensor([0, 1, 2, 0, 1, 2])).backwards > 0


def test_memory_that_runs_out_halves_the_batch():
    sizes = []

    def model(x):
        sizes.append(len(x))
        if len(x) > 5:
            raise torch.OutOfMemoryError("no room")
        return functional.pad(x, (0, 1))

    with Guard(model, (3,), torch.float32, batch_size=20) as guard:
        inputs = torch.rand(23, 3)
        scores = guard.scores(inputs)
        assert torch.equal(scores[:, :3], inputs)
        assert sizes == [20, 10, 5, 5, 5, 5, 3]
        guard.scores(inputs)
    assert max(sizes[7:]) == 5, "the size that fitted is remembered"


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda x: x.sum(1), "shape"),
        (lambda x: x[:, :1], "2 classes"),
        (lambda x: x[:1], "shape"),
        (lambda x: x.numpy(), "tensor"),
        (lambda x: x / 0, "finite"),
        ("model", "callable"),
    ],
)
def test_a_model_that_is_none_is_refused(model, message):
    with pytest.raises((TypeError, ValueError), match=message):
        attacks.evaluate(model, torch.rand(3, 4), torch.tensor([0, 1, 2]), Threat("linf", 0.1))


@pytest.mark.parametrize(
    ("threat", "message"),
    [
        ({"mutable": torch.ones(5, dtype=torch.bool)}, "mutable"),
        ({"mutable": torch.ones(4)}, "mutable"),
        ({"bounds": (torch.zeros(5), torch.ones(5))}, "bounds"),
        ({"target": torch.tensor([1])}, "target"),
        ({"target": 0}, "target"),
        ({"target": 7}, "target"),
        ({"norm": "l0", "bounds": (float("-inf"), float("inf"))}, "bounds"),
    ],
)
def test_a_threat_that_does_not_fit_is_refused(threat, message):
    with pytest.raises((TypeError, ValueError), match=message):
        attacks.evaluate(
            nn.Linear(4, 3),
            torch.rand(3, 4),
            torch.tensor([0, 1, 2]),
            Threat(**({"norm": "linf", "eps": 0.1} | threat)),
        )


@pytest.mark.parametrize(("argument", "value"), [("steps", 0), ("restarts", 0), ("batch_size", 0), ("seed", 0.5)])
def test_a_number_out_of_range_is_named(argument, value):
    with pytest.raises((TypeError, ValueError), match=argument):
        attacks.pgd(
            nn.Linear(4, 3), torch.rand(3, 4), torch.tensor([0, 1, 2]), Threat("linf", 0.1), **{argument: value}
        )
