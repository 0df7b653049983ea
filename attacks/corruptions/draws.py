"""Random numbers that depend on the seed, the row and the element only, never on the batch or the device.

A counter-based generator: every number is the SplitMix64 finaliser (Steele, Lea and Flood 2014) of its own counter, so
that a whole batch is drawn at once, any subset of rows draws the same numbers, and no state is kept.
"""

from __future__ import annotations

import math
import zlib

import torch
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15
_FIRST = 0xBF58476D1CE4E5B9
_SECOND = 0x94D049BB133111EB


def _signed(value: int) -> int:
    """The int64 that has the bits of this 64-bit word."""
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value


def _mix(z: Tensor) -> Tensor:
    """SplitMix64's finaliser, in place; torch shifts int64 arithmetically, so the sign bits are masked away."""
    for shift, factor in ((30, _FIRST), (27, _SECOND)):
        z ^= (z >> shift) & ((1 << (64 - shift)) - 1)
        z *= _signed(factor)
    z ^= (z >> 31) & ((1 << 33) - 1)
    return z


class Draws:
    """A source of random numbers for some rows.

    Args:
        seed: any integer.
        stream: a name; different names draw independent numbers.
        rows: (n,) int64, which rows the numbers are for; also says on which device they are drawn.
    """

    def __init__(self, seed: int, stream: str, rows: Tensor) -> None:
        key = torch.tensor([_signed(seed * _GOLDEN + zlib.crc32(stream.encode()))], dtype=torch.int64)
        self._keys = _mix(_mix(key).to(rows.device) + rows.to(torch.int64) * _signed(_GOLDEN))
        self._calls = 0

    def _words(self, count: int) -> Tensor:
        """(n, count) int64, all 64 bits random; every call draws anew."""
        self._calls += 1
        keys = _mix(self._keys + _signed(self._calls * _SECOND))
        counters = torch.arange(1, count + 1, dtype=torch.int64, device=keys.device) * _signed(_GOLDEN)
        return _mix(keys[:, None] + counters)

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """(n, *shape) float32, uniform between `low` and `high`, both excluded but for rounding."""
        words = self._words(math.prod(shape))
        unit = _unit(words >> 40)
        return unit.mul_(high - low).add_(low).reshape(-1, *shape)

    def normal(self, *shape: int) -> Tensor:
        """(n, *shape) float32, standard normal (Box and Muller 1958: one 64-bit word gives two)."""
        count = math.prod(shape)
        words = self._words((count + 1) // 2)
        radius = _unit(words >> 40).log_().mul_(-2).sqrt_()
        angle = _unit(words >> 16).mul_(2 * math.pi)
        both = torch.cat([radius * angle.cos(), radius * angle.sin()], dim=1)
        return both[:, :count].reshape(-1, *shape)


def _unit(bits: Tensor) -> Tensor:
    """The low 24 bits as a float32 in the middle of its cell of (0, 1)."""
    return (bits & 0xFFFFFF).to(torch.float32).add_(0.5).mul_(2.0**-24)
