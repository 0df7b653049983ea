"""Random numbers that belong to an example, not to its place in a batch.

Every draw is a hash of (the example's bytes, the seed, a stream, a counter), so an attack gives the same answer for any
batch size, any order and any set of neighbours, and no generator, global or other, is touched.
"""

from __future__ import annotations

import hashlib
import math

import torch
from torch import Tensor

#: where in an attack a draw is made, e.g. (ATTACK, restart, step)
Stream = tuple[int, ...]

_GOLDEN = -0x61C8864680B583EB  # 2^64 / golden ratio, as a signed 64-bit integer
_MIX_1 = -0x40A7B892E31B1A47  # the multipliers of splitmix64 (Steele, Lea, Flood 2014)
_MIX_2 = -0x6B2FB644ECCEEE15
_BYTES = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def keys(flat: Tensor, labels: Tensor, seed: int) -> Tensor:
    """One 64-bit key an example, (m,), from its values (m, d), its label (m,) and the seed."""
    raw = flat.detach().contiguous().view(_BYTES[flat.element_size()]).cpu().numpy()
    salt = [f"{seed}/{label}".encode() for label in labels.tolist()]
    digests = [
        hashlib.blake2b(row.tobytes(), digest_size=8, key=key).digest() for row, key in zip(raw, salt, strict=True)
    ]
    numbers = [int.from_bytes(digest, "little", signed=True) for digest in digests]
    return torch.tensor(numbers, dtype=torch.int64, device=flat.device)


def _mix(state: Tensor) -> Tensor:
    """The finaliser of splitmix64; int64 products wrap around, shifts are made logical by a mask."""
    state = (state ^ (state >> 30 & (1 << 34) - 1)) * _MIX_1
    state = (state ^ (state >> 27 & (1 << 37) - 1)) * _MIX_2
    return state ^ (state >> 31 & (1 << 33) - 1)


def uniform(key: Tensor, stream: Stream, count: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Numbers uniform on (0, 1), never either end, (m, count)."""
    state = key
    for part in stream:
        state = _mix(state ^ _mix(torch.full_like(key, part + 1) * _GOLDEN))
    counter = torch.arange(1, count + 1, device=key.device) * _GOLDEN
    bits = _mix(state[:, None] + counter)
    kept = 52 if dtype == torch.float64 else 23  # one bit less than the mantissa, so that adding a half is exact
    whole: Tensor = bits >> (64 - kept) & (1 << kept) - 1
    return (whole.to(dtype) + 0.5) / float(2**kept)


def normal(key: Tensor, stream: Stream, count: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Standard normal numbers, (m, count), by Box and Muller (1958)."""
    half = -(-count // 2)
    first, second = uniform(key, stream, 2 * half, dtype).chunk(2, dim=1)
    radius, angle = (-2 * first.log()).sqrt(), 2 * math.pi * second
    return torch.cat([radius * angle.cos(), radius * angle.sin()], dim=1)[:, :count]


def integers(key: Tensor, stream: Stream, count: int, below: int) -> Tensor:
    """Integers of 0, ..., below - 1, int64 (m, count)."""
    return (uniform(key, stream, count, torch.float64) * below).long()
