"""Weather and dirt (after Hendrycks and Dietterich 2019, section 4; no stored pictures, so no frost)."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from attacks.corruptions.blur import drag, smooth
from attacks.corruptions.scale import length, side, strength
from attacks.noise import Draws


def fog(x: Tensor, severity: int, draws: Draws) -> Tensor:
    """Fog as a plasma fractal, added and brought back into the image's own range."""
    pixels = side(*x.shape[2:])
    amount = strength(pixels, severity, (0.2, 0.5, 0.75, 1.0, 1.5), (1.5, 2.0, 2.5, 2.75, 3.0))
    decay = strength(pixels, severity, (3, 3, 2.5, 2, 1.75), (2, 2, 1.7, 1.5, 1.4))
    height, width = x.shape[2:]
    haze = plasma(2 ** math.ceil(math.log2(max(height, width, 2))), decay, draws)[:, None, :height, :width]
    top = x.amax(dim=(1, 2, 3), keepdim=True).clamp(min=1e-6)
    return (x + amount * haze) * top / (top + amount)


def snow(x: Tensor, severity: int, draws: Draws) -> Tensor:
    """Flakes driven by the wind over a paler image."""
    pixels = side(*x.shape[2:])
    mean = strength(pixels, severity, (-0.10, 0.0, 0.05, 0.10, 0.15), (-0.10, 0.0, 0.08, 0.15, 0.20))
    pale = strength(pixels, severity, (0.05, 0.10, 0.12, 0.16, 0.20), (0.20, 0.28, 0.32, 0.38, 0.45))
    zoom = length(pixels, severity, (1.0,) * 5, (3.0,) * 5)
    wind = length(pixels, severity, (1.0, 1.2, 1.4, 1.6, 1.8), (4, 5, 6, 8, 10))
    height, width = x.shape[2:]
    coarse = 0.3 * draws.normal(1, max(1, round(height / zoom)), max(1, round(width / zoom))) + mean
    field = F.interpolate(coarse, size=(height, width), mode="bilinear", align_corners=False)
    angle = draws.uniform(1, low=math.pi / 4, high=3 * math.pi / 4)[:, 0]
    flakes = drag(torch.where(field > 0.5, field, 0.0).clamp(0, 1), wind, angle).to(x.dtype)
    grey = x.mean(dim=1, keepdim=True)
    paler = (1 - pale) * x + pale * torch.maximum(x, grey * 1.5 + 0.5)
    return paler + flakes + flakes.flip(2, 3)


def spatter(x: Tensor, severity: int, draws: Draws) -> Tensor:
    """Mud on the lens: opaque brown drops that cover a growing share (the mud branch of the published form)."""
    pixels = side(*x.shape[2:])
    share = strength(pixels, severity, (0.03, 0.06, 0.10, 0.15, 0.20), (0.05, 0.10, 0.15, 0.20, 0.25))
    drop = length(pixels, severity, (0.8,) * 5, (4.0,) * 5)
    liquid = smooth(draws.normal(1, *x.shape[2:]), drop)
    dry = min(max(round((1 - share) * liquid[0].numel()), 1), liquid[0].numel())
    level = liquid.flatten(1).kthvalue(dry, dim=1).values[:, None, None, None]
    cover = smooth((liquid > level).to(x.dtype), max(0.3, drop / 4))
    brown = torch.tensor([63 / 255, 42 / 255, 20 / 255], dtype=x.dtype, device=x.device)
    mud = brown if x.shape[1] == 3 else brown.mean().expand(x.shape[1])
    return x * (1 - cover) + mud[None, :, None, None] * cover


def plasma(size: int, decay: float, draws: Draws) -> Tensor:
    """Fractals (n, size, size) in [0, 1] by the diamond-square algorithm (Fournier, Fussell and Carpenter 1982).

    Args:
        size: a power of 2, in pixels.
        decay: how fast finer steps fade; amplitudes fall by its square.
        draws: source of randomness; says how many.
    """
    # every place is wobbled once, at the step that first reaches it
    lots = draws.uniform(size, size, low=-1.0)
    field = torch.zeros_like(lots)
    step, amplitude = size, 1.0
    while step >= 2:
        half = step // 2
        corners = field[:, ::step, ::step]
        right = corners + corners.roll(-1, 2)
        below = corners + corners.roll(-1, 1)
        centres = (right + right.roll(-1, 1)) / 4 + amplitude * lots[:, half::step, half::step]
        field[:, half::step, half::step] = centres
        field[:, ::step, half::step] = (centres + centres.roll(1, 1) + right) / 4 + amplitude * lots[
            :, ::step, half::step
        ]
        field[:, half::step, ::step] = (centres + centres.roll(1, 2) + below) / 4 + amplitude * lots[
            :, half::step, ::step
        ]
        step, amplitude = half, amplitude / decay**2
    field -= field.amin(dim=(1, 2), keepdim=True)
    return field / field.amax(dim=(1, 2), keepdim=True).clamp(min=1e-12)
