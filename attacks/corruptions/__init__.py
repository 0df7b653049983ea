"""Common corruptions of images, batched in torch on any device.

Source: Hendrycks and Dietterich 2019, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations".
Names and severities follow it; images of any size and any number of channels are taken, and parameters follow the
image's size (see `attacks.corruptions.scale`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from attacks.corruptions import blur, digital, noise, weather
from attacks.corruptions.error import mean_corruption_error
from attacks.corruptions.jpeg import jpeg_compression
from attacks.noise import Draws

__all__ = ["CORRUPTIONS", "FAMILY", "corrupt", "corruptions_for", "mean_corruption_error"]

Corruption: TypeAlias = Callable[[Tensor, int, Draws], Tensor]

_FAMILIES: dict[str, tuple[Corruption, ...]] = {
    "noise": (noise.gaussian_noise, noise.shot_noise, noise.impulse_noise, noise.speckle_noise),
    "blur": (blur.defocus_blur, blur.gaussian_blur, blur.glass_blur, blur.motion_blur, blur.zoom_blur),
    "weather": (weather.snow, weather.fog, weather.spatter, digital.brightness),
    "digital": (
        digital.contrast,
        digital.saturate,
        digital.elastic_transform,
        digital.pixelate,
        jpeg_compression,
        digital.occlusion,
    ),
}

#: name -> function of (images, severity, draws); the result is clipped to [0, 1] afterwards
CORRUPTIONS: dict[str, Corruption] = {f.__name__: f for family in _FAMILIES.values() for f in family}
#: name -> noise, blur, weather or digital
FAMILY: dict[str, str] = {f.__name__: family for family, members in _FAMILIES.items() for f in members}

# worked on at once: on a CPU what its cache holds, elsewhere a bound on memory
_ELEMENTS = {"cpu": 1 << 19}
_MOST_ELEMENTS = 1 << 24


def corruptions_for(channels: int) -> tuple[str, ...]:
    """Names of the corruptions that make sense for images of this many channels (`saturate` needs colour)."""
    return tuple(name for name in CORRUPTIONS if channels == 3 or name != "saturate")


@torch.no_grad()
def corrupt(inputs: Tensor, name: str, severity: int = 1, seed: int = 0, rows: Tensor | None = None) -> Tensor:
    """Corrupt images.

    Args:
        inputs: (n, C, H, W) floats in [0, 1], on any device.
        name: one of `CORRUPTIONS`.
        severity: 1 (slight) to 5 (strong).
        seed: equal seeds give equal corruptions.
        rows: (n,) int64, the rows' numbers, by default 0 to n - 1: a row's corruption depends on its number and not on
            the batch, so give the numbers when you corrupt a part of a larger set.

    Returns:
        (n, C, H, W) in [0, 1], type and device as given.

    Raises:
        ValueError: an argument is not as described; the message names it.
    """
    if name not in CORRUPTIONS:
        raise ValueError(f"Expected name to be one of {', '.join(CORRUPTIONS)}, found {name!r}.")
    if severity not in (1, 2, 3, 4, 5):
        raise ValueError(f"Expected severity to be 1, 2, 3, 4 or 5, found {severity!r}.")
    if inputs.ndim != 4 or not inputs.is_floating_point():
        raise ValueError(f"Expected inputs (n, C, H, W) of floats, found {tuple(inputs.shape)} of {inputs.dtype}.")
    numbers = torch.arange(len(inputs)) if rows is None else rows
    if numbers.shape != (len(inputs),):
        raise ValueError(f"Expected rows ({len(inputs)},), one number an image, found {tuple(numbers.shape)}.")
    out = torch.empty_like(inputs)
    if inputs.numel() == 0:
        return out
    low, high = inputs.aminmax()
    if not (bool(low >= 0) and bool(high <= 1)):
        raise ValueError("Expected inputs in [0, 1], found values outside or NaN; try dividing by 255.")
    numbers = numbers.to(inputs.device)
    size = max(1, _ELEMENTS.get(inputs.device.type, _MOST_ELEMENTS) // inputs[0].numel())
    for part, at, place in zip(*(torch.split(t, size) for t in (inputs, numbers, out)), strict=True):
        spoilt = CORRUPTIONS[name](part.to(torch.float32), int(severity), Draws(seed, name, at))
        place.copy_(spoilt.clamp_(0, 1))
    return out
