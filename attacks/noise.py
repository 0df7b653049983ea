"""Random numbers that belong to an example, not to its place in a batch.

Every draw is a hash of (the example's bytes or its number, the seed, a stream, a counter), so an attack gives the same
answer for any batch size, any order and any set of neighbours, and no generator, global or other, is touched. The hash
is the finaliser of SplitMix64 (Steele, Lea and Flood 2014) over a counter.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable

import torch
from torch import Tensor

#: where in an attack a draw is made, e.g. (ATTACK, restart, step)
Stream = tuple[int, ...]

_GOLDEN = -0x61C8864680B583EB  # 2^64 / golden ratio, as a signed 64-bit integer
_MIX_1 = -0x40A7B892E31B1A47
_MIX_2 = -0x6B2FB644ECCEEE15
_BYTES = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
# words hashed at once: on a CPU what stays in its cache, elsewhere a bound on memory
_TILE = {"cpu": 1 << 17}
_LARGE_TILE = 1 << 26


def keys(flat: Tensor, labels: Tensor, seed: int) -> Tensor:
    """One 64-bit key an example, (m,), from its values (m, d), its label (m,) and the seed."""
    raw = flat.detach().contiguous().view(_BYTES[flat.element_size()]).cpu().numpy()
    salt = [f"{seed}/{label}".encode() for label in labels.tolist()]
    digests = [
        hashlib.blake2b(row.tobytes(), digest_size=8, key=key).digest() for row, key in zip(raw, salt, strict=True)
    ]
    numbers = [int.from_bytes(digest, "little", signed=True) for digest in digests]
    return torch.tensor(numbers, dtype=torch.int64, device=flat.device)


def row_keys(rows: Tensor, seed: int, name: str) -> Tensor:
    """One 64-bit key a row, (m,), from its number (m,), the seed (any integer) and what the draws are for."""
    return _mix(rows.to(torch.int64) * _GOLDEN + _digest(seed, name))


def uniform(key: Tensor, stream: Stream, count: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Numbers uniform on (0, 1), never either end, (m, count)."""
    out = torch.empty(len(key), count, dtype=dtype, device=key.device)
    if dtype == torch.float64:
        _fill(key, stream, count, lambda words, rows, at: out[rows, at].copy_(_unit_double(words)))
        return out

    def write(words: Tensor, rows: slice, at: slice) -> None:
        part = slice(2 * at.start, min(2 * at.stop, count))
        out[rows, part] = _unit(words.view(torch.int32))[:, : part.stop - part.start]

    _fill(key, stream, -(-count // 2), write)
    return out


def normal(key: Tensor, stream: Stream, count: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Standard normal numbers, (m, count), by Box and Muller (1958)."""
    half = -(-count // 2)
    out = torch.empty(len(key), 2 * half, dtype=dtype, device=key.device)
    if dtype == torch.float64:
        first, second = uniform(key, stream, 2 * half, dtype).chunk(2, dim=1)
        _pair(first, second, out[:, :half], out[:, half:])
        return out[:, :count]

    def write(words: Tensor, rows: slice, at: slice) -> None:
        bits = words.view(torch.int32)
        first, second = _unit(bits[:, ::2]), _unit(bits[:, 1::2])
        _pair(first, second, out[rows, at], out[rows, half + at.start : half + at.stop])

    _fill(key, stream, half, write)
    return out[:, :count]


def integers(key: Tensor, stream: Stream, count: int, below: int) -> Tensor:
    """Integers of 0, ..., below - 1, int64 (m, count)."""
    return (uniform(key, stream, count, torch.float64) * below).long()


class Draws:
    """A source of random numbers for some rows, which never gives the same twice.

    Args:
        seed: any integer.
        name: what the numbers are for; different names draw independent numbers.
        rows: (n,) int64, the numbers of the rows they are for; also says on which device they are drawn.
    """

    def __init__(self, seed: int, name: str, rows: Tensor) -> None:
        self._keys = row_keys(rows, seed, name)
        self._calls = 0

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """(n, *shape) float32, uniform between `low` and `high`, both excluded but for rounding."""
        self._calls += 1
        unit = uniform(self._keys, (self._calls,), math.prod(shape)).reshape(-1, *shape)
        return unit if (low, high) == (0.0, 1.0) else unit.mul_(high - low).add_(low)

    def normal(self, *shape: int) -> Tensor:
        """(n, *shape) float32, standard normal."""
        self._calls += 1
        return normal(self._keys, (self._calls,), math.prod(shape)).reshape(-1, *shape)


def _digest(*parts: object) -> int:
    """64 bits that stand for these, as a signed integer."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def _mix(state: Tensor) -> Tensor:
    """SplitMix64's finaliser, in place; int64 products wrap around, shifts are made logical by a mask."""
    for shift, factor in ((30, _MIX_1), (27, _MIX_2)):
        state ^= (state >> shift).bitwise_and_((1 << 64 - shift) - 1)
        state *= factor
    state ^= (state >> 31).bitwise_and_((1 << 33) - 1)
    return state


def _fill(key: Tensor, stream: Stream, count: int, write: Callable[[Tensor, slice, slice], object]) -> None:
    """Hash (m, count) words tile by tile and hand each tile on, with the rows and columns it belongs to."""
    state = _mix(key ^ _digest(*stream))
    tile = _TILE.get(key.device.type, _LARGE_TILE)
    width, height = max(1, min(count, tile)), max(1, tile // max(1, count))
    counter = torch.arange(1, count + 1, device=key.device) * _GOLDEN
    for top in range(0, len(key), height):
        rows = slice(top, min(top + height, len(key)))
        for left in range(0, count, width):
            at = slice(left, min(left + width, count))
            write(_mix(state[rows, None] + counter[at]), rows, at)


def _unit(bits: Tensor) -> Tensor:
    """Any 32 bits as a float32 in the middle of one of 2^23 cells of (0, 1): they become the mantissa of 1 to 2."""
    return (bits & 0x7FFFFF).bitwise_or_(0x3F800000).view(torch.float32).sub_(1 - 2.0**-24)


def _unit_double(words: Tensor) -> Tensor:
    """64 bits as a float64 in the middle of one of 2^52 cells of (0, 1)."""
    return (words & (1 << 52) - 1).bitwise_or_(0x3FF << 52).view(torch.float64).sub_(1 - 2.0**-53)


def _pair(first: Tensor, second: Tensor, cosine: Tensor, sine: Tensor) -> None:
    """Two uniform numbers become two independent normal ones, written to the last two arguments."""
    radius, angle = first.log().mul_(-2).sqrt_(), second * (2 * math.pi)
    torch.mul(radius, angle.cos(), out=cosine)
    torch.mul(radius, angle.sin_(), out=sine)
