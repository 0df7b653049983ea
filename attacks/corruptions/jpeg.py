"""JPEG compression in tensors (ITU-T T.81, annex A.3 and K.1; quality as in libjpeg), for any number of images at once."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from attacks.corruptions.scale import side, strength
from attacks.noise import Draws

# T.81 tables K.1 and K.2
_LUMA = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMA = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *(((99,) * 8,) * 4),
)
_TO_YCBCR = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
_TO_RGB = ((1.0, 0.0, 1.402), (1.0, -0.344136, -0.714136), (1.0, 1.772, 0.0))


def jpeg_compression(x: Tensor, severity: int, draws: Draws) -> Tensor:
    """JPEG at falling quality; three channels are taken for RGB, any other number is compressed channel by channel."""
    return compress(x, strength(side(*x.shape[2:]), severity, (80, 65, 58, 50, 40), (25, 18, 15, 10, 7)))


def compress(x: Tensor, quality: float) -> Tensor:
    """What a JPEG file of this quality (1 to 100) shows of x (n, C, H, W) in [0, 1]; colour at half resolution."""
    levels = (x * 255).round()
    if x.shape[1] != 3:
        return _planes(levels - 128, _table(_LUMA, quality, x)).add(128).round().clamp(0, 255) / 255
    height, width = x.shape[2:]
    ycc = _colours(levels, _TO_YCBCR).round()
    luma = _planes(ycc[:, :1] - 128, _table(_LUMA, quality, x)) + 128
    even = F.pad(ycc[:, 1:], (0, width % 2, 0, height % 2), mode="replicate")
    chroma = _planes(F.avg_pool2d(even, 2).round(), _table(_CHROMA, quality, x))
    chroma = F.interpolate(chroma, scale_factor=2, mode="bilinear", align_corners=False)[:, :, :height, :width]
    return _colours(torch.cat([luma, chroma], dim=1), _TO_RGB).round().clamp(0, 255) / 255


def _table(base: tuple[tuple[int, ...], ...], quality: float, like: Tensor) -> Tensor:
    """Quantisation steps (8, 8) at this quality, as libjpeg scales them."""
    scale = 5000 / quality if quality < 50 else 200 - 2 * quality
    steps = torch.tensor(base, dtype=like.dtype, device=like.device)
    return ((steps * scale + 50) / 100).floor().clamp(1, 255)


def _planes(x: Tensor, steps: Tensor) -> Tensor:
    """Every channel through the cosine transform of 8x8 blocks, quantisation, and back."""
    height, width = x.shape[2:]
    padded = F.pad(x, (0, -width % 8, 0, -height % 8), mode="replicate")
    n, channels, tall, wide = padded.shape
    blocks = padded.reshape(n, channels, tall // 8, 8, wide // 8, 8).transpose(3, 4).reshape(-1, 64)
    # rows and columns in one product of matrices: sixty-four cosines a block
    cosines = torch.kron(_cosines(x), _cosines(x))
    quantised = (blocks @ (cosines / steps.reshape(64, 1)).T).round_() @ (cosines * steps.reshape(64, 1))
    back = quantised.reshape(n, channels, tall // 8, wide // 8, 8, 8).transpose(3, 4)
    return back.reshape(n, channels, tall, wide)[:, :, :height, :width]


def _cosines(like: Tensor) -> Tensor:
    """The orthonormal DCT-II matrix (8, 8): row k, column i."""
    k = torch.arange(8, dtype=torch.float64)[:, None]
    matrix = torch.cos(math.pi * (2 * torch.arange(8, dtype=torch.float64) + 1) * k / 16) / 2
    matrix[0] /= math.sqrt(2)
    return matrix.to(like)


def _colours(x: Tensor, matrix: tuple[tuple[float, ...], ...]) -> Tensor:
    """Mix the three channels, term by term so that the sum never depends on the batch."""
    red, green, blue = x.unbind(1)
    return torch.stack([red * r + green * g + blue * b for r, g, b in matrix], dim=1)
