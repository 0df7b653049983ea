"""Pictures and heat maps small enough for a record."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

#: longest side of a picture or a heat map in the record, in pixels
SIDE = 96

Heat = tuple[tuple[float, ...], ...]


def png(image: Tensor, low: float, high: float) -> str:
    """A picture as base64-encoded PNG, at most `SIDE` pixels a side.

    Args:
        image: (1 or 3, height, width); of other channel counts the mean is shown.
        low: value shown black.
        high: value shown white.
    """
    from PIL import Image

    values = image.detach().cpu().numpy().astype(np.float64)
    if values.shape[0] != 3:
        values = values.mean(0, keepdims=True)
    scaled = np.clip((values - low) / ((high - low) or 1.0), 0, 1) * 255
    pixels = scaled.round().astype(np.uint8)
    picture = Image.fromarray(pixels.transpose(1, 2, 0) if len(pixels) == 3 else pixels[0])
    picture.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def of_cells(values: NDArray[np.float64], height: int, width: int) -> Heat:
    """One value a grid cell, (cells,), as rows of a heat map for a picture of this size."""
    from audit.explainers.segments import grid_shape
    from audit.explaining.players import cells_of

    return heat(values.reshape(grid_shape(cells_of(height, width))))


def of_elements(values: NDArray[np.float64]) -> Heat:
    """Values of input elements (channels, height, width), added up over channels and over blocks of pixels."""
    total = values.sum(0)
    side = -(-max(total.shape) // (SIDE // 3))
    height, width = (-(-length // side) * side for length in total.shape)
    padded = np.zeros((height, width))
    padded[: total.shape[0], : total.shape[1]] = total
    return heat(padded.reshape(height // side, side, width // side, side).sum((1, 3)))


def heat(values: NDArray[np.float64]) -> Heat:
    """Rows rounded to two digits of the largest magnitude, which is all a picture can show."""
    largest = float(np.abs(values).max(initial=0.0)) or 1.0
    return tuple(tuple(round(float(v), 2) for v in row) for row in values / largest)
