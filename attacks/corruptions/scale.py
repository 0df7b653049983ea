"""Published severities fitted to the size of the image.

Hendrycks and Dietterich (2019) give one table for images of 32 pixels (CIFAR-10-C) and one for 224 (ImageNet-C). In
between, parameters are interpolated in the logarithm of the size. Beyond the two, lengths in pixels grow and shrink
with the image; other parameters stay at the nearer table's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

SMALL, LARGE = 32, 224


def side(height: int, width: int) -> int:
    """The length that stands for the image's size, in pixels."""
    return min(height, width)


def strength(pixels: int, severity: int, small: Sequence[float], large: Sequence[float]) -> float:
    """A parameter without a length's unit.

    Args:
        pixels: the image's size.
        severity: 1 to 5.
        small: the five values at 32 pixels.
        large: the five values at 224 pixels.
    """
    at = math.log(min(max(pixels, SMALL), LARGE) / SMALL) / math.log(LARGE / SMALL)
    return small[severity - 1] * (1 - at) + large[severity - 1] * at


def length(pixels: int, severity: int, small: Sequence[float], large: Sequence[float]) -> float:
    """A length in pixels; arguments as for `strength`."""
    beyond = pixels / min(max(pixels, SMALL), LARGE)
    return strength(pixels, severity, small, large) * beyond
