"""The guard copes with little memory and refuses what is no model or no threat."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

import attacks
from attacks import Threat
from attacks.guard import Guard


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
