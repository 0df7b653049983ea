"""Players and baselines for pictures and texts."""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad


def grid(height: int, width: int, cells: int = 7) -> Tensor:
    """A regular grid of near-square cells, (height, width) int64: pixel -> cell, numbered row by row.

    Args:
        height: of the picture, in pixels.
        width: of the picture, in pixels.
        cells: cells along the longer side (at most one a pixel).

    Raises:
        ValueError: a number is not positive.
    """
    if min(height, width, cells) < 1:
        raise ValueError(f"height, width, cells: Expected positive numbers, found {height}, {width} and {cells}.")
    side = max(height, width) / min(cells, max(height, width))
    down, across = max(1, round(height / side)), max(1, round(width / side))
    row = torch.arange(height) * down // height
    column = torch.arange(width) * across // width
    return row[:, None] * across + column[None, :]


def grid_shape(cells: Tensor) -> tuple[int, int]:
    """Rows and columns of a map made by `grid`."""
    return len(torch.unique(cells[:, 0])), len(torch.unique(cells[0]))


def blur(images: Tensor, sigma: float | None = None) -> Tensor:
    """Gaussian blur with reflected edges, shaped like the images: what is left when details are removed.

    Args:
        images: (n, channels, height, width).
        sigma: standard deviation in pixels; None takes a quarter of the longer side, which leaves little but colour
            and lightness.

    Raises:
        ValueError: the images are no such batch, or sigma is not positive.
    """
    if images.ndim != 4:
        raise ValueError(f"images: Expected shape (n, channels, height, width), found {tuple(images.shape)}.")
    if sigma is None:
        sigma = max(images.shape[2:]) / 4
    if sigma <= 0:
        raise ValueError(f"sigma: Expected a positive number, found {sigma}.")
    out = _blur_along(images, 2, sigma)
    return _blur_along(out, 3, sigma)


def _blur_along(images: Tensor, dim: int, sigma: float) -> Tensor:
    size = images.shape[dim]
    if size == 1:
        return images
    radius = min(ceil(3 * sigma), size - 1)
    at = torch.arange(-radius, radius + 1, dtype=images.dtype, device=images.device)
    kernel = torch.exp(-(at**2) / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    flat = images.reshape(-1, 1, *images.shape[2:])
    if dim == 2:
        out = conv2d(pad(flat, (0, 0, radius, radius), mode="reflect"), kernel.reshape(1, 1, -1, 1))
    else:
        out = conv2d(pad(flat, (radius, radius, 0, 0), mode="reflect"), kernel.reshape(1, 1, 1, -1))
    return out.reshape(images.shape)


def token_players(ids: Tensor, special: Iterable[int]) -> Tensor:
    """Each token its own player, special tokens none (-1): (length,) ids -> (length,) int64."""
    word = ~torch.isin(ids, torch.tensor(sorted(special), dtype=ids.dtype, device=ids.device))
    return torch.where(word, word.long().cumsum(0) - 1, -1)


def masked_tokens(ids: Tensor, special: Iterable[int], mask_id: int) -> Tensor:
    """The text without its words: every token but the special ones replaced by [MASK], shaped like `ids`."""
    return torch.where(token_players(ids.reshape(-1), special).reshape(ids.shape) >= 0, mask_id, ids)
