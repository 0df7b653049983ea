"""What the spatial attacks share in tests: soft pictures, a linear model of two classes, and a plain rotation."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def pictures(n: int, channels: int = 1, height: int = 12, width: int = 12, seed: int = 0) -> Tensor:
    """Soft random pictures inside [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n, channels, 4, 4, generator=generator)
    return nn.functional.interpolate(coarse, size=(height, width), mode="bilinear")


class Linear(nn.Module):
    """Two classes; the second leads by weight . x + bias."""

    def __init__(self, weight: Tensor, bias: float) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), bias

    def forward(self, x: Tensor) -> Tensor:
        lead = (x * self.weight).flatten(1).sum(1) + self.bias
        return torch.stack([torch.zeros_like(lead), lead], 1)


def slowly_moved(image: Tensor, degrees: float, down: float, right: float, fill: float) -> Tensor:
    """Rotation and translation of one channel (H, W), pixel by pixel, from the definition."""
    height, width = image.shape
    out = torch.empty_like(image)
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))

    def at(i: int, j: int) -> float:
        return float(image[i, j]) if 0 <= i < height and 0 <= j < width else fill

    for i in range(height):
        for j in range(width):
            # undo the translation, then turn back: on a screen, rows grow downwards
            y, x = i - (height - 1) / 2 - down, j - (width - 1) / 2 - right
            row, column = sin * x + cos * y + (height - 1) / 2, cos * x - sin * y + (width - 1) / 2
            top, left = math.floor(row), math.floor(column)
            a, b = row - top, column - left
            out[i, j] = (
                (1 - a) * ((1 - b) * at(top, left) + b * at(top, left + 1))
                + a * ((1 - b) * at(top + 1, left) + b * at(top + 1, left + 1))
            )  # fmt: skip
    return out
