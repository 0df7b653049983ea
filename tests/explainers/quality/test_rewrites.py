"""Rewrites keep the function to the last rounding, whatever the architecture, or are undone."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from audit.explainers.quality import rewrites
from audit.explainers.quality.rewrites import KINDS


class Residual(nn.Module):
    """Its middle layer's units are added to what came in, so that their order is not free."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 2)

    def forward(self, x):
        h = torch.relu(self.first(x))
        return self.last(h + torch.relu(self.second(h)))


def mlp(activation=nn.ReLU):
    return nn.Sequential(nn.Linear(6, 9), activation(), nn.Linear(9, 7), activation(), nn.Linear(7, 3))


def convolutional():
    return nn.Sequential(
        nn.Conv2d(2, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Conv2d(5, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3)
    )


#: model, input shape, and how many pairs can be permuted, rescaled, split, and heads shifted
CASES = {
    "relu": (mlp, (6,), (2, 2, 2, 1)),
    "gelu, which has a scale": (lambda: mlp(nn.GELU), (6,), (2, 0, 2, 1)),
    "convolutions": (convolutional, (2, 6, 6), (2, 2, 2, 1)),
    "residual, whose middle is tied": (Residual, (6,), (0, 0, 0, 1)),
    "a single layer": (lambda: nn.Linear(6, 3), (6,), (0, 0, 0, 1)),
    "a head without bias": (lambda: nn.Linear(6, 3, bias=False), (6,), (0, 0, 0, 0)),
}


@pytest.mark.parametrize("name", CASES)
def test_the_function_stays(name):
    build, shape, expected = CASES[name]
    torch.manual_seed(0)
    original = build().eval().requires_grad_(False)
    for module in original.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    inputs, fresh = torch.randn(16, *shape), torch.randn(64, *shape)
    before = {key: value.clone() for key, value in original.state_dict().items()}
    for kind, count in zip(KINDS, expected, strict=True):
        model = copy.deepcopy(original)

        def scores(model=model):
            with torch.no_grad():
                return model(inputs)

        found = rewrites(model, scores, kind, np.random.default_rng(0))
        assert (found.kind, found.done) == (kind, count)
        assert torch.allclose(model(fresh), original(fresh) + (kind == "shift" and count), atol=1e-4)
        same = all(
            a.shape == b.shape and torch.equal(a, b)
            for a, b in zip(model.state_dict().values(), before.values(), strict=True)
        )
        assert same == (count == 0)
        assert not any(p.requires_grad for p in model.parameters())
    assert all(torch.equal(original.state_dict()[key], value) for key, value in before.items())


def test_other_kinds_are_refused():
    with pytest.raises(ValueError, match="kind: Expected one of"):
        rewrites(nn.Linear(2, 2), lambda: torch.zeros(1, 2), "melt", np.random.default_rng(0))
