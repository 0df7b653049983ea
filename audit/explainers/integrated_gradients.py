"""Integrated gradients that add up, or say that they do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from audit.explainers.attribution import Attribution, CompletenessError
from audit.explainers.gradients import Model, Score, each_output, examine, points_per_pass, score_and_gradient


def integrated_gradients(
    model: Model,
    inputs: Tensor,
    baselines: Tensor,
    targets: int | Sequence[int] | Tensor | None = None,
    steps: int = 32,
    max_steps: int = 2048,
    tolerance: float = 1e-3,
) -> Attribution:
    """Integrated gradients along the straight line from the baseline (Sundararajan, Taly and Yan 2017, eq. 1).

    The integral is a Gauss-Legendre sum. Examples whose values miss f(x) − f(baseline) by more than `tolerance` of it
    are integrated again over twice the steps.

    Args:
        model: differentiable map from a float batch (m, ...) to (m, outputs) scores; explain logits or log-odds, for
            a saturated softmax has no gradient.
        inputs: (n, ...) examples; for text their embeddings.
        baselines: (n, ...) or (1, ...) starting points.
        targets: which outputs to explain; None explains all.
        steps: points on the path at first.
        max_steps: points on the path at most.
        tolerance: largest relative completeness error.

    Returns:
        An `Attribution` with values (n, elements, outputs), one value an input element in C order; `error` holds the
        completeness errors; intervals have no width, for nothing is sampled.

    Raises:
        CompletenessError: the values of an example do not add up within `max_steps`: the model jumps, or its gradients
            are not those of its scores.
        ValueError: an argument does not fit; the message names it.
    """
    examine(inputs, baselines=baselines)
    if not 1 <= steps <= max_steps:
        raise ValueError(f"steps: Expected 1 <= steps <= max_steps, found {steps} and {max_steps}.")
    paths = [
        integrate(score, inputs, baselines, steps, max_steps, tolerance)
        for score in each_output(model, inputs, targets)
    ]
    error = torch.stack([p.error for p in paths], dim=1)
    worst = float(error.max())
    if worst > tolerance:
        row = int(error.max(dim=1).values.argmax())
        raise CompletenessError(
            f"Expected attributions that add up to f(x) - f(baseline) within {tolerance:g} of it, found an error of "
            f"{worst:.2g} for example {row} after {max_steps} steps; try more steps, or kernel_shap, which needs no "
            "gradient."
        )
    values = torch.stack([p.values.flatten(1) for p in paths], dim=2)
    base = torch.stack([p.base for p in paths], dim=1)
    return Attribution(values, values, values, base, max(p.steps for p in paths), error=error)


@dataclass(frozen=True)
class Path:
    """Integrated gradients of one score.

    Attributes:
        values: (n, ...) float64, shaped like the inputs.
        base: (n,) f(baseline).
        full: (n,) f(x).
        error: (n,) relative completeness error.
        steps: points used for the hardest example.
    """

    values: Tensor
    base: Tensor
    full: Tensor
    error: Tensor
    steps: int


def integrate(score: Score, inputs: Tensor, baselines: Tensor, steps: int, max_steps: int, tolerance: float) -> Path:
    """Integrated gradients with as many steps as each example needs, at most `max_steps`; errors are reported."""
    n = len(inputs)
    rows = torch.arange(n, device=inputs.device)
    baselines = baselines.expand_as(inputs)
    with torch.no_grad():
        ends = [_in_passes(score, points, rows) for points in (baselines, inputs)]
    base, full = (end.to("cpu", torch.float64) for end in ends)
    # what rounding alone may do to the difference of two scores
    slack = 16 * torch.finfo(inputs.dtype).eps * (base.abs() + full.abs() + 1e-3)
    change = full - base
    values = torch.zeros(inputs.shape, dtype=torch.float64)
    error = torch.full((n,), torch.inf, dtype=torch.float64)
    todo = rows
    while True:
        found = _along(score, inputs, baselines, todo, steps)
        at = todo.cpu()
        gap = (found.flatten(1).sum(1) - change[at]).abs()
        now = (gap - slack[at]).clamp(min=0) / change[at].abs().clamp(min=torch.finfo(torch.float64).tiny)
        better = now <= error[at]
        values[at[better]], error[at[better]] = found[better], now[better]
        todo = rows[(error > tolerance).to(rows.device)]
        if len(todo) == 0 or steps >= max_steps:
            return Path(values, base, full, error, steps)
        steps = min(2 * steps, max_steps)


def _in_passes(score: Score, points: Tensor, rows: Tensor) -> Tensor:
    size = points_per_pass(points)
    return torch.cat([score(points[i : i + size], rows[i : i + size]) for i in range(0, len(points), size)])


def _along(score: Score, inputs: Tensor, baselines: Tensor, rows: Tensor, steps: int) -> Tensor:
    """The quadrature for some rows, (len(rows), ...) float64 on the CPU."""
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    place = torch.as_tensor((nodes + 1) / 2, dtype=inputs.dtype, device=inputs.device)
    weight = torch.as_tensor(weights / 2, dtype=torch.float64)
    total = torch.zeros((len(rows), *inputs.shape[1:]), dtype=torch.float64)
    size = points_per_pass(inputs)
    for start in range(0, len(rows) * steps, size):
        at = torch.arange(start, min(start + size, len(rows) * steps), device=inputs.device)
        which, step = at // steps, at % steps
        row = rows[which]
        share = place[step].reshape(-1, *[1] * (inputs.ndim - 1))
        _, gradient = score_and_gradient(score, torch.lerp(baselines[row], inputs[row], share), row)
        scale = weight[step.cpu()].reshape(-1, *[1] * (inputs.ndim - 1))
        total.index_add_(0, which.cpu(), gradient.to("cpu", torch.float64) * scale)
    return total * (inputs - baselines)[rows].to("cpu", torch.float64)
