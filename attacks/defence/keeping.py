"""What makes a training repeatable: seeds, copies, fingerprints, and global generators that stay as they were."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

Weights: TypeAlias = dict[str, Tensor]


def copied(weights: Mapping[str, Tensor]) -> Weights:
    """The same tensors in memory of their own."""
    return {name: value.detach().clone() for name, value in weights.items()}


def derive(*parts: int) -> int:
    """A seed of 63 bits that stands for these numbers."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()) >> 1


def fingerprint(*parts: object) -> str:
    """SHA-256 of values and tensors, in this order."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, Tensor):
            digest.update(repr((part.dtype, tuple(part.shape))).encode())
            digest.update(part.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        else:
            digest.update(repr(part).encode())
    return digest.hexdigest()


@contextmanager
def isolated(device: torch.device) -> Iterator[None]:
    """Every global generator comes back as it was."""
    plain, arrays = random.getstate(), np.random.get_state()  # noqa: NPY002 - the global state is the point
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield
    finally:
        random.setstate(plain)
        np.random.set_state(arrays)  # noqa: NPY002
