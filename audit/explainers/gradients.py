"""What the gradient explainers share: scores of chosen outputs and their gradients, in bounded batches, and refusals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from attacks.guard import Guard
from audit.explainers.attribution import Attribution, CompletenessError
from audit.explainers.game import CACHE, MEMORY, in_range, outputs_of, rows_in

Model: TypeAlias = Callable[[Tensor], Tensor]
#: points (m, ...) and the example each belongs to (m,), to one score a point (m,)
Score: TypeAlias = Callable[[Tensor, Tensor], Tensor]

#: the same for several scores, (m, k)
Scores: TypeAlias = Callable[[Tensor, Tensor], Tensor]

#: points of one differentiable pass, and what the caches of a CPU cannot press it below
POINTS, LEAST = 512, 16


@dataclass(frozen=True)
class Found:
    """What a method finds for one score of n examples; all float64 on the CPU.

    Attributes:
        values: (n, ...) shaped like the inputs.
        low: lower ends of the 95 % intervals.
        high: upper ends.
        base: (n,) the score that the values start from.
        full: (n,) the score of the example.
        error: (n,) relative completeness error, beyond what rounding and sampling explain.
        evaluations: gradients taken for the hardest example.
    """

    values: Tensor
    low: Tensor
    high: Tensor
    base: Tensor
    full: Tensor
    error: Tensor
    evaluations: int


def join(blocks: Sequence[Found]) -> Found:
    """Blocks of examples one after the other."""
    names = ("values", "low", "high", "base", "full", "error")
    values, low, high, base, full, error = (torch.cat([getattr(b, name) for b in blocks]) for name in names)
    return Found(values, low, high, base, full, error, max(b.evaluations for b in blocks))


def attribution(found: Sequence[Found]) -> Attribution:
    """The scores of all outputs side by side."""
    values, low, high = (
        torch.stack([getattr(f, which).flatten(1) for f in found], dim=2) for which in ("values", "low", "high")
    )
    base, error = (torch.stack([getattr(f, which) for f in found], dim=1) for which in ("base", "error"))
    return Attribution(values, low, high, base, max(f.evaluations for f in found), error=error)


def complete(method: str, error: Tensor, tolerance: float, advice: str) -> None:
    """Refuse relative completeness errors (n, ...) above the tolerance.

    Raises:
        CompletenessError: one is; the message names the method, the example and the error.
    """
    worst = float(error.max())
    if not worst <= tolerance:  # an error that is not known is no small one
        row = int(error.flatten(1).max(dim=1).values.argmax()) if error.ndim > 1 else int(error.argmax())
        raise CompletenessError(
            f"{method}: Expected attributions that add up to f(x) - f(baseline) within {tolerance:g} of it, found an "
            f"error of {worst:.2g} for example {row}; {advice}"
        )


def rounding(base: Tensor, full: Tensor, dtype: torch.dtype) -> Tensor:
    """What rounding alone may do to the difference of two scores."""
    return 16 * torch.finfo(dtype).eps * (base.abs() + full.abs() + 1e-3)


def relative(gap: Tensor, change: Tensor) -> Tensor:
    """Gaps as shares of the change they miss; where nothing is missed 0."""
    return gap.clamp(min=0) / change.abs().clamp(min=torch.finfo(torch.float64).tiny)


def guarded(model: Model, inputs: Tensor) -> Guard:
    """Inside, a module is in eval mode with frozen weights; outside, it and all global generators are as before.

    cuDNN's recurrent layers, which have no gradient in eval mode, are replaced by those of torch.
    """
    return Guard(model, tuple(inputs.shape[1:]), inputs.dtype)


def unsaturated(model: Model, inputs: Tensor) -> None:
    """Refuse examples whose probability has no gradient left, for methods that look at nothing else.

    Raises:
        ValueError: the model returns probabilities and one of them is 1 to the last digit.
    """
    size = points_per_pass(inputs)
    for start in range(0, len(inputs), size):
        with torch.no_grad():
            scores = model(inputs[start : start + size].clone())
        if bool((scores < 0).any()) or bool(((scores.sum(1) - 1).abs() > 1e-3).any()) or scores.shape[1] < 2:
            return
        sure = scores.max(dim=1).values >= 1 - 4 * torch.finfo(scores.dtype).eps
        if bool(sure.any()):
            row = start + int(sure.int().argmax())
            raise ValueError(
                f"model: Expected scores that move with the inputs, found a probability of 1 for example {row}, "
                "whose gradient is lost; try logits or log-odds."
            )


def scores_at(score: Score | Scores, points: Tensor, rows: Tensor) -> Tensor:
    """Scores of points in bounded passes without gradient, (m,) or (m, k) float64 on the CPU.

    Raises:
        ValueError: a score is not finite.
    """
    size = points_per_pass(points)
    with torch.no_grad():
        # copies, because a model may write into its input
        parts = [score(points[i : i + size].clone(), rows[i : i + size]) for i in range(0, len(points), size)]
    found = torch.cat(parts).to("cpu", torch.float64)
    if not bool(torch.isfinite(found).all()):
        raise ValueError("model: Expected finite scores, found NaN or infinity; try logits.")
    return found


def points_per_pass(inputs: Tensor) -> int:
    """How many points shaped like one input a differentiable pass may hold."""
    fit = rows_in(MEMORY // 8, inputs)
    if inputs.device.type == "cpu":
        fit = min(fit, max(LEAST, rows_in(CACHE, inputs)))
    return max(1, min(POINTS, fit))


def score_and_gradient(score: Score, points: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Scores (m,) and their gradients (m, ...), leaving no gradient on parameters.

    Raises:
        ValueError: the score is not differentiable with respect to the points, or not finite.
    """
    with torch.enable_grad():
        # a tensor of inference mode may not ask for a gradient, a copy may
        points = (points.clone() if points.is_inference() else points).detach().requires_grad_(True)
        scores = score(points.clone(), rows)
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
        if value.dtype != inputs.dtype or value.device != inputs.device:
            raise ValueError(
                f"{name}: Expected {inputs.dtype} on {inputs.device} like the inputs, found {value.dtype} on {value.device}; "
                f"try {name}.to(inputs)."
            )


def examine_background(inputs: Tensor, background: Tensor) -> None:
    """Refuse background rows that are not like the inputs.

    Raises:
        ValueError: they are no finite float rows (b, ...) of the inputs' shape, dtype and device.
    """
    same = isinstance(background, Tensor) and background.shape[1:] == inputs.shape[1:] and len(background) > 0
    if not same or background.dtype != inputs.dtype or background.device != inputs.device:
        wanted = f"rows of shape {tuple(inputs.shape[1:])} as {inputs.dtype} on {inputs.device}"
        found = f"{tuple(background.shape)} {background.dtype}" if isinstance(background, Tensor) else type(background)
        raise ValueError(f"background: Expected {wanted}, found {found}.")
    if not bool(torch.isfinite(background).all()):
        raise ValueError("background: Expected finite numbers, found NaN or infinity.")


def each_output(model: Model, inputs: Tensor, targets: int | Sequence[int] | Tensor | None) -> list[Score]:
    """One `Score` an output asked for; None asks for all the model has.

    Raises:
        ValueError: the model's scores are not (n, outputs), or a target is out of range.
    """
    return [_output(model, t) for t in _wanted(model, inputs, targets)]


def outputs_wanted(model: Model, inputs: Tensor, targets: int | Sequence[int] | Tensor | None) -> Scores:
    """All outputs asked for at once; else as `each_output`."""
    wanted = _wanted(model, inputs, targets)

    def scores(points: Tensor, rows: Tensor) -> Tensor:
        return model(points)[:, wanted]

    return scores


def _wanted(model: Model, inputs: Tensor, targets: int | Sequence[int] | Tensor | None) -> list[int]:
    with torch.no_grad():
        probe = model(inputs[:1].clone())
    if not isinstance(probe, Tensor) or probe.ndim != 2 or len(probe) != 1:
        raise ValueError("model: Expected scores of shape (n, outputs).")
    wanted = list(range(probe.shape[1])) if targets is None else outputs_of(targets)
    in_range(wanted, probe.shape[1])
    return wanted


def _output(model: Model, target: int) -> Score:
    def score(points: Tensor, rows: Tensor) -> Tensor:
        return model(points)[:, target]

    return score
