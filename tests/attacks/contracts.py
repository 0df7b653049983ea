"""What every attack promises, as assertions to share."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from attacks import Threat

ORDER = {"linf": float("inf"), "l2": 2, "l1": 1, "l0": 0}


def assert_inside(found: Tensor, inputs: Tensor, threat: Threat) -> None:
    """In the ball, in the box, in the inputs' type and on the mutable elements alone; no tolerance."""
    assert found.dtype == inputs.dtype
    assert found.shape == inputs.shape
    change = (found.double() - inputs.double()).flatten(1)
    assert float(torch.linalg.vector_norm(change, ORDER[threat.norm], dim=1).max()) <= threat.eps
    assert bool((found >= threat.bounds[0]).all())
    assert bool((found <= threat.bounds[1]).all())
    if threat.mutable is not None:
        assert bool((change[:, ~threat.mutable.flatten()] == 0).all())


def assert_the_wrong_are_left_alone(model: nn.Module, found: Tensor, inputs: Tensor, labels: Tensor) -> None:
    wrong = model(inputs).argmax(1) != labels
    assert bool(wrong.any()), "the case must hold misclassified points"
    assert torch.equal(found[wrong], inputs[wrong])


def assert_rows_stand_alone(attack: Callable[..., Tensor], inputs: Tensor, labels: Tensor) -> None:
    """The same answer for any batch size, any order, and any neighbours."""
    whole = attack(inputs, labels)
    assert torch.equal(whole, attack(inputs, labels)), "deterministic"
    torch.testing.assert_close(attack(inputs, labels, batch_size=3), whole)
    order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(attack(inputs[order], labels[order]), whole[order])
    torch.testing.assert_close(attack(inputs[2:3], labels[2:3]), whole[2:3])
