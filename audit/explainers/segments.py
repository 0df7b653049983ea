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
    if images.ndim != 4 or not images.is_floating_point():
        raise ValueError(
            f"images: Expected floats (n, channels, height, width), found {images.dtype} {tuple(images.shape)}."
        )
    if sigma is None:
        sigma = max(images.shape[2:]) / 4
    if sigma <= 0:
        raise ValueError(f"sigma: Expected a positive number, found {sigma}.")
    out = _blur_along(images, 2, sigma)
    out = _blur_along(out, 3, sigma)
    # a flat part stays what it is: rounding is nothing to explain
    rounding = 8 * torch.finfo(images.dtype).eps * images.abs().amax(dim=(1, 2, 3), keepdim=True)
    return torch.where((out - images).abs() <= rounding, images, out)


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


def superpixels(image: Tensor, count: int = 50, compactness: float = 10.0) -> Tensor:
    """Patches of near-uniform colour (SLIC, Achanta et al. 2012, as scikit-image has it), (height, width) int64 without gaps.

    SLIC treats the number asked for as a hint; it is asked again until the number of patches is as near as it gets.

    Args:
        image: (channels, height, width).
        count: patches asked for.
        compactness: weight of nearness against likeness of colour.

    Raises:
        ValueError: the image is no such picture, or the count not positive.
    """
    from skimage.segmentation import slic

    if image.ndim != 3 or count < 1:
        raise ValueError(
            f"image, count: Expected (channels, height, width) and at least 1, found {tuple(image.shape)}, {count}."
        )
    pixels = image.detach().to("cpu", torch.float64)
    spread = float(pixels.max() - pixels.min())
    scaled = ((pixels - pixels.min()) / (spread or 1.0)).permute(1, 2, 0).numpy()
    best: Tensor | None = None
    asked = count
    for _ in range(6):
        found = slic(
            scaled, n_segments=asked, compactness=compactness / 100, convert2lab=image.shape[0] == 3, channel_axis=2
        )
        patches = torch.unique(torch.from_numpy(found).long(), return_inverse=True)[1].reshape(found.shape)
        if best is None or abs(_number(patches) - count) < abs(_number(best) - count):
            best = patches
        if _number(patches) == count:
            break
        asked = max(1, round(asked * count / _number(patches)))
    assert best is not None
    return best


def _number(patches: Tensor) -> int:
    return int(patches.max()) + 1


def windows(length: int, count: int, channels: int = 1, *, by_channel: bool = False) -> Tensor:
    """Time windows of near-equal length as players of a series, (length,) or (channels, length) int64.

    Args:
        length: time steps.
        count: windows (at most one a step).
        channels: of the series; 1 gives a map of one row without a channel axis.
        by_channel: whether each channel has windows of its own; else a window takes all channels.

    Raises:
        ValueError: a number is not positive.
    """
    if min(length, count, channels) < 1:
        raise ValueError(f"length, count, channels: Expected positive numbers, found {length}, {count} and {channels}.")
    count = min(count, length)
    along = torch.arange(length) * count // length
    if channels == 1:
        return along
    own = torch.arange(channels)[:, None] * count if by_channel else torch.zeros(channels, 1, dtype=torch.int64)
    return own + along


def token_players(ids: Tensor, special: Iterable[int]) -> Tensor:
    """Each token its own player, special tokens none (-1): (length,) ids -> (length,) int64."""
    word = ~torch.isin(ids, torch.tensor(sorted(special), dtype=ids.dtype, device=ids.device))
    return torch.where(word, word.long().cumsum(0) - 1, -1)


def word_players(tokens: Iterable[str], players: Tensor) -> Tensor:
    """Tokens of one word as one player: pieces marked as continuations (`##`) join the token before, (length,) int64.

    Tokenizers that mark the beginning of a word instead (a leading "Ġ" or "▁") are told by such a mark on any token.

    Args:
        tokens: (length,) readable pieces.
        players: (length,) token -> player as `token_players` gives it.
    """
    pieces = list(tokens)
    marks_starts = any(piece.startswith(("Ġ", "▁")) for piece in pieces)
    merged, word, open_ = torch.full_like(players, -1), -1, False
    for i, (piece, player) in enumerate(zip(pieces, players.tolist(), strict=True)):
        if player < 0:
            open_ = False
            continue
        goes_on = not piece.startswith(("Ġ", "▁")) if marks_starts else piece.startswith("##")
        word += 0 if goes_on and open_ else 1
        merged[i], open_ = word, True
    return merged


def masked_tokens(ids: Tensor, special: Iterable[int], mask_id: int) -> Tensor:
    """The text without its words: every token but the special ones replaced by [MASK], shaped like `ids`."""
    return torch.where(token_players(ids.reshape(-1), special).reshape(ids.shape) >= 0, mask_id, ids)
