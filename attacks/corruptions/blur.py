"""Blur (Hendrycks and Dietterich 2019, section 4; parameters from CIFAR-10-C and ImageNet-C)."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from attacks.corruptions.scale import length, side, strength
from attacks.noise import Draws


def gaussian_blur(x: Tensor, severity: int, draws: Draws) -> Tensor:
    """A Gaussian lens."""
    return smooth(x, length(side(*x.shape[2:]), severity, (0.4, 0.6, 0.7, 0.8, 1.0), (1, 2, 3, 4, 6)))


def defocus_blur(x: Tensor, severity: int, draws: Draws) -> Tensor:
    """A lens out of focus: the mean over a disc with a soft rim."""
    radius = length(side(*x.shape[2:]), severity, (0.6, 0.8, 1.0, 1.3, 1.6), (3, 4, 6, 8, 10))
    return _convolve(x, _disc(radius + 0.5, x))


def glass_blur(x: Tensor, severity: int, draws: Draws) -> Tensor:
    """Frosted glass: every pixel shows one of its neighbours, between two slight blurs.

    The published form swaps pixels one by one; here all are displaced at once, which is the same to the eye.
    """
    pixels = side(*x.shape[2:])
    sigma = length(pixels, severity, (0.20, 0.25, 0.30, 0.35, 0.40), (0.7, 0.9, 1.0, 1.1, 1.5))
    reach = length(pixels, severity, (0.3, 0.5, 0.8, 1.1, 1.5), (3.0, 4.0, 6.0, 7.5, 8.5))
    height, width = x.shape[2:]
    offsets = draws.uniform(2, height, width, low=-reach, high=reach)
    # rounded at random, so that a reach below one pixel moves a few pixels rather than none
    offsets = (offsets + draws.uniform(2, height, width)).floor().to(torch.int64)
    down = (torch.arange(height, device=x.device)[:, None] + offsets[:, 0]).clamp_(0, height - 1)
    right = (torch.arange(width, device=x.device)[None, :] + offsets[:, 1]).clamp_(0, width - 1)
    index = (down * width + right).flatten(1)[:, None].expand(-1, x.shape[1], -1)
    return smooth(smooth(x, sigma).flatten(2).gather(2, index).reshape(x.shape), sigma)


def motion_blur(x: Tensor, severity: int, draws: Draws) -> Tensor:
    """A camera moving in a direction of its own for each image, within 45 degrees of the horizontal."""
    sigma = length(side(*x.shape[2:]), severity, (1.0, 1.5, 2.0, 2.5, 3.0), (3, 5, 8, 12, 15))
    return drag(x, sigma, draws.uniform(1, low=-math.pi / 4, high=math.pi / 4)[:, 0])


def zoom_blur(x: Tensor, severity: int, draws: Draws) -> Tensor:
    """A camera moving towards the object: the mean over growing magnifications."""
    pixels = side(*x.shape[2:])
    top = strength(pixels, severity, (1.06, 1.11, 1.16, 1.21, 1.26), (1.11, 1.16, 1.21, 1.26, 1.31))
    # half a pixel at the rim is seamless, and 16 layers are as many as the published form has
    doublings = min(4, max(1, math.ceil(math.log2((top - 1) * pixels + 1))))
    step = top ** (1 / (2**doublings - 1))
    # zooms multiply: the mean over 2k layers is that over k, averaged with itself k steps on
    for i in range(doublings):
        x = (x + _zoom(x, step ** (2**i))) / 2
    return x


def smooth(x: Tensor, sigma: float) -> Tensor:
    """Convolve (n, C, H, W) with a Gaussian of `sigma` pixels; the border pixels go on outside."""
    return _bell(x.shape[2], sigma, x) @ (x @ _bell(x.shape[3], sigma, x).T)


def drag(x: Tensor, sigma: float, angle: Tensor) -> Tensor:
    """Motion blur: the mean over shifts along `angle` (n,) in radians, with one-sided Gaussian weights of `sigma` px."""
    height, width = x.shape[2:]
    reach = math.ceil(2.7 * sigma)
    weights = [math.exp(-(i**2) / (2 * sigma**2)) for i in range(reach + 1)]
    padded, total = F.pad(x, (reach,) * 4, mode="replicate"), torch.zeros_like(x)
    for image, out, way in zip(padded, total, angle.tolist(), strict=True):
        for i, weight in enumerate(weights):
            top, left = reach + round(i * math.sin(way)), reach + round(i * math.cos(way))
            out.add_(image[:, top : top + height, left : left + width], alpha=weight / sum(weights))
    return total


def _disc(radius: float, like: Tensor) -> Tensor:
    """A disc of this radius in pixels around the middle of one, each pixel by the share that lies inside; sum 1."""
    reach, fine = max(1, math.ceil(radius - 0.5)), 9
    at = (torch.arange((2 * reach + 1) * fine, dtype=like.dtype, device=like.device) + 0.5) / fine - reach - 0.5
    inside = (at[:, None].square() + at[None, :].square() <= radius**2).to(like.dtype)
    disc = F.avg_pool2d(inside[None], fine)[0]
    return disc / disc.sum()


def _zoom(x: Tensor, factor: float) -> Tensor:
    """Magnify about the centre and crop."""
    theta = torch.tensor([[1 / factor, 0, 0], [0, 1 / factor, 0]], dtype=x.dtype, device=x.device)
    grid = F.affine_grid(theta[None], [1, *x.shape[1:]], align_corners=False).expand(len(x), -1, -1, -1)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _convolve(x: Tensor, kernel: Tensor) -> Tensor:
    """Convolve every channel with one symmetric kernel of odd side, by the Fourier transform; the border goes on."""
    reach = len(kernel) // 2
    padded = F.pad(x, (reach,) * 4, mode="replicate")
    # sides with many factors of 2 transform fastest; what is added lies behind the picture and meets its edge only
    sides = [-(-side // 16) * 16 for side in padded.shape[2:]]
    spectrum = torch.fft.rfft2(padded, s=sides) * torch.fft.rfft2(kernel, s=sides)
    height, width = x.shape[2:]
    mixed: Tensor = torch.fft.irfft2(spectrum, s=sides)
    return mixed[:, :, 2 * reach : 2 * reach + height, 2 * reach : 2 * reach + width]


def _bell(pixels: int, sigma: float, like: Tensor) -> Tensor:
    """(pixels, pixels): row i weights a line for its Gaussian mean around i; rows sum to 1.

    A product of matrices costs the same for any `sigma`, and less than a convolution of a single channel.
    """
    reach = max(1, math.ceil(4 * sigma))
    at = torch.arange(-reach, pixels + reach, dtype=like.dtype, device=like.device)
    far = at - at[reach : reach + pixels, None]
    wide = torch.exp(-far.square() / (2 * sigma**2)).masked_fill(far.abs() > reach, 0)
    wide = wide / wide.sum(1, keepdim=True)
    inside = wide[:, reach : reach + pixels].clone()
    inside[:, 0] += wide[:, :reach].sum(1)
    inside[:, -1] += wide[:, reach + pixels :].sum(1)
    return inside
