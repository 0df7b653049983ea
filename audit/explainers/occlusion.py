"""What the score loses when a part of the example is covered."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from audit.explainers.attribution import Attribution
from audit.explainers.game import MEMORY, TILE, Game, Predict


def occlusion(
    predict: Predict,
    inputs: Tensor,
    baselines: Tensor,
    features: Tensor | None = None,
    targets: int | Sequence[int] | Tensor | None = None,
    window: Sequence[int] | None = None,
    stride: int | Sequence[int] = 1,
    batch_size: int | None = None,
) -> Attribution:
    """The score of the example minus its score without a part (Zeiler and Fergus 2014, section 4.2).

    The part is each player in turn, or a window that slides over the input; an element then gets the mean over the
    windows that cover it. No completeness is promised: parts are covered one at a time.

    Args:
        predict: (m, ...) batch to (m, outputs) scores.
        inputs: (n, ...) examples.
        baselines: (b, ...) rows that are put in, averaged over; or (n, b, ...) rows for each example.
        features: integer map shaped like one input, element -> player; None: every element is a player.
        targets: which outputs to explain; None explains all.
        window: its length along each dimension of one input, for instance (channels, 5, 5); excludes `features`.
        stride: by how much the window moves, along each dimension or all alike.
        batch_size: rows a call of `predict`; None chooses by memory.

    Returns:
        An `Attribution` with values (n, players, outputs), with a window (n, elements, outputs); intervals have no
        width, for nothing is sampled; the base is the score with everything covered.

    Raises:
        ValueError: an argument does not fit; the message names it.
    """
    if window is not None and features is not None:
        raise ValueError("window: Expected either a window or features, found both.")
    game = Game(predict, inputs, baselines, features, targets, batch_size)
    ends = game.values(torch.tensor([[True], [False]]).expand(2, game.size))
    full, base = ends[:, :1], ends[:, 1]
    if window is None:
        values, count = _each(game, full), game.size
    else:
        values, count = _slide(game, full, _corners(inputs, window, stride), window)
    return Attribution(values, values, values, base, count)


def _each(game: Game, full: Tensor) -> Tensor:
    """What is lost without each player, some players at a time, in numbers that keep each row's place in a tile."""
    player = torch.arange(game.size)
    block = max(1, MEMORY // (4 * game.size * TILE)) * TILE
    parts = [game.values(player != player[i : i + block, None]) for i in range(0, game.size, block)]
    return full - torch.cat(parts, dim=1)


def _slide(game: Game, full: Tensor, corners: list[tuple[int, ...]], window: Sequence[int]) -> tuple[Tensor, int]:
    n, size, outputs = len(full), game.size, full.shape[2]
    total, covered = torch.zeros(n, size, outputs, dtype=torch.float64), torch.zeros(size, dtype=torch.float64)
    # which elements each window of a block covers is held at once, as bits and as float64
    block = max(1, MEMORY // (9 * size))
    for start in range(0, len(corners), block):
        part = corners[start : start + block]
        cover = torch.zeros(len(part), *game.inputs.shape[1:], dtype=torch.bool)
        for row, corner in zip(cover, part, strict=True):
            row[tuple(slice(at, at + length) for at, length in zip(corner, window, strict=True))] = True
        cover = cover.flatten(1)
        lost = full - game.values(~cover)
        total += cover.double().T @ lost
        covered += cover.double().sum(0)
    return total / covered[:, None], len(corners)


def _corners(inputs: Tensor, window: Sequence[int], stride: int | Sequence[int]) -> list[tuple[int, ...]]:
    """First positions of the windows; the last along a dimension may reach over the border."""
    shape = inputs.shape[1:]
    steps = [stride] * len(shape) if isinstance(stride, int) else list(stride)
    fits = len(window) == len(shape) and all(1 <= w <= length for w, length in zip(window, shape, strict=True))
    if not fits:
        raise ValueError(f"window: Expected lengths from 1 to {tuple(shape)}, found {tuple(window)}.")
    if len(steps) != len(shape) or not all(1 <= s <= w or w == n for s, w, n in zip(steps, window, shape, strict=True)):
        raise ValueError(f"stride: Expected steps from 1 to the window's {tuple(window)}, found {stride!r}.")
    ranges = [range(0, n - w + s, s) for n, w, s in zip(shape, window, steps, strict=True)]
    return list(itertools.product(*ranges))
