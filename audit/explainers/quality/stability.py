"""How much an explanation moves when next to nothing has changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from audit.explainers.game import MEMORY
from audit.explainers.quality.removal import Floats

#: points (m, ...) and the example each belongs to (m,), to their attributions (m, players)
Explain: TypeAlias = Callable[[Tensor, Tensor], Floats]


def relative_distance(a: Floats, b: Floats) -> Floats:
    """‖b − a‖ / ‖a‖ over the last axis; NaN where a is zero."""
    size = np.linalg.norm(a, axis=-1)
    apart = np.linalg.norm(b - a, axis=-1)
    return np.where(size > 0, apart / np.where(size > 0, size, 1), np.nan)


def max_sensitivity(
    explain: Explain,
    inputs: Tensor,
    radius: float,
    draws: int = 10,
    seed: int = 0,
    noise: NDArray[np.float32] | None = None,
    batch_size: int | None = None,
) -> Floats:
    """max_{‖y − x‖∞ ≤ r} ‖Φ(y) − Φ(x)‖ / ‖Φ(x)‖ over random y (Yeh et al. 2019, eq. 2, relative as in captum), (n,).

    Args:
        explain: attributions of points, the class fixed by the example each belongs to.
        inputs: (n, ...) examples.
        radius: largest change of an element, in input units.
        draws: random points around each example; the true maximum is at least what they find.
        seed: of the points, the same displacements for all examples.
        noise: displacements (draws, ...) or (draws, n, ...) instead of random ones.
        batch_size: points a call of `explain`; None chooses by memory.

    Raises:
        ValueError: an argument does not fit.
    """
    if not inputs.is_floating_point():
        raise ValueError(f"inputs: Expected floats, which can move a little, found {inputs.dtype}; try embeddings.")
    if noise is None:
        if not radius > 0 or draws < 1:
            raise ValueError(f"radius, draws: Expected positive numbers, found {radius} and {draws}.")
        shape = (draws, *inputs.shape[1:])
        noise = np.random.default_rng(seed).uniform(-radius, radius, shape).astype(np.float32)
    moves = torch.from_numpy(noise).to(inputs)
    if moves.ndim == inputs.ndim:
        moves = moves.unsqueeze(1).expand(-1, *inputs.shape)
    if moves.shape[1:] != inputs.shape:
        raise ValueError(
            f"noise: Expected shape (draws, {', '.join(map(str, inputs.shape[1:]))}), found {noise.shape}."
        )
    rows = torch.arange(len(inputs), device=inputs.device)
    size = batch_size or max(1, min(512, MEMORY // (16 * inputs[0].numel() * inputs.element_size())))
    before = _explained(explain, inputs, rows, size)
    points = (inputs + moves).flatten(0, 1)
    after = _explained(explain, points, rows.repeat(len(moves)), size).reshape(len(moves), *before.shape)
    return np.asarray(relative_distance(before, after).max(0))


def _explained(explain: Explain, points: Tensor, rows: Tensor, size: int) -> Floats:
    parts = [explain(points[i : i + size], rows[i : i + size]) for i in range(0, len(points), size)]
    return np.concatenate(parts).reshape(len(points), -1)
