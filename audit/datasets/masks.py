"""Masks: where people marked, in each picture, what the answer is about."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from audit.datasets.archives import plain
from audit.datasets.raw import Raw
from audit.errors import DataError, nearest

if TYPE_CHECKING:
    from torch import Tensor


def part(raw: Raw, name: str | None, split: str, path: Path, needed: bool) -> tuple[Raw, Tensor | None]:
    """Take the array of masks out of what was read, (n, height, width) bool; what is not 0 is marked.

    Args:
        raw: one split as stored.
        name: of the array, with or without its split; None takes nothing out.
        split: which split it is.
        path: for messages.
        needed: whether it must be there; the training split may lack it.

    Raises:
        DataError: it is not there, or does not fit the pictures.
    """
    import torch

    if name is None:
        return raw, None
    stored = name if name in raw.arrays else plain(name, split)
    if stored not in raw.arrays:
        if needed:
            raise DataError(f"Expected an array of masks {stored!r} in {path}, found none{nearest(stored, raw.arrays)}")
        return raw, None
    others = {key: array for key, array in raw.arrays.items() if key != stored}
    masks = raw.arrays[stored]
    masks = masks[..., 0] if masks.ndim == 4 and masks.shape[3] == 1 else masks
    masks = masks[:, 0] if masks.ndim == 4 and masks.shape[1] == 1 else masks
    # a side of the pictures may be their channels, which come first or last
    fits = [a for a in others.values() if a.ndim > 2 and masks.shape[1:] in (a.shape[1:3], a.shape[2:4])]
    if masks.ndim != 3 or masks.dtype.kind not in "buif" or not fits:
        sizes = ", ".join(f"{key!r} of shape {array.shape}" for key, array in others.items() if array.ndim > 2)
        raise DataError(
            f"Expected masks of shape (n, height, width) like the pictures, found {stored!r} of shape {masks.shape} "
            f"beside {sizes or 'no pictures'} in {path}; try one mask a picture, at its size."
        )
    return replace(raw, arrays=others), torch.from_numpy(np.ascontiguousarray(masks != 0))
