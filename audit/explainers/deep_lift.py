"""DeepLIFT that adds up on any architecture, or says which operation stands in the way."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from audit.explainers.attribution import Attribution
from audit.explainers.gradients import (
    Found,
    Model,
    Scores,
    attribution,
    complete,
    examine,
    examine_background,
    guarded,
    join,
    outputs_wanted,
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
        scores = outputs_wanted(model, inputs, targets)
        return attribution(lift(scores, inputs, baselines.expand_as(inputs).unsqueeze(1), tolerance))


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
        return attribution(lift(outputs_wanted(model, inputs, targets), inputs, background, tolerance))


def lift(scores: Scores, inputs: Tensor, background: Tensor, tolerance: float) -> list[Found]:
    """DeepLIFT of some scores, averaged over background rows.

    Args:
        scores: points (m, ...) and the example each belongs to (m,), to (m, k) scores.
        inputs: (n, ...) examples.
        background: (b, ...) rows, or (n, b, ...) rows for each example.
        tolerance: largest relative completeness error of an example against a row.

    Returns:
        One `Found` a score.

    Raises:
        CompletenessError: the values of an example do not add up, or the operations cannot be recorded.
    """
    inputs, background = inputs.detach(), background.detach()
    own = background if background.ndim > inputs.ndim else background.expand(len(inputs), *background.shape)
    rows = torch.arange(len(inputs), device=inputs.device)
    size = max(1, points_per_pass(inputs) // _WEIGHT)
    parts = [_pass(scores, inputs, own, rows[i : i + size], tolerance) for i in range(0, len(rows), size)]
    return [join(of_score) for of_score in zip(*parts, strict=True)]


def _pass(scores: Scores, inputs: Tensor, background: Tensor, rows: Tensor, tolerance: float) -> list[Found]:
    x, starts = inputs[rows], background[rows].unbind(1)
    full, *base = (scores_at(scores, points, rows) for points in (x, *starts))
    graph = trace(lambda points: scores(points.clone(), rows), x)
    values = [torch.zeros(x.shape, dtype=torch.float64) for _ in range(full.shape[1])]
    errors = []
    for b, below in zip(starts, base, strict=True):
        slopes, now, then = multipliers(graph, x, b)
        moved = x.double() - b.double()
        sums, sizes = [], []
        for total, slope in zip(values, slopes, strict=True):
            found = (slope * moved).cpu()
            sums.append(found.flatten(1).sum(1))
            sizes.append(found.flatten(1).abs().sum(1))
            total += found
        now, then = now.cpu(), then.cpu()
        # float64 rounds each of many terms
        slack = 1e-9 * (now.abs() + then.abs() + torch.stack(sizes, dim=1) + 1e-3)
        gap = relative((torch.stack(sums, dim=1) - (now - then)).abs() - slack, now - then)
        error = torch.maximum(gap, _drift(now - then, full, below, inputs.dtype))
        errors.append(error)
        if bool((error > tolerance).any()):
            names = unruled(graph, x, b)
            why = f"no rule is known for {', '.join(names)}" if names else "its scores are not its recorded operations'"
            whole = torch.zeros(len(inputs), error.shape[1], dtype=torch.float64)
            whole[rows.cpu()] = error
            complete("deep_lift", whole, tolerance, f"{why}; try integrated_gradients or kernel_shap.")
    worst, start = torch.stack(errors).amax(0), torch.stack(base).mean(0)
    means = [total / len(starts) for total in values]
    return [Found(m, m, m, start[:, k], full[:, k], worst[:, k], len(starts)) for k, m in enumerate(means)]


def _drift(change: Tensor, full: Tensor, base: Tensor, dtype: torch.dtype) -> Tensor:
    """By how much the model's own scores change otherwise than its recorded operations do in float64."""
    slack = 256 * torch.finfo(dtype).eps * (full.abs() + base.abs() + 1e-3)
    return relative((change - (full - base)).abs() - slack, full - base)
