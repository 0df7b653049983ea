"""Light, processing and geometry (Hendrycks and Dietterich 2019, section 4; occlusion after DeVries and Taylor 2017)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from attacks.corruptions.blur import smooth
from attacks.corruptions.scale import side, strength
from attacks.noise import Draws


def brightness(x: Tensor, severity: int, draws: Draws) -> Tensor:
    """More light: the value of HSV grows, hue and saturation stay; any number of channels."""
    more = strength(side(*x.shape[2:]), severity, (0.05, 0.10, 0.15, 0.20, 0.30), (0.1, 0.2, 0.3, 0.4, 0.5))
    value = x.amax(dim=1, keepdim=True)
    return torch.where(value > 0, x * ((value + more).clamp(max=1) / value.clamp(min=1e-6)), more)


def contrast(x: Tensor, severity: int, draws: Draws) -> Tensor:
    """Less contrast: every channel drawn to its mean."""
    kept = strength(side(*x.shape[2:]), severity, (0.75, 0.50, 0.40, 0.30, 0.15), (0.4, 0.3, 0.2, 0.1, 0.05))
    mean = x.mean(dim=(2, 3), keepdim=True)
    return (x - mean) * kept + mean


def saturate(x: Tensor, severity: int, draws: Draws) -> Tensor:
    """Stronger colours: the saturation of HSV is multiplied; grey pixels stay grey.

    Severities grow in one direction; the published ones begin with two that weaken colours.
    """
    if x.shape[1] != 3:
        raise ValueError(f"Expected 3 channels for saturate, found {x.shape[1]}; try another corruption.")
    factor = strength(side(*x.shape[2:]), severity, (1.2, 1.4, 1.6, 2.0, 2.5), (1.5, 2.0, 3.0, 5.0, 20.0))
    value, low = x.amax(dim=1, keepdim=True), x.amin(dim=1, keepdim=True)
    saturation = (value - low) / value.clamp(min=1e-6)
    # HSV with the same hue and value: the distance of each channel from the largest grows with the saturation
    gain = (saturation * factor).clamp(max=1) / saturation.clamp(min=1e-6)
    return torch.where(saturation > 0, value - (value - x) * gain, x)


def pixelate(x: Tensor, severity: int, draws: Draws) -> Tensor:
    """A lower resolution, shown at the same size."""
    share = strength(side(*x.shape[2:]), severity, (0.9, 0.8, 0.7, 0.6, 0.5), (0.60, 0.50, 0.40, 0.30, 0.25))
    height, width = x.shape[2:]
    rows, columns = max(1, int(height * share)), max(1, int(width * share))
    down, right = _overlap(height, rows, x), _overlap(width, columns, x)
    area = (height / rows) * (width / columns)
    cells = (down @ x) @ (right.T / area)  # means over each coarse cell
    return cells.index_select(2, _nearest(height, rows, x)).index_select(3, _nearest(width, columns, x))


def _nearest(fine: int, coarse: int, like: Tensor) -> Tensor:
    """(fine,): the coarse pixel that holds the middle of each fine one."""
    return (2 * torch.arange(fine, device=like.device) + 1) * coarse // (2 * fine)


def _overlap(fine: int, coarse: int, like: Tensor) -> Tensor:
    """(coarse, fine): which part of each fine pixel lies in each coarse one; columns sum to 1."""
    edges = torch.arange(coarse + 1, dtype=like.dtype, device=like.device) * (fine / coarse)
    pixel = torch.arange(fine, dtype=like.dtype, device=like.device)
    return (torch.minimum(edges[1:, None], pixel + 1) - torch.maximum(edges[:-1, None], pixel)).clamp(min=0)


def elastic_transform(x: Tensor, severity: int, draws: Draws) -> Tensor:
    """A smooth random stretch (Simard, Steinkraus and Platt 2003), its size a share of the image's."""
    pixels = side(*x.shape[2:])
    share = strength(pixels, severity, (0.010, 0.017, 0.025, 0.035, 0.050), (0.005, 0.009, 0.014, 0.020, 0.030))
    height, width = x.shape[2:]
    field = smooth(draws.uniform(2, height, width, low=-1.0), max(0.5, 0.05 * pixels))
    field = field / field.square().mean(dim=(1, 2, 3), keepdim=True).sqrt().clamp(min=1e-12) * share * pixels
    down = torch.arange(height, device=x.device)[:, None] + field[:, 0]
    right = torch.arange(width, device=x.device)[None, :] + field[:, 1]
    grid = torch.stack([(2 * right + 1) / width - 1, (2 * down + 1) / height - 1], dim=-1).to(x.dtype)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def occlusion(x: Tensor, severity: int, draws: Draws) -> Tensor:
    """A grey square in front of the object, at a place of its own for each image."""
    share = (0.15, 0.22, 0.30, 0.40, 0.50)[severity - 1]
    height, width = x.shape[2:]
    centre = draws.uniform(2)
    reach = share * side(height, width) / 2
    down = (torch.arange(height, device=x.device) + 0.5 - centre[:, :1] * height).abs() <= reach
    right = (torch.arange(width, device=x.device) + 0.5 - centre[:, 1:] * width).abs() <= reach
    return torch.where((down[:, :, None] & right[:, None, :])[:, None], 0.5, x)
