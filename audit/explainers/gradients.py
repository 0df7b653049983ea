"""What the gradient explainers share: scores of chosen outputs and their gradients, in bounded batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from audit.explainers.game import MEMORY, in_range, outputs_of

Model: TypeAlias = Callable[[Tensor], Tensor]
#: points (m, ...) and the example each belongs to (m,), to one score a point (m,)
Score: TypeAlias = Callable[[Tensor, Tensor], Tensor]

#: points of one differentiable pass
POINTS = 512


def points_per_pass(inputs: Tensor) -> int:
    """How many points shaped like one input a differentiable pass may hold."""
    return max(1, min(POINTS, MEMORY // max(8 * inputs[0].numel() * inputs.element_size(), 1)))


def score_and_gradient(score: Score, points: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Scores (m,) and their gradients (m, ...), leaving no gradient on parameters.

    Raises:
        ValueError: the score is not differentiable with respect to the points, or not finite.
    """
    with torch.enable_grad():
        points = points.detach().requires_grad_(True)
        scores = score(points, rows)
        if not scores.requires_grad:
            raise ValueError(
                "model: Expected scores that are differentiable with respect to the inputs, found none; try kernel_shap."
            )
        (gradient,) = torch.autograd.grad(scores.sum(), points, allow_unused=True)
    if gradient is None:
        gradient = torch.zeros_like(points)
    if not bool(torch.isfinite(scores).all()) or not bool(torch.isfinite(gradient).all()):
        raise ValueError("model: Expected finite scores and gradients, found NaN or infinity; try logits.")
    return scores.detach(), gradient.detach()


def examine(inputs: Tensor, **others: Tensor) -> None:
    """Refuse inputs that have no gradient.

    Raises:
        ValueError: an argument is no finite float batch, or another's shape does not fit the inputs.
    """
    for name, value in {"inputs": inputs, **others}.items():
        if not isinstance(value, Tensor) or not value.is_floating_point() or value.ndim < 2 or value.numel() == 0:
            found = f"{value.dtype} {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(f"{name}: Expected a float batch (n, ...), found {found}.")
        if not bool(torch.isfinite(value).all()):
            raise ValueError(f"{name}: Expected finite numbers, found NaN or infinity.")
        if value.shape[1:] != inputs.shape[1:] or len(value) not in (1, len(inputs)):
            raise ValueError(
                f"{name}: Expected shape {tuple(inputs.shape)}, or one row for all, found {tuple(value.shape)}."
            )


def each_output(model: Model, inputs: Tensor, targets: int | Sequence[int] | Tensor | None) -> list[Score]:
    """One `Score` an output asked for; None asks for all the model has.

    Raises:
        ValueError: the model's scores are not (n, outputs), or a target is out of range.
    """
    with torch.no_grad():
        probe = model(inputs[:1])
    if not isinstance(probe, Tensor) or probe.ndim != 2 or len(probe) != 1:
        raise ValueError("model: Expected scores of shape (n, outputs).")
    wanted = list(range(probe.shape[1])) if targets is None else outputs_of(targets)
    in_range(wanted, probe.shape[1])
    return [_output(model, t) for t in wanted]


def _output(model: Model, target: int) -> Score:
    def score(points: Tensor, rows: Tensor) -> Tensor:
        return model(points)[:, target]

    return score
