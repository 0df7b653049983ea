"""The gradient of a score at the example itself."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from audit.explainers.gradients import (
    Model,
    Score,
    each_output,
    examine,
    guarded,
    points_per_pass,
    score_and_gradient,
    unsaturated,
)


def saliency(model: Model, inputs: Tensor, targets: int | Sequence[int] | Tensor | None = None) -> Tensor:
    """Magnitude of the gradient (Simonyan, Vedaldi and Zisserman 2014), (n, elements, outputs) float64.

    Args:
        model: differentiable map from a float batch (m, ...) to (m, outputs) scores.
        inputs: (n, ...) examples.
        targets: which outputs to explain; None explains all.

    Raises:
        ValueError: an argument does not fit, or a probability is saturated; the message names it.
    """
    return gradient(model, inputs, targets).abs()


def gradient_x_input(model: Model, inputs: Tensor, targets: int | Sequence[int] | Tensor | None = None) -> Tensor:
    """Gradient times input (Shrikumar et al. 2016), (n, elements, outputs) float64; arguments as in `saliency`.

    Raises:
        ValueError: an argument does not fit, or a probability is saturated; the message names it.
    """
    return gradient(model, inputs, targets) * inputs.detach().flatten(1).to("cpu", torch.float64).unsqueeze(2)


def gradient(model: Model, inputs: Tensor, targets: int | Sequence[int] | Tensor | None) -> Tensor:
    """Signed gradients, (n, elements, outputs) float64."""
    examine(inputs)
    with guarded(model, inputs):
        unsaturated(model, inputs)
        scores = each_output(model, inputs, targets)
        return torch.stack([at_inputs(score, inputs).flatten(1) for score in scores], dim=2)


def at_inputs(score: Score, inputs: Tensor) -> Tensor:
    """Gradient of one score at the inputs, shaped like them, float64 on the CPU."""
    rows = torch.arange(len(inputs), device=inputs.device)
    size = points_per_pass(inputs)
    parts = [
        score_and_gradient(score, inputs[i : i + size], rows[i : i + size])[1] for i in range(0, len(inputs), size)
    ]
    return torch.cat(parts).to("cpu", torch.float64)
