"""Gradient maps averaged over noise around the example."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import torch
from scipy import stats
from torch import Tensor

from attacks import noise
from audit.explainers.attribution import Attribution
from audit.explainers.game import MEMORY
from audit.explainers.gradients import (
    Model,
    each_output,
    examine,
    guarded,
    points_per_pass,
    score_and_gradient,
    unsaturated,
)

#: points (m, ...) and the example each belongs to (m,), to numbers for each point (m, ...)
Explain: TypeAlias = Callable[[Tensor, Tensor], Tensor]
Kind: TypeAlias = Literal["mean", "square", "variance"]
_KINDS = ("mean", "square", "variance")
_STREAM = (4,)


def smooth_grad(
    model: Model,
    inputs: Tensor,
    targets: int | Sequence[int] | Tensor | None = None,
    draws: int = 32,
    deviation: float | Tensor = 0.1,
    kind: Kind = "mean",
    seed: int = 0,
) -> Attribution:
    """Gradients averaged over normal noise around the example (Smilkov et al. 2017, https://arxiv.org/abs/1706.03825).

    Args:
        model: differentiable map from a float batch (m, ...) to (m, outputs) scores; explain logits or log-odds.
        inputs: (n, ...) examples; for text their embeddings.
        targets: which outputs to explain; None explains all.
        draws: noisy copies of an example, at least two.
        deviation: of the noise, in input units; a tensor that broadcasts to the inputs gives each element its own.
        kind: "mean" of the gradients (SmoothGrad), mean "square" (SmoothGrad-squared, Hooker et al. 2019), or
            "variance" (VarGrad, Adebayo et al. 2018).
        seed: of the noise.

    Returns:
        An `Attribution` with values (n, elements, outputs) and 95 % intervals over the draws. It promises no
        completeness: the base is not defined (NaN), and there is no error.

    Raises:
        ValueError: an argument does not fit; the message names it.
    """
    examine(inputs)
    with guarded(model, inputs):
        unsaturated(model, inputs)
        found = [
            noise_tunnel(
                lambda points, rows, score=score: score_and_gradient(score, points, rows)[1],  # type: ignore[misc]
                inputs,
                draws,
                deviation,
                kind,
                seed,
            )
            for score in each_output(model, inputs, targets)
        ]
    values, low, high, base = (
        torch.cat([getattr(f, which) for f in found], dim=-1) for which in ("values", "low", "high", "base")
    )
    return Attribution(values, low, high, base, draws)


def noise_tunnel(
    explain: Explain,
    inputs: Tensor,
    draws: int = 32,
    deviation: float | Tensor = 0.1,
    kind: Kind = "mean",
    seed: int = 0,
) -> Attribution:
    """Any method's maps averaged over normal noise; arguments and result as in `smooth_grad`, for one output.

    Args:
        explain: points (m, ...) and the example each belongs to (m,) to numbers for each point (m, ...).
        inputs: (n, ...) examples.
        draws: noisy copies of an example, at least two.
        deviation: of the noise, in input units.
        kind: "mean", "square" or "variance" of the maps.
        seed: of the noise.

    Raises:
        ValueError: an argument does not fit; the message names it.
    """
    examine(inputs)
    if kind not in _KINDS:
        raise ValueError(f"kind: Expected one of {_KINDS}, found {kind!r}.")
    if draws < 2:
        raise ValueError(f"draws: Expected at least 2, found {draws}.")
    spread = torch.as_tensor(deviation, dtype=inputs.dtype, device=inputs.device)
    if not bool((spread >= 0).all()) or not bool(torch.isfinite(spread).all()):
        raise ValueError("deviation: Expected finite numbers of at least 0.")
    if (
        any(s not in (1, x) for s, x in zip(spread.shape[::-1], inputs.shape[::-1], strict=False))
        or spread.ndim > inputs.ndim
    ):
        raise ValueError(
            f"deviation: Expected a shape that broadcasts to {tuple(inputs.shape)}, found {tuple(spread.shape)}."
        )
    rows = torch.arange(len(inputs), device=inputs.device)
    block = max(1, MEMORY // (8 * inputs[0].numel() * draws))
    parts = [
        _block(explain, inputs, spread, rows[i : i + block], draws, kind, seed) for i in range(0, len(rows), block)
    ]
    mean, half = (torch.cat(part).flatten(1).unsqueeze(2) for part in zip(*parts, strict=True))
    return Attribution(mean, mean - half, mean + half, torch.full((len(inputs), 1), torch.nan).double(), draws)


def _block(
    explain: Explain, inputs: Tensor, spread: Tensor, rows: Tensor, draws: int, kind: Kind, seed: int
) -> tuple[Tensor, Tensor]:
    """Mean and half its interval's width, (n, ...) each, of some rows."""
    spread = spread.expand_as(inputs)
    key = noise.keys(inputs[rows].flatten(1), torch.zeros(len(rows), dtype=torch.int64), seed)
    maps: list[Tensor] = []
    size = points_per_pass(inputs)
    total = len(rows) * draws
    for i in range(0, total, size):
        at = torch.arange(i, min(i + size, total), device=inputs.device)
        own = rows[at // draws]
        points = inputs[own] + spread[own] * _normal(key, at, draws, inputs)
        maps.append(explain(points, own).detach().to("cpu", torch.float64))
    found = torch.cat(maps)
    found = found.reshape(len(rows), draws, *found.shape[1:])
    if kind == "square":
        found = found**2
    elif kind == "variance":
        # the squares of what is left, scaled so that their mean is the unbiased variance
        found = (found - found.mean(1, keepdim=True)) ** 2 * (draws / (draws - 1))
    width = float(stats.t.ppf(0.975, draws - 1)) / draws**0.5
    return found.mean(1), width * found.std(1)


def _normal(key: Tensor, at: Tensor, draws: int, inputs: Tensor) -> Tensor:
    """Standard normal numbers of some draws, each of which is a stream of its own."""
    found = torch.empty(len(at), *inputs.shape[1:], dtype=inputs.dtype, device=inputs.device)
    for draw in range(draws):
        mine = torch.nonzero(at % draws == draw).squeeze(1)
        own = noise.normal(key[at[mine] // draws], (*_STREAM, draw), inputs[0].numel())
        found[mine] = own.reshape(-1, *inputs.shape[1:]).to(inputs.dtype)
    return found
