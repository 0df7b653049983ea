"""Operations whose result is linear in what moves, plus a constant."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from attacks.certify.graph import NoRule

aten = torch.ops.aten
Linear = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Affine:
    """sum over parts of linear(node) + offset.

    Attributes:
        parts: the moving node, the linear map, and the same map with the magnitudes of its coefficients.
        offset: constant, or 0.
        offset_size: sum of the magnitudes the constant is made of.
        terms: products and sums behind one element of the result; 0 where elements are only moved about.
        fan: elements of the result that one element of a part goes into.
    """

    parts: tuple[tuple[fx.Node, Linear, Linear], ...]
    offset: Tensor | float = 0.0
    offset_size: Tensor | float = 0.0
    terms: int = 0
    fan: int = 1


Values = Callable[[Any], Any]
"""From an argument to its value: tensors in float64; a node that moves stays a node."""


def _moved(target: Any, node: fx.Node, value: Values) -> Affine:
    """Elements are moved about, or copied."""
    source = node.args[0]
    assert isinstance(source, fx.Node)
    rest, named = [value(a) for a in node.args[1:]], dict(node.kwargs)

    def move(x: Tensor) -> Tensor:
        result: Tensor = target(x, *rest, **named)
        return result

    return Affine(((source, move, move),), fan=_fan(node))


def _fan(node: fx.Node) -> int:
    """How often elements that are only repeated are, at most."""
    size: int = math.prod(node.meta["shape"])
    sources: list[int] = [math.prod(n.meta["shape"]) for n in node.all_input_nodes if "shape" in n.meta]
    return -(-size // min(sources))


def _averaged(target: Any, node: fx.Node, value: Values) -> Affine:
    """Sums with equal weights above 0."""
    plain = _moved(target, node, value)
    shape = node.args[0].meta["shape"]  # type: ignore[union-attr]
    count = math.prod(shape[1:])
    return Affine(plain.parts, terms=count, fan=count)


def _same(target: Any, node: fx.Node, value: Values) -> Affine:
    """The result is the input; a change of precision rounds it."""
    source = node.args[0]
    dtype = node.kwargs.get("dtype")
    if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise NoRule
    assert isinstance(source, fx.Node)
    return Affine(((source, identity, identity),), terms=1 if dtype is not None else 0)


def identity(x: Tensor) -> Tensor:
    """Nothing happens to x."""
    return x


def _concatenated(target: Any, node: fx.Node, value: Values) -> Affine:
    """Moving and constant tensors side by side: each is padded with zeros to its place."""
    tensors = [value(part) for part in node.args[0]]  # type: ignore[union-attr]
    shapes = [list(part.meta["shape"] if isinstance(part, fx.Node) else part.shape) for part in tensors]
    dim = int(node.args[1]) % len(shapes[0]) if len(node.args) > 1 else 0  # type: ignore[arg-type]
    total, start = sum(shape[dim] for shape in shapes), 0
    parts: list[tuple[fx.Node, Linear, Linear]] = []
    offset: Any = 0.0
    for part, shape in zip(tensors, shapes, strict=True):
        pads = [0, 0] * (len(shape) - dim - 1) + [start, total - start - shape[dim]]

        def place(x: Tensor, pads: list[int] = pads) -> Tensor:
            return torch.nn.functional.pad(x, pads)

        if isinstance(part, fx.Node):
            parts.append((part, place, place))
        else:
            offset = offset + place(part)
        start += shape[dim]
    return Affine(tuple(parts), offset, abs(offset))


def _padded(target: Any, node: fx.Node, value: Values) -> Affine:
    """A frame of one number, 0 where none is given."""
    source, pads = node.args[:2]
    fill: Any = node.args[2] if len(node.args) > 2 else 0.0
    assert isinstance(source, fx.Node)

    def pad(x: Tensor) -> Tensor:
        result: Tensor = target(x, pads)
        return result

    empty = torch.zeros(source.meta["shape"], dtype=torch.float64, device=source.meta["device"])
    offset = target(empty, pads, fill)
    return Affine(((source, pad, pad),), offset, offset.abs())


def _sum(target: Any, node: fx.Node, value: Values) -> Affine:
    """Sums and differences, of moving and constant tensors or numbers; the second may have a factor."""
    left, right = (value(argument) for argument in node.args[:2])
    factor = float(node.kwargs.get("alpha", node.args[2] if len(node.args) > 2 else 1))  # type: ignore[arg-type]
    name = target.overloadpacket.__name__
    signs = {"add": (1.0, factor), "sub": (1.0, -factor), "rsub": (-factor, 1.0)}[name]
    shape = node.meta["shape"]
    parts: list[tuple[fx.Node, Linear, Linear]] = []
    offset: Any = 0.0
    for operand, sign in zip((left, right), signs, strict=True):
        if isinstance(operand, fx.Node):
            parts.append((operand, _scaled(sign, shape), _scaled(abs(sign), shape)))
        else:
            offset = offset + sign * operand
    return Affine(tuple(parts), offset, abs(offset), 2, _fan(node))


def _scaled(factor: Tensor | float, shape: torch.Size) -> Linear:
    return lambda x: (x * factor).expand(shape)


def _negated(target: Any, node: fx.Node, value: Values) -> Affine:
    source = node.args[0]
    assert isinstance(source, fx.Node)
    return Affine(((source, torch.neg, identity),))


def _product(target: Any, node: fx.Node, value: Values) -> Affine:
    """A moving tensor times, or divided by, a constant."""
    left, right = (value(argument) for argument in node.args[:2])
    divides = target.overloadpacket.__name__ == "div"
    if (isinstance(right, fx.Node) and (divides or isinstance(left, fx.Node))) or len(node.args) > 2 or node.kwargs:
        raise NoRule
    source, factor = (right, left) if isinstance(right, fx.Node) else (left, 1 / right if divides else right)
    shape = node.meta["shape"]
    return Affine(((source, _scaled(factor, shape), _scaled(abs(factor), shape)),), terms=2, fan=_fan(node))


def _matrix(target: Any, node: fx.Node, value: Values) -> Affine:
    """Matrix products with one constant side, plus a constant (`addmm`) or not (`mm`, `bmm`)."""
    *added, left, right = (value(argument) for argument in node.args)
    if node.kwargs or isinstance(left, fx.Node) == isinstance(right, fx.Node) or isinstance([*added, 0][0], fx.Node):
        raise NoRule
    offset = added[0] if added else 0.0
    if isinstance(left, fx.Node):
        size = right.abs()
        return Affine(
            ((left, lambda x: x @ right, lambda x: x @ size),),
            offset,
            abs(offset),
            right.shape[-2] + 1,
            right.shape[-1],
        )
    size = left.abs()
    return Affine(
        ((right, lambda x: left @ x, lambda x: size @ x),), offset, abs(offset), left.shape[-1] + 1, left.shape[-2]
    )


def _convolution(target: Any, node: fx.Node, value: Values) -> Affine:
    source, weight, bias, *settings = (value(argument) for argument in node.args)
    settings = settings[:6]  # stride, padding, dilation, transposed, output padding, groups; the rest is for cuDNN
    if isinstance(weight, fx.Node) or isinstance(bias, fx.Node):
        raise NoRule
    size = weight.abs()
    offset = 0.0 if bias is None else bias.view(-1, *(1,) * (weight.ndim - 2))
    terms = weight[0].numel() * (1 if not settings[3] else weight.shape[0]) + 1

    fan = weight[0].numel() if settings[3] else weight.numel() // weight.shape[1]

    def convolve(x: Tensor) -> Tensor:
        return torch.convolution(x, weight, None, *settings)

    def absolute(x: Tensor) -> Tensor:
        return torch.convolution(x, size, None, *settings)

    return Affine(((source, convolve, absolute),), offset, abs(offset), terms, fan)


def _batch_norm(target: Any, node: fx.Node, value: Values) -> Affine:
    """Eval mode: running moments, one number a channel."""
    source, weight, bias, mean, variance, *rest = (value(argument) for argument in node.args)
    if rest[0] is True or mean is None:
        raise NoRule
    shape = node.args[0].meta["shape"]  # type: ignore[union-attr]
    scale = (variance + rest[-1]).rsqrt() * (1.0 if weight is None else weight)
    shift = mean * scale
    spread = (-1, *(1,) * (len(shape) - 2))
    offset = (0.0 if bias is None else bias) - shift
    size = shift.abs() + (0.0 if bias is None else bias.abs())
    scale = scale.view(spread)
    # the factor itself is rounded a few times before it is used
    return Affine(
        ((source, _scaled(scale, shape), _scaled(scale.abs(), shape)),), offset.view(spread), size.view(spread), terms=8
    )


Builder = Callable[[Any, fx.Node, Values], Affine]
RULES: dict[Any, Builder] = {
    **dict.fromkeys(
        (
            aten.view.default, aten._unsafe_view.default, aten.reshape.default, aten.permute.default, aten.t.default,
            aten.transpose.int, aten.unsqueeze.default, aten.squeeze.dim, aten.squeeze.dims, aten.select.int,
            aten.slice.Tensor, aten.expand.default, aten.flip.default, aten.upsample_nearest2d.default,
        ),
        _moved,
    ),
    **dict.fromkeys(
        (
            aten.avg_pool2d.default, aten._adaptive_avg_pool2d.default, aten.mean.dim, aten.sum.dim_IntList,
            aten.avg_pool1d.default, aten.adaptive_avg_pool1d.default,
        ),
        _averaged,
    ),
    **dict.fromkeys(
        (aten.clone.default, aten.detach.default, aten.alias.default, aten._to_copy.default, aten.lift_fresh_copy.default),
        _same,
    ),
    aten.cat.default: _concatenated,
    aten.constant_pad_nd.default: _padded,
    **dict.fromkeys(
        (aten.add.Tensor, aten.sub.Tensor, aten.rsub.Scalar, aten.rsub.Tensor, aten.add.Scalar, aten.sub.Scalar), _sum
    ),
    aten.neg.default: _negated,
    **dict.fromkeys((aten.mul.Tensor, aten.div.Tensor, aten.mul.Scalar, aten.div.Scalar), _product),
    **dict.fromkeys((aten.addmm.default, aten.mm.default, aten.bmm.default), _matrix),
    **dict.fromkeys((aten._convolution.default, aten.convolution.default), _convolution),
    **dict.fromkeys(
        (
            aten.native_batch_norm.default, aten._native_batch_norm_legit_no_training.default,
            aten.cudnn_batch_norm.default,
        ),
        _batch_norm,
    ),
}  # fmt: skip
