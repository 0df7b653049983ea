"""The largest element of a window: which it is, or how far another may lie above it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor, fx
from torch.nn import functional

from attacks.certify.graph import NoRule

Pair: TypeAlias = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Windows:
    """x[below] <= result <= slope x[above] + offset, for every window; positions are within a channel's plane.

    Attributes:
        plane: height and width of a channel.
        below: int64 (n, channels, windows).
        above: int64 (n, channels, windows).
        slope: (n, channels, windows).
        high_offset: the offset, shaped like the result.
    """

    plane: tuple[int, int]
    below: Tensor
    above: Tensor
    slope: Tensor
    high_offset: Tensor

    @property
    def low_offset(self) -> Tensor:
        """The line below goes through the origin, (n, channels, ...)."""
        return torch.zeros_like(self.high_offset)

    def to(self, dtype: torch.dtype) -> Windows:
        """The same with slopes and offsets in another precision."""
        return replace(self, slope=self.slope.to(dtype), high_offset=self.high_offset.to(dtype))

    def size(self, low: Tensor, high: Tensor) -> Tensor:
        """Largest magnitude of what the lines are summed from."""
        reach = torch.maximum(low.abs(), high.abs()).flatten(2)
        reached = torch.maximum(reach.gather(2, self.below), reach.gather(2, self.above))
        return reached.view_as(self.high_offset) + self.high_offset.abs()

    def back(self, coefficients: Tensor, magnitude: Tensor) -> Tensor:
        """From coefficients of the result, (specs, n, channels, ...), and their magnitude to those of the elements."""
        specs = len(coefficients)
        up, down = ((coefficients + sign * magnitude).flatten(3) / 2 for sign in (1, -1))
        found = coefficients.new_zeros(*coefficients.shape[:3], self.plane[0] * self.plane[1])
        found.scatter_add_(3, self.below.expand(specs, -1, -1, -1), up)
        found.scatter_add_(3, self.above.expand(specs, -1, -1, -1), down * self.slope)
        return found.view(*found.shape[:3], *self.plane)


def settings(node: fx.Node) -> tuple[Pair, Pair, Pair, Pair]:
    """Kernel, stride, padding and dilation of a two-dimensional maximum.

    Raises:
        NoRule: windows that leave the padded plane.
    """
    given: list[Any] = list(node.args[1:])
    kernel, stride, padding, dilation, ceil = given + [None, [], 0, 1, False][len(given) :]
    if ceil:
        raise NoRule
    return _pair(kernel), _pair(stride or kernel), _pair(padding), _pair(dilation)


def _pair(value: Any) -> tuple[int, int]:
    return (int(value[0]), int(value[-1])) if isinstance(value, Sequence) else (int(value), int(value))


def _unfold(x: Tensor, node: fx.Node, fill: float) -> Tensor:
    """(n, channels, h, w) -> (n, channels, elements, windows)."""
    kernel, stride, padding, dilation = settings(node)
    padded = functional.pad(x, (padding[1], padding[1], padding[0], padding[0]), value=fill)
    n, channels = x.shape[:2]
    flat = padded.reshape(n * channels, 1, *padded.shape[2:])
    columns = functional.unfold(flat, kernel, dilation, 0, stride)
    return columns.view(n, channels, *columns.shape[1:])


def windows(node: fx.Node, low: Tensor, high: Tensor) -> Windows:
    """Straight bounds of the maximum over each window."""
    lows, highs = _unfold(low, node, -torch.inf), _unfold(high, node, -torch.inf)
    plane = torch.arange(low.shape[2] * low.shape[3], dtype=low.dtype, device=low.device).view(1, 1, *low.shape[2:])
    places = _unfold(plane, node, 0.0).long().expand_as(lows)
    lower = lows.argmax(2, keepdim=True)
    upper = highs.argmax(2, keepdim=True)
    others = highs.scatter(2, upper, -torch.inf).amax(2)
    least, most = lows.gather(2, upper)[:, :, 0], highs.gather(2, upper)[:, :, 0]
    # max(x, rest) with rest <= others is convex in x: below its chord from (least, base) to (most, most)
    base = torch.maximum(least, others)
    slope = torch.where(most > least, (most - base) / (most - least), 1.0).clamp(0, 1)
    offset = base - slope * least
    below, above = (places.gather(2, at)[:, :, 0] for at in (lower, upper))
    offset = (offset + 1e-12 * offset.abs()).view(node.meta["shape"])
    return Windows((low.shape[2], low.shape[3]), below, above, slope, offset)
