"""Rotation and translation of images, each by its own amount."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

#: what stands where the image does not reach: a number in input units, or the nearest pixel of its border
Fill: TypeAlias = float | Literal["border"]


def move(images: Tensor, degrees: Tensor, pixels: Tensor, fill: Fill = 0.0) -> Tensor:
    """Rotate about the centre, then translate; bilinear.

    Args:
        images: (n, C, H, W) float.
        degrees: (n,) counter-clockwise as seen on a screen.
        pixels: (n, 2) down and right.
        fill: what stands where the image does not reach: a number in input units, or `"border"`.

    Returns:
        (n, C, H, W), type and device as given; half precision is computed in float32. An image that neither turns nor
        moves comes back to the last bit; elsewhere rounding may lead out of the image's range by a last bit.
    """
    height, width = images.shape[2:]
    x = images.to(torch.promote_types(images.dtype, torch.float32))
    turn = torch.deg2rad(degrees.to(x))[:, None, None]
    shift = pixels.to(x)[:, :, None, None]
    # where in the given image each pixel of the moved one comes from, in pixels from the centre
    down = torch.arange(height, dtype=x.dtype, device=x.device)[:, None] - (height - 1) / 2 - shift[:, 0]
    right = torch.arange(width, dtype=x.dtype, device=x.device)[None, :] - (width - 1) / 2 - shift[:, 1]
    from_right = turn.cos() * right - turn.sin() * down
    from_down = turn.sin() * right + turn.cos() * down
    grid = torch.stack([from_right * (2 / width), from_down * (2 / height)], dim=-1)
    offset = 0.0 if fill == "border" else fill
    mode = "border" if fill == "border" else "zeros"
    moved = functional.grid_sample(x - offset, grid, mode="bilinear", padding_mode=mode, align_corners=False) + offset
    still = ((degrees == 0) & (pixels == 0).all(1)).to(x.device)
    return torch.where(still[:, None, None, None], x, moved).to(images.dtype)
