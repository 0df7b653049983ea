"""What an explainer might leave changed: the global generators, and everything about a model."""

from __future__ import annotations

import random

import numpy as np
import torch
from torch import nn


def generators():
    return torch.random.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002


def state(model: nn.Module):
    """Everything about a model that an explainer might leave changed."""
    hooks = (
        "_forward_hooks",
        "_forward_pre_hooks",
        "_backward_hooks",
        "_backward_pre_hooks",
        "_forward_hooks_with_kwargs",
    )
    return (
        {name: value.clone() for name, value in model.state_dict().items()},
        {name: (p.requires_grad, p.grad) for name, p in model.named_parameters()},
        {name: (m.training, tuple(len(getattr(m, h)) for h in hooks)) for name, m in model.named_modules()},
        {name: sorted(vars(m)) for name, m in model.named_modules()},
    )


def assert_same(before, after):
    for a, b in zip(before, after, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            if isinstance(a[name], torch.Tensor):
                assert torch.equal(a[name], b[name]), name
            else:
                assert a[name] == b[name], name
