"""DeepLIFT's rules: how the change of an operation's output is shared among its inputs.

A rule returns a carrier: a tensor with the right gradient towards the inputs, whatever its own value. The runner in
`multipliers` gives it the true value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

Call: TypeAlias = Callable[..., Any]
Arguments: TypeAlias = Sequence[Any]
#: `call` runs the operation on changed leading arguments; then the arguments at the example (with a graph behind
#: them) and at the baseline; then the results at both
Rule: TypeAlias = Callable[[Call, Arguments, Arguments, Any, Any], Any]

#: a change of the argument below this share of it is no change: the slope is the derivative
SAME = 1e-9

# fmt: off
_ELEMENTWISE = {
    "relu", "gelu", "sigmoid", "tanh", "silu", "mish", "elu", "celu", "selu", "leaky_relu", "_prelu_kernel", "softplus",
    "hardtanh", "hardsigmoid", "hardswish", "hardshrink", "softshrink", "threshold", "relu6", "clamp", "clamp_min",
    "clamp_max", "abs", "exp", "expm1", "exp2", "log", "log1p", "log2", "log10", "sqrt", "rsqrt", "reciprocal", "square",
    "pow", "sin", "cos", "tan", "atan", "sinh", "cosh", "asinh", "erf", "erfc", "sign", "floor", "ceil", "round",
}
# fmt: on
_PRODUCTS = {"mul", "mm", "bmm", "mv", "dot", "convolution", "_convolution"}
_SQUARES = {"var", "var_mean"}
_POOLS = {"max_pool2d_with_indices", "max_pool3d_with_indices", "adaptive_max_pool2d", "adaptive_max_pool3d"}


class _As(torch.autograd.Function):
    """The first argument's value with the second's gradient."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, carrier: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor]:
        return None, gradients[0]


def as_value(value: Any, carrier: Any) -> Any:
    """The value with the carrier's gradient; item by item where an operation returns several."""
    if isinstance(carrier, tuple):
        return tuple(as_value(v, c) for v, c in zip(value, carrier, strict=True))
    if not carrier.requires_grad:
        return value
    return _As.apply(value.detach(), carrier)  # type: ignore[no-untyped-call]


def moves(argument: Any) -> bool:
    """Whether an argument depends on the example."""
    return isinstance(argument, Tensor) and argument.requires_grad


def find(name: str, arguments: Arguments) -> Rule | None:
    """The rule of an operation for these arguments; None where its derivative has to do."""
    moving = [moves(argument) for argument in arguments]
    if name in _ELEMENTWISE:
        return _slope if moving[0] and not any(moving[1:]) else None
    if name in _PRODUCTS:
        return _midpoint if all(moving[:2]) else None
    if name in _SQUARES:
        return _midpoint
    if name == "div":
        return _quotient if moving[1] and len(arguments) == 2 else None
    return _pool if name in _POOLS else _OTHERS.get(name)


def _slope(call: Call, args: Arguments, args0: Arguments, y: Tensor, y0: Tensor) -> Tensor:
    """Rescale rule: Δy / Δx where x moved, the derivative where it did not."""
    with torch.enable_grad():
        leaf = args[0].detach().requires_grad_(True)
        derivative = torch.autograd.grad(call(leaf).sum(), leaf)[0]
    carrier: Tensor = args[0] * _secant(leaf.detach(), args0[0], y, y0, derivative)
    return carrier


def _secant(x: Tensor, x0: Tensor, y: Tensor, y0: Tensor, derivative: Tensor) -> Tensor:
    moved = x - x0
    still = moved.abs() <= SAME * (x.abs() + x0.abs())
    slope = torch.where(still, derivative, (y - y0) / moved)
    # both at the same infinity: nothing changed there
    return slope.where(slope.isfinite(), 0)


def _midpoint(call: Call, args: Arguments, args0: Arguments, y: Any, y0: Any) -> Any:
    """The derivative half-way, which is the exact slope of a product or a sum of squares."""
    halfway = [
        a - a.detach() + (a.detach() + a0) / 2 if moves(a) else a for a, a0 in zip(args[:2], args0[:2], strict=True)
    ]
    return call(*halfway)


def _quotient(call: Call, args: Arguments, args0: Arguments, y: Tensor, y0: Tensor) -> Tensor:
    """Share the change as the product of a and 1 / b does."""
    a, a0 = torch.as_tensor(args[0]).to(y), torch.as_tensor(args0[0]).to(y)
    b, b0 = args[1].detach(), args0[1]
    carrier: Tensor = a * (1 / b + 1 / b0) / 2 - args[1] * (a.detach() + a0) / (2 * b * b0)
    return carrier


def _larger(call: Call, args: Arguments, args0: Arguments, y: Tensor, y0: Tensor) -> Tensor:
    """max(a, b) = (a + b + |a − b|) / 2."""
    carrier: Tensor = (args[0] + args[1] + _gap(args, args0)) / 2
    return carrier


def _smaller(call: Call, args: Arguments, args0: Arguments, y: Tensor, y0: Tensor) -> Tensor:
    carrier: Tensor = (args[0] + args[1] - _gap(args, args0)) / 2
    return carrier


def _gap(args: Arguments, args0: Arguments) -> Tensor:
    gap, gap0 = args[0] - args[1], args0[0] - args0[1]
    here = gap.detach()
    carrier: Tensor = gap * _secant(here, gap0, here.abs(), gap0.abs(), here.sign())
    return carrier


def _winner(x: Tensor, x0: Tensor, y: Tensor, y0: Tensor, at: Tensor, at0: Tensor) -> Tensor:
    """A maximum along the last dimension: whoever wins the larger side takes the whole change."""
    chosen = torch.where(y >= y0, at, at0)
    own, own0 = x.gather(-1, chosen), x0.gather(-1, chosen)
    return own * _secant(own.detach(), own0, y, y0, torch.ones_like(y))


def _pool(call: Call, args: Arguments, args0: Arguments, y: Any, y0: Any) -> Any:
    """Positions are flat over the pooled dimensions, the last two or three."""
    spatial = args[0].ndim - 2 if args[0].ndim > 3 else 2
    flat = [t.flatten(-spatial) for t in (args[0], args0[0], y[0], y0[0], y[1], y0[1])]
    return _winner(*flat).reshape(y[0].shape), y[1]


def _largest(call: Call, args: Arguments, args0: Arguments, y: Any, y0: Any) -> Any:
    """`amax`, and `max` over a dimension or over all."""
    x, x0 = args[0], args0[0]
    asked = args[1] if len(args) > 1 else []
    dims = sorted({d % x.ndim for d in ([asked] if isinstance(asked, int) else asked or range(x.ndim))})
    last = list(range(-len(dims), 0))
    flat, flat0 = (t.movedim(dims, last).flatten(-len(dims)) for t in (x, x0))
    (top, at), (top0, at0) = flat.detach().max(-1, keepdim=True), flat0.max(-1, keepdim=True)
    carrier = _winner(flat, flat0, top, top0, at, at0)
    return (carrier.reshape(y[0].shape), y[1]) if isinstance(y, tuple) else carrier.reshape(y.shape)


def _log_sum(x: Tensor, x0: Tensor, dim: Any) -> Tensor:
    """Log-sum-exp as a sum of exponentials and then a logarithm."""
    here = x.detach()
    top = torch.maximum(here.amax(dim, keepdim=True), x0.amax(dim, keepdim=True))
    top = top.where(top.isfinite(), 0)
    e, e0 = (here - top).exp(), (x0 - top).exp()
    carried = as_value(e, x * _secant(here, x0, e, e0, e)).sum(dim, keepdim=True)
    total, total0 = carried.detach(), e0.sum(dim, keepdim=True)
    # each from its own side: one of the sums may have vanished next to the other
    log, log0 = here.logsumexp(dim, keepdim=True), x0.logsumexp(dim, keepdim=True)
    return as_value(log, carried * _secant(total, total0, log, log0, 1 / total))  # type: ignore[no-any-return]


def _log_softmax(call: Call, args: Arguments, args0: Arguments, y: Tensor, y0: Tensor) -> Tensor:
    carrier: Tensor = args[0] - _log_sum(args[0], args0[0], args[1])
    return carrier


def _softmax(call: Call, args: Arguments, args0: Arguments, y: Tensor, y0: Tensor) -> Tensor:
    """The exponential of `log_softmax`."""
    log, log0 = args[0].detach().log_softmax(args[1]), args0[0].log_softmax(args[1])
    return _log_softmax(call, args, args0, log, log0) * _secant(log, log0, y, y0, y)


def _logsumexp(call: Call, args: Arguments, args0: Arguments, y: Tensor, y0: Tensor) -> Tensor:
    return _log_sum(args[0], args0[0], args[1]).reshape(y.shape)


_OTHERS: dict[str, Rule] = {
    "maximum": _larger,
    "minimum": _smaller,
    "amax": _largest,
    "max": _largest,
    "_softmax": _softmax,
    "_safe_softmax": _softmax,
    "_log_softmax": _log_softmax,
    "logsumexp": _logsumexp,
}
