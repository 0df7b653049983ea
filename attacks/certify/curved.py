"""Operations that bend: straight lines below and above them.

A smooth function is held between two parallel lines along its chord: the largest and smallest distance to the chord is
taken over a grid and over its kinks, and between two grid points it cannot exceed the grid's by more than
`curvature` times the squared step over 8.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from attacks.certify.graph import NoRule

aten = torch.ops.aten
_GRID = 17
#: share of an intercept's size that is given away for the rounding of the lines themselves, in float64
_ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class Bend:
    """One number to one number, elementwise.

    Attributes:
        value: the function, on float64 tensors.
        kinks: where it has no slope.
        curvature: largest magnitude of the second derivative between kinks; None: unknown, or not bounded.
        valley: where it turns from falling to rising; None: it never falls.
        convex: it lies above each of its tangents.
        give: how far the operation may lie from `value`.
    """

    value: Callable[[Tensor], Tensor]
    kinks: tuple[float, ...] = ()
    curvature: float | None = 0.0
    valley: float | None = None
    convex: bool = False
    give: float = 0.0

    def range(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """Smallest and largest value between two numbers."""
        first, last = self.value(low), self.value(high)
        if self.valley is None:
            return first - self.give, last + self.give
        bottom = self.value(low.clamp(min=self.valley).minimum(high))
        return bottom - self.give, torch.maximum(first, last) + self.give


@dataclass(frozen=True, eq=False)
class Lines:
    """low_slope x + low_offset <= f(x) <= high_slope x + high_offset, elementwise."""

    low_slope: Tensor
    low_offset: Tensor
    high_slope: Tensor
    high_offset: Tensor

    def to(self, dtype: torch.dtype) -> Lines:
        """The same in another precision."""
        parts = (self.low_slope, self.low_offset, self.high_slope, self.high_offset)
        return Lines(*(part.to(dtype) for part in parts))

    def size(self, low: Tensor, high: Tensor) -> Tensor:
        """Largest magnitude of what the lines are summed from between two numbers."""
        slope = torch.maximum(self.low_slope.abs(), self.high_slope.abs()) * torch.maximum(low.abs(), high.abs())
        return slope + torch.maximum(self.low_offset.abs(), self.high_offset.abs())

    def apart(self, low: Tensor, high: Tensor) -> Tensor:
        """How far the lines lie from one another in the middle between two numbers."""
        return (self.high_slope - self.low_slope) * (low + high) / 2 + self.high_offset - self.low_offset

    def back(self, coefficients: Tensor, magnitude: Tensor) -> Tensor:
        """From coefficients of the result, (specs, n, ...), and their magnitude to those of the argument."""
        middle, half = (self.low_slope + self.high_slope) / 2, (self.low_slope - self.high_slope) / 2
        return coefficients * middle + magnitude * half


def lines(bend: Bend, low: Tensor, high: Tensor) -> Lines:
    """Straight bounds of a bend between two numbers."""
    width = high - low
    bottom, top = bend.range(low, high)
    flat = torch.zeros_like(low)
    if bend.curvature is None:
        return Lines(flat, bottom, flat, top)
    slope = ((bend.value(high) - bend.value(low)) / width).nan_to_num(0.0, 0.0, 0.0)
    points = [low + width * (i / (_GRID - 1)) for i in range(_GRID if bend.curvature else 0)]
    points += [low, high, *(low.clamp(min=kink).minimum(high) for kink in bend.kinks)]
    gaps = torch.stack([bend.value(point) - slope * point for point in points])
    give = bend.curvature * (width / (_GRID - 1)).square() / 8 + bend.give + _ROUNDING * (1 + gaps.abs().amax(0))
    found = Lines(slope, gaps.amin(0) - give, slope, gaps.amax(0) + give)
    if bend.convex and len(bend.kinks) == 1:
        # a tangent at the kink loses least: on the longer side it is exact
        kink = bend.kinks[0]
        right = high - kink > kink - low
        after, before = (bend.value(torch.tensor(kink + step)) - bend.value(torch.tensor(kink)) for step in (1.0, -1.0))
        tangent = torch.where(right, after.to(low), -before.to(low))
        crossing = (low < kink) & (high > kink)
        offset = bend.value(torch.full_like(low, kink)) - tangent * kink
        found = Lines(
            torch.where(crossing, tangent, slope),
            torch.where(crossing, offset, found.low_offset),
            slope,
            found.high_offset,
        )
    # where nothing is known but a half-line, or numbers overflow, the range alone remains
    odd = ~(found.low_offset.isfinite() & found.high_offset.isfinite() & slope.isfinite())
    return Lines(
        found.low_slope.masked_fill(odd, 0),
        torch.where(odd, bottom, found.low_offset),
        found.high_slope.masked_fill(odd, 0),
        torch.where(odd, top, found.high_offset),
    )


def straight(bend: Bend, low: Tensor, high: Tensor) -> Tensor:
    """Where the bend is straight between two numbers, so that tighter ones would gain nothing, bool."""
    if bend.curvature != 0:
        return low == high
    inside = torch.zeros_like(low, dtype=torch.bool)
    for kink in bend.kinks:
        inside |= (low < kink) & (high > kink)
    return ~inside


def bend_of(node: fx.Node) -> Bend | None:
    """What bends at this operation; None where it is none of these.

    Raises:
        NoRule: it is one, with settings that have no rule.
    """
    rule = _BENDS.get(node.target)
    return None if rule is None else rule(node)


def _with(node: fx.Node) -> Callable[[Tensor], Tensor]:
    """The operation with its settings, as a function of its first argument."""
    target, rest, named = node.target, node.args[1:], node.kwargs
    assert callable(target)

    def value(x: Tensor) -> Tensor:
        result: Tensor = target(x, *rest, **named)
        return result

    return value


def _number(node: fx.Node, index: int, otherwise: float) -> float:
    given = node.args[index] if len(node.args) > index else otherwise
    return otherwise if given is None else float(given)  # type: ignore[arg-type]


def _fixed(**properties: Any) -> Callable[[fx.Node], Bend]:
    return lambda node: Bend(_with(node), **properties)


def _leaky(node: fx.Node) -> Bend:
    slope = _number(node, 1, 0.01)
    if slope > 1 or slope < 0:
        raise NoRule
    return Bend(_with(node), kinks=(0.0,), convex=True)


def _clamp(node: fx.Node) -> Bend:
    low, high = _number(node, 1, -math.inf), _number(node, 2, math.inf)
    if node.target is aten.hardtanh.default:
        low, high = _number(node, 1, -1.0), _number(node, 2, 1.0)
    if node.target is aten.clamp_max.default:
        low, high = -math.inf, low
    return Bend(_with(node), kinks=tuple(limit for limit in (low, high) if math.isfinite(limit)))


def _elu(node: fx.Node) -> Bend:
    alpha, scale, inner = (_number(node, index, 1.0) for index in (1, 2, 3))
    if min(alpha, scale, inner) < 0:
        raise NoRule
    return Bend(_with(node), kinks=(0.0,), curvature=alpha * scale * inner**2)


def _softplus(node: fx.Node) -> Bend:
    beta, threshold = _number(node, 1, 1.0), _number(node, 2, 20.0)
    if beta <= 0 or threshold < 20:
        raise NoRule  # it jumps where it becomes the identity, by little from 20 on
    return Bend(lambda x: torch.logaddexp(x * beta, torch.zeros_like(x)) / beta, curvature=beta / 4, give=3e-9 / beta)


_BENDS: dict[Any, Callable[[fx.Node], Bend]] = {
    aten.relu.default: _fixed(kinks=(0.0,), convex=True),
    aten.leaky_relu.default: _leaky,
    aten.abs.default: _fixed(kinks=(0.0,), valley=0.0, convex=True),
    **dict.fromkeys(
        (aten.hardtanh.default, aten.clamp.default, aten.clamp_min.default, aten.clamp_max.default), _clamp
    ),
    aten.elu.default: _elu,
    aten.softplus.default: _softplus,
    aten.sigmoid.default: _fixed(curvature=0.0963),
    aten.tanh.default: _fixed(curvature=0.7699),
    aten.gelu.default: lambda node: Bend(
        _with(node), curvature=1.0, valley=-0.7524614 if node.kwargs.get("approximate") == "tanh" else -0.7517916,
        give=_ROUNDING,
    ),
    aten.silu.default: _fixed(curvature=0.5001, valley=-1.2784645, give=_ROUNDING),
    aten.hardsigmoid.default: _fixed(kinks=(-3.0, 3.0)),
    aten.hardswish.default: _fixed(kinks=(-3.0, 3.0), curvature=0.3334, valley=-1.5),
    aten.exp.default: _fixed(curvature=None),
    aten.log.default: _fixed(curvature=None),
}  # fmt: skip
