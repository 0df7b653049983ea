"""What the model says of an example when some players are removed: the one question that faithfulness asks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from audit.explainers.game import Game, Predict

Floats: TypeAlias = NDArray[np.float64]
Bools: TypeAlias = NDArray[np.bool_]
#: players that stay (n, m, players), or (m, players) for all examples -> the score of each state, (n, m)
Value: TypeAlias = Callable[[Bools], Floats]


def removal(
    predict: Predict,
    inputs: Tensor,
    targets: Tensor,
    background: Tensor,
    features: Tensor | None = None,
    batch_size: int | None = None,
) -> Value:
    """The removal game of `kernel_shap`, for one output an example.

    Args:
        predict: (m, ...) batch to (m, outputs) scores.
        inputs: (n, ...) examples.
        targets: (n,) int64, the output scored for each.
        background: (b, ...) rows that stand for "removed", or (n, b, ...) rows for each example.
        features: integer map shaped like one input, element -> player; None: every element is a player.
        batch_size: rows a call of `predict`; None chooses by memory.

    Raises:
        ValueError: an argument does not fit; the message names it.
    """
    if targets.shape != (len(inputs),) or targets.is_floating_point():
        raise ValueError(
            f"targets: Expected one index an example, ({len(inputs)},), found {targets.dtype} {tuple(targets.shape)}."
        )
    wanted, own = torch.unique(targets.cpu(), return_inverse=True)
    game = Game(predict, inputs, background, features, wanted, batch_size)

    def value(keep: Bools) -> Floats:
        if keep.shape[-1] != game.size or keep.ndim not in (2, 3):
            raise ValueError(f"keep: Expected states of {game.size} players, (n, m, players), found {keep.shape}.")
        scores = game.values(torch.from_numpy(keep)).numpy()
        return np.asarray(scores[np.arange(len(own)), :, own.numpy()])

    return value


def players_of(attributions: Floats) -> Floats:
    """Attributions as finite numbers (..., n, players).

    Raises:
        ValueError: they are not.
    """
    values = np.asarray(attributions, dtype=np.float64)
    if values.ndim < 2 or values.shape[-1] == 0:
        raise ValueError(f"attributions: Expected shape (..., n, players), found {values.shape}.")
    if not np.isfinite(values).all():
        raise ValueError("attributions: Expected finite numbers, found NaN or infinity.")
    return values


def for_each(value: Value, keep: Bools) -> Floats:
    """Scores of states (..., n, m, players) in one call of `value`: (..., n, m)."""
    *lead, n, m, size = keep.shape
    together = np.moveaxis(keep.reshape(-1, n, m, size), 0, 1).reshape(n, -1, size)
    scores = value(together).reshape(n, -1, m)
    return np.moveaxis(scores, 1, 0).reshape(*lead, n, m)
