"""Models that have forgotten, or have learned nonsense: an explanation of the true model must differ from theirs.

All change the model they are given: hand them a copy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy


def weighted_layers(model: nn.Module) -> list[nn.Module]:
    """Modules with weights of their own, the last first."""
    found = [m for m in model.modules() if any(_is_drawn(p) for p in m.parameters(recurse=False))]
    return found[::-1]


def redraw(layers: Iterable[nn.Module], generator: torch.Generator) -> None:
    """Draw the weights of some layers anew (Adebayo et al. 2018, section 3.1).

    Each tensor comes from a normal distribution with the mean and deviation that it has: the scale of activations stays,
    and what was learned goes.

    Args:
        layers: changed in place.
        generator: on the CPU, source of the weights.
    """
    with torch.no_grad():
        for module in layers:
            for weight in filter(_is_drawn, module.parameters(recurse=False)):
                drawn = torch.randn(weight.shape, generator=generator)
                weight.copy_(drawn * weight.float().std(correction=0).cpu() + weight.float().mean().cpu())


def relearn(
    model: nn.Module,
    scores: Callable[[Tensor], Tensor],
    labels: Tensor,
    epochs: int,
    generator: torch.Generator,
    batch_size: int = 32,
    learning_rate: float = 3e-3,
) -> float:
    """Train a model on labels that mean nothing (Adebayo et al. 2018, section 3.2), with Adam, in the mode it is in.

    Args:
        model: trained in place; its parameters are frozen again if they were.
        scores: differentiable scores (m, classes) of some training rows (m,) under this model.
        labels: (n,) int64, one a training row: the true ones in random order.
        epochs: passes over the rows.
        generator: on the CPU, source of the order of the rows.
        batch_size: rows in a step.
        learning_rate: of Adam.

    Returns:
        The share of rows whose label the model has learned by the end of the last pass, counted while training.
    """
    weights = [p for p in model.parameters() if p.is_floating_point()]
    frozen = [p.requires_grad for p in weights]
    right = 0
    try:
        for p in weights:
            p.requires_grad_(True)
        optimiser = torch.optim.Adam(weights, learning_rate)
        with torch.enable_grad():
            for _ in range(epochs):
                right = 0
                order = torch.randperm(len(labels), generator=generator)
                for rows in (order[i : i + batch_size] for i in range(0, len(order), batch_size)):
                    found = scores(rows)
                    wanted = labels[rows].to(found.device)
                    optimiser.zero_grad(set_to_none=True)
                    if found.requires_grad:  # scores that no weight touches learn nothing
                        torch.autograd.backward(cross_entropy(found, wanted))
                    optimiser.step()
                    right += int((found.argmax(1) == wanted).sum())
    finally:
        for p, learns in zip(weights, frozen, strict=True):
            p.requires_grad_(learns)
            p.grad = None
    return right / len(labels)


def _is_drawn(weight: nn.Parameter) -> bool:
    return weight.is_floating_point() and weight.numel() > 1
