"""DeepLIFT that adds up on any architecture, or says which operation stands in the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence

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
        found = [lift(score, inputs, baselines.expand_as(inputs), tolerance) for score in scores]
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
        found = [over_background(score, inputs, background, tolerance) for score in scores]
    return attribution(found)


def over_background(score: Score, inputs: Tensor, background: Tensor, tolerance: float) -> Found:
    """The mean of `lift` over background rows."""
    parts = [lift(score, inputs, row.expand_as(inputs), tolerance) for row in background]
    values, base, error = (torch.stack([getattr(p, which) for p in parts]) for which in ("values", "base", "error"))
    mean = values.mean(0)
    return Found(mean, mean, mean, base.mean(0), parts[0].full, error.max(0).values, len(background))


def lift(score: Score, inputs: Tensor, baselines: Tensor, tolerance: float) -> Found:
    """DeepLIFT of one score, baselines shaped like the inputs.

    Raises:
        CompletenessError: the values of an example do not add up.
        ValueError: the operations cannot be recorded.
    """
    rows = torch.arange(len(inputs), device=inputs.device)
    full, base = scores_at(score, inputs, rows), scores_at(score, baselines, rows)
    size = max(1, points_per_pass(inputs) // _WEIGHT)
    values = torch.empty(inputs.shape, dtype=torch.float64)
    error = torch.empty(len(inputs), dtype=torch.float64)
    for start in range(0, len(inputs), size):
        part = slice(start, start + size)
        x, b = inputs[part], baselines[part]
        graph = trace(_of_rows(score, rows[part]), x)
        slopes, (now, then) = multipliers(graph, x, b)
        values[part] = (slopes * (x.double() - b.double())).cpu()
        error[part] = _error(values[part], now.cpu(), then.cpu(), full[part], base[part], inputs.dtype)
        if bool((error[part] > tolerance).any()):
            names = unruled(graph, x, b)
            why = f"no rule is known for {', '.join(names)}" if names else "its scores change with the batch"
            complete("deep_lift", error[: part.stop], tolerance, f"{why}; try integrated_gradients or kernel_shap.")
    return Found(values, values, values, base, full, error, 1)


def _of_rows(score: Score, rows: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda points: score(points, rows)


def _error(values: Tensor, now: Tensor, then: Tensor, full: Tensor, base: Tensor, dtype: torch.dtype) -> Tensor:
    """Relative completeness error: of the recorded score in float64, and of that score against the model's own."""
    change = now - then
    gap = (values.flatten(1).sum(1) - change).abs() - 1e-12 * (now.abs() + then.abs() + 1e-3)
    drift = (change - (full - base)).abs() - 256 * torch.finfo(dtype).eps * (full.abs() + base.abs() + 1e-3)
    return torch.maximum(relative(gap, change), relative(drift, full - base))
