"""DeepLIFT that adds up on any architecture, or says which operation stands in the way."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from audit.explainers.attribution import Attribution
from audit.explainers.gradients import (
    Found,
    Model,
    Score,
    attribution,
    complete,
    each_output,
    examine,
    examine_background,
    guarded,
    join,
    points_per_pass,
    relative,
    scores_at,
)
from audit.explainers.multipliers import multipliers, trace, unruled

#: float64 values and the graph behind them, in points of a plain pass
_WEIGHT = 4


def deep_lift(
    model: Model,
    inputs: Tensor,
    baselines: Tensor,
    targets: int | Sequence[int] | Tensor | None = None,
    tolerance: float = 1e-3,
) -> Attribution:
    """DeepLIFT with the rescale rule (Shrikumar, Greenside and Kundaje 2017, https://arxiv.org/abs/1704.02685).

    The rule is applied to the operations that the model runs, so functional, reused and in-place activations,
    attention, normalisation and recurrent layers are all treated; products share their change equally (see
    `multipliers`). On networks of separate activation modules this is what captum's `DeepLift` returns.

    Args:
        model: differentiable map from a float batch (m, ...) to (m, outputs) scores; explain logits or log-odds.
        inputs: (n, ...) examples; for text their embeddings.
        baselines: (n, ...) or (1, ...) examples to compare with.
        targets: which outputs to explain; None explains all.
        tolerance: largest relative completeness error.

    Returns:
        An `Attribution` with values (n, elements, outputs), one value an input element in C order; intervals have no
        width, for nothing is sampled.

    Raises:
        CompletenessError: the values of an example do not add up; the message names the operations without a rule.
        ValueError: an argument does not fit, or the model's operations cannot be recorded; the message names it.
    """
    examine(inputs, baselines=baselines)
    with guarded(model, inputs):
        scores = each_output(model, inputs, targets)
        found = [lift(score, inputs, baselines.expand_as(inputs).unsqueeze(1), tolerance) for score in scores]
    return attribution(found)


def deep_lift_shap(
    model: Model,
    inputs: Tensor,
    background: Tensor,
    targets: int | Sequence[int] | Tensor | None = None,
    tolerance: float = 1e-3,
) -> Attribution:
    """DeepLIFT averaged over a background (Lundberg and Lee 2017, section 4.2); else as `deep_lift`.

    Args:
        model: differentiable map from a float batch (m, ...) to (m, outputs) scores; explain logits or log-odds.
        inputs: (n, ...) examples.
        background: (b, ...) rows to compare with; the base is their mean score.
        targets: which outputs to explain; None explains all.
        tolerance: largest relative completeness error of an example against a row.

    Raises:
        CompletenessError: the values of an example against a row do not add up.
        ValueError: an argument does not fit, or the model's operations cannot be recorded; the message names it.
    """
    examine(inputs)
    examine_background(inputs, background)
    with guarded(model, inputs):
        scores = each_output(model, inputs, targets)
        found = [lift(score, inputs, background, tolerance) for score in scores]
    return attribution(found)


def lift(score: Score, inputs: Tensor, background: Tensor, tolerance: float) -> Found:
    """DeepLIFT of one score, averaged over background rows.

    Args:
        score: of points.
        inputs: (n, ...) examples.
        background: (b, ...) rows, or (n, b, ...) rows for each example.
        tolerance: largest relative completeness error of an example against a row.

    Raises:
        CompletenessError: the values of an example do not add up, or the operations cannot be recorded.
    """
    own = background if background.ndim > inputs.ndim else background.expand(len(inputs), *background.shape)
    rows = torch.arange(len(inputs), device=inputs.device)
    size = max(1, points_per_pass(inputs) // _WEIGHT)
    parts = [_pass(score, inputs, own, rows[i : i + size], tolerance) for i in range(0, len(rows), size)]
    return join(parts)


def _pass(score: Score, inputs: Tensor, background: Tensor, rows: Tensor, tolerance: float) -> Found:
    x = inputs[rows]
    full = scores_at(score, x, rows)
    graph = trace(lambda points: score(points, rows), x)
    values, base, error = torch.zeros(x.shape, dtype=torch.float64), torch.zeros_like(full), torch.zeros_like(full)
    count = background.shape[1]
    for row in range(count):
        b = background[rows, row]
        below = scores_at(score, b, rows)
        slopes, (now, then) = multipliers(graph, x, b)
        found = (slopes * (x.double() - b.double())).cpu()
        missed = _error(found, now.cpu(), then.cpu(), full, below, inputs.dtype)
        if bool((missed > tolerance).any()):
            names = unruled(graph, x, b)
            why = f"no rule is known for {', '.join(names)}" if names else "its scores are not its recorded operations'"
            whole = torch.zeros(len(inputs), dtype=torch.float64)
            whole[rows.cpu()] = missed
            complete("deep_lift", whole, tolerance, f"{why}; try integrated_gradients or kernel_shap.")
        values, base, error = values + found / count, base + below / count, torch.maximum(error, missed)
    return Found(values, values, values, base, full, error, count)


def _error(values: Tensor, now: Tensor, then: Tensor, full: Tensor, base: Tensor, dtype: torch.dtype) -> Tensor:
    """Relative completeness error: of the recorded score in float64, and of that score against the model's own."""
    change = now - then
    gap = (values.flatten(1).sum(1) - change).abs() - 1e-9 * (now.abs() + then.abs() + 1e-3)
    drift = (change - (full - base)).abs() - 256 * torch.finfo(dtype).eps * (full.abs() + base.abs() + 1e-3)
    return torch.maximum(relative(gap, change), relative(drift, full - base))
