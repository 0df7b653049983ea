"""Expected gradients over a background, with intervals that say how far the sampling may be off."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from scipy import stats
from torch import Tensor

from attacks import noise
from audit.explainers.attribution import Attribution
from audit.explainers.game import MEMORY
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
    rounding,
    score_and_gradient,
    scores_at,
)

#: maps (m, ...) to sums over some of their elements (m, parts)
Parts: TypeAlias = Callable[[Tensor], Tensor]

#: independent repetitions, whose spread gives the intervals
REPEATS = 16
#: how seldom a complete method is refused because of its sampling
_LEVEL = 1e-6
#: chances below this share of the larger are rounding
_SINGULAR = 1e-9
_SHARE, _ORDER, _ROW = (1,), (2,), (3,)


def gradient_shap(
    model: Model,
    inputs: Tensor,
    background: Tensor,
    targets: int | Sequence[int] | Tensor | None = None,
    draws: int = 256,
    tolerance: float = 1e-3,
    seed: int = 0,
) -> Attribution:
    """Expected gradients (Erion et al. 2021, https://arxiv.org/abs/1906.10670, eq. 3), also known as gradient SHAP.

    The mean over background rows b and shares α ~ U(0, 1) of (x − b) ∂f(b + α (x − b)). Rows and shares are drawn in
    strata, `REPEATS` times over; the spread of these repetitions gives the intervals. Draws belong to the example's
    values, so they depend on no neighbour. Completeness holds in expectation: it is refused where plain means miss
    f(x) − mean f(b) by more than `tolerance` of it and more than the sampling explains. What is returned is freed of
    the two chances that are known (which rows and which shares were drawn), and so adds up to the last digits.

    Args:
        model: differentiable map from a float batch (m, ...) to (m, outputs) scores; explain logits or log-odds.
        inputs: (n, ...) examples; for text their embeddings.
        background: (b, ...) rows to start from.
        targets: which outputs to explain; None explains all.
        draws: gradients an example, rounded up to a multiple of `REPEATS`.
        tolerance: largest relative completeness error beyond that of the sampling.
        seed: of the draws.

    Returns:
        An `Attribution` with values (n, elements, outputs) and their 95 % intervals; the base is the mean score of the
        background.

    Raises:
        CompletenessError: the values of an example do not add up in expectation.
        ValueError: an argument does not fit; the message names it.
    """
    examine(inputs)
    examine_background(inputs, background)
    if draws < REPEATS:
        raise ValueError(f"draws: Expected at least {REPEATS}, found {draws}.")
    with guarded(model, inputs):
        scores = each_output(model, inputs, targets)
        found = attribution([expected(score, inputs, background, draws, seed) for score in scores])
    assert found.error is not None
    complete("gradient_shap", found.error, tolerance, "its gradients are not those of its scores; try kernel_shap.")
    return found


def expected(
    score: Score, inputs: Tensor, background: Tensor, draws: int, seed: int, parts: Parts | None = None
) -> Found:
    """Expected gradients of one score; completeness errors are reported.

    Args:
        score: of points.
        inputs: (n, ...) examples.
        background: (b, ...) rows, or (n, b, ...) rows for each example.
        draws: gradients an example, rounded up to a multiple of `REPEATS`.
        seed: of the draws.
        parts: sums of elements (m, ...) to (m, parts) that are wanted instead of the elements, with their intervals.
    """
    inputs, background = inputs.detach(), background.detach()
    if background.ndim == inputs.ndim:
        background = background.expand(len(inputs), *background.shape)
    block = max(1, MEMORY // (8 * inputs[0].numel() * REPEATS))
    rows = torch.arange(len(inputs), device=inputs.device)
    return join(
        [_block(score, inputs, background, rows[i : i + block], draws, seed, parts) for i in range(0, len(rows), block)]
    )


def _block(
    score: Score, inputs: Tensor, background: Tensor, rows: Tensor, draws: int, seed: int, parts: Parts | None
) -> Found:
    strata = -(-draws // REPEATS)
    share, start = _draws(inputs[rows], background.shape[1], strata, seed)
    n, per = len(rows), REPEATS * strata
    sums = torch.zeros(n * REPEATS, *inputs.shape[1:], dtype=torch.float64)
    size = points_per_pass(inputs)
    for i in range(0, n * per, size):
        at = torch.arange(i, min(i + size, n * per), device=inputs.device)
        x, b = inputs[rows[at // per]], background[rows[at // per], start.flatten()[at]]
        along = share.flatten()[at].to(x).reshape(-1, *[1] * (x.ndim - 1))
        gradient = score_and_gradient(score, torch.lerp(b, x, along), rows[at // per])[1]
        sums.index_add_(0, (at // strata).cpu(), gradient.to("cpu", torch.float64) * (x - b).to("cpu", torch.float64))
    repeats = (sums / strata).reshape(n, REPEATS, *inputs.shape[1:])
    of_rows = _backgrounds(score, background, rows)
    full = scores_at(score, inputs[rows], rows)
    base = of_rows.mean(1)
    started = of_rows.gather(1, start.reshape(n, per).cpu()).reshape(n, REPEATS, strata).mean(2)
    gap = repeats.flatten(2).sum(2) - (full[:, None] - started)
    if parts is not None:
        repeats = parts(repeats.flatten(0, 1)).reshape(n, REPEATS, -1)
    # both are 0 in expectation, and what a repetition owes to their chance is known
    chance = torch.stack([gap, started - base[:, None]], dim=2)
    values, half = _adjusted(repeats, chance)
    missed, noise_ = _interval(gap, 1 - _LEVEL)
    error = relative(missed.abs() - noise_ - rounding(base, full, inputs.dtype), full - base)
    return Found(values, values - half, values + half, base, full, error, per)


def _draws(inputs: Tensor, rows: int, strata: int, seed: int) -> tuple[Tensor, Tensor]:
    """Shares of the way and background rows, (n, repeats, strata) each.

    In each repetition every stratum of the way and every stratum of the background is met once, in random order.
    """
    key = noise.keys(inputs.flatten(1), torch.zeros(len(inputs), dtype=torch.int64), seed)
    shape = (len(inputs), REPEATS, strata)
    share, order, row = (
        noise.uniform(key, stream, REPEATS * strata, torch.float64).reshape(shape) for stream in (_SHARE, _ORDER, _ROW)
    )
    steps = torch.arange(strata, device=inputs.device)
    start = ((order.argsort(dim=2) + row) / strata * rows).long().clamp(max=rows - 1)
    return (steps + share) / strata, start


def _backgrounds(score: Score, background: Tensor, rows: Tensor) -> Tensor:
    """The score of every background row as each example's, (n, b)."""
    b = background.shape[1]
    size = max(1, points_per_pass(background[0]) // b)
    parts = []
    for i in range(0, len(rows), size):
        own = rows[i : i + size]
        scores = scores_at(score, background[own].flatten(0, 1), own.repeat_interleave(b))
        parts.append(scores.reshape(len(own), b))
    return torch.cat(parts)


def _adjusted(repeats: Tensor, chance: Tensor) -> tuple[Tensor, Tensor]:
    """Means of repetitions (n, repeats, ...) had their chances (n, repeats, 2) been 0, and half the 95 % intervals.

    The intercept of a least squares fit (control variates; Lavenberg and Welch 1981). An example's values add up to
    f(x) − base plus its two chances in each repetition, so what is left adds up to f(x) − base.
    """
    flat = repeats.flatten(2)
    mean, mean_chance = flat.mean(1, keepdim=True), chance.mean(1, keepdim=True)
    inverse = torch.linalg.pinv(chance - mean_chance, rtol=_SINGULAR)
    slopes = inverse @ (flat - mean)
    left = flat - mean - (chance - mean_chance) @ slopes
    freedom = REPEATS - 1 - chance.shape[2]
    spread = (1 / REPEATS + (mean_chance @ inverse).square().sum((1, 2))).sqrt()
    width = float(stats.t.ppf(0.975, freedom)) / freedom**0.5
    half = width * spread[:, None] * left.square().sum(1).sqrt()
    values = (mean - mean_chance @ slopes).squeeze(1)
    return values.reshape(len(flat), *repeats.shape[2:]), half.reshape(len(flat), *repeats.shape[2:])


def _interval(repeats: Tensor, level: float) -> tuple[Tensor, Tensor]:
    """Mean over the repetitions (n, repeats, ...) and half the width of its interval."""
    width = float(stats.t.ppf((1 + level) / 2, REPEATS - 1)) / REPEATS**0.5
    return repeats.mean(1), width * repeats.std(1)
