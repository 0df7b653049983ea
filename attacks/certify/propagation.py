"""Bounds of every operation, forwards as intervals and backwards as straight lines."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch.func import vjp, vmap
from torch.nn import functional

from attacks.certify import affine, curved, pooling
from attacks.certify.affine import Affine
from attacks.certify.ball import Ball
from attacks.certify.curved import Bend, Lines
from attacks.certify.graph import Program
from attacks.certify.pooling import Windows

aten = torch.ops.aten
_MAXIMA = {aten.max_pool2d_with_indices.default}
#: coefficients in one tensor: on a CPU what stays in its cache, elsewhere a bound on memory
_COEFFICIENTS = {"cpu": 1 << 20}
_MANY_COEFFICIENTS = 1 << 26
#: numbers added up in the precision of lines before the sum goes on in float64
_BLOCK = 256


@dataclass(frozen=True, eq=False)
class Step:
    """One operation with its rule: exactly one of the three, or none where it is the input or hands on a result."""

    node: fx.Node
    source: fx.Node | None = None
    affine: Affine | None = None
    bend: Bend | None = None


class Network:
    """The operations of a program, with rules.

    Args:
        program: what the model does.
        lines: precision in which lines are carried back; what that loses is given away.

    Raises:
        ValueError: an operation has no rule; the message names it.
    """

    def __init__(self, program: Program, lines: torch.dtype) -> None:
        self._program = program
        last = program.nodes.index(program.output)
        nodes = program.nodes[: last + 1]
        self._steps = [self._rule(node, torch.float64) for node in nodes]
        self._back = [self._rule(node, lines) for node in reversed(nodes)]
        # what rounding and offsets add in front of linear operations alone, these hand on
        straight = {step.node for step in self._steps if step.affine is not None}
        self._handed = {node for node in straight if all(user in straight for user in node.users)}
        self._handed.discard(program.output)
        self._dtype, self._grain = lines, torch.finfo(lines).eps / 2
        self._bounds: dict[fx.Node, tuple[Tensor, Tensor]] = {}
        self._lines: dict[fx.Node, Lines | Windows] = {}
        # under coefficients c of a result, its lines add offset . c - give . |c|
        self._offset: dict[fx.Node, Tensor] = {}
        self._give: dict[fx.Node, Tensor] = {}

    def _value(self, argument: Any, dtype: torch.dtype) -> Any:
        if isinstance(argument, fx.Node):
            if argument not in self._program.constants:
                return argument
            found = self._program.constants[argument]
            return found.to(dtype) if isinstance(found, Tensor) and found.is_floating_point() else found
        if isinstance(argument, list | tuple):
            return type(argument)(self._value(part, dtype) for part in argument)
        return argument

    def _rule(self, node: fx.Node, dtype: torch.dtype) -> Step:
        source = next((n for n in node.all_input_nodes if n not in self._program.constants), None)
        if node.op == "placeholder":
            return Step(node)
        try:
            if node.target is operator.getitem and node.args[1] == 0:
                return Step(node, source, Affine(((node.args[0], affine.identity, affine.identity),)))  # type: ignore[arg-type]
            if node.target in affine.RULES:
                return Step(node, source, affine.RULES[node.target](node.target, node, lambda v: self._value(v, dtype)))
            bend = curved.bend_of(node)
            if bend is not None:
                return Step(node, source, bend=bend)
            if node.target in _MAXIMA:
                pooling.settings(node)
                return Step(node, source)
        except NotImplementedError:
            pass
        raise ValueError(f"Expected operations with a rule for bounds, found {node.target}; try randomised smoothing.")

    def run(self, ball: Ball, tighten: int) -> None:
        """Bound every operation over the ball; at most `tighten` inputs of each bend also by lines back to the input."""
        bent = False
        for step in self._steps:
            node = step.node
            if step.source is None:
                self._bounds[node] = ball.low, ball.high
                reach = torch.maximum(ball.low.abs(), ball.high.abs())
                self._give[node] = self._given(self._block(reach) * self._grain * reach)
                continue
            if step.affine is not None:
                self._through(node, step.affine)
                continue
            if tighten and step.bend is not None and (bent or ball.norm != "linf"):
                self._tighten(step.source, step.bend, ball, tighten)
            bent = True
            self._past(step, *self._bounds[step.source])

    def _through(self, node: fx.Node, rule: Affine) -> None:
        """Bounds behind a linear operation, and what rounding can add to them."""
        like = self._bounds[rule.parts[0][0]][0]
        centre = torch.zeros(node.meta["shape"], dtype=like.dtype, device=like.device) + rule.offset
        size = torch.zeros_like(centre) + rule.offset_size
        offset, give, radius = centre, torch.zeros_like(centre), torch.zeros_like(centre)
        for source, linear, absolute in rule.parts:
            low, high = self._bounds[source]
            if source in self._handed:
                offset = offset + linear(self._offset[source].double())
                give = give + absolute(self._give[source].double())
            centre = centre + linear((low + high) / 2)
            radius = radius + absolute((high - low) / 2)
            size = size + absolute(torch.maximum(low.abs(), high.abs()))
        if rule.terms or rule.parts[0][1] is not affine.identity:
            unit, store = _rounding(node)
            slack = (rule.terms * unit + store) * size if rule.terms else torch.zeros_like(size)
            radius = radius + slack
            # lines: sums of as many products as go into one coefficient, and of its product with the offset
            give = give + slack + (rule.fan + self._block(size)) * self._grain * size
        self._offset[node], self._give[node] = offset.to(self._dtype), self._given(give)
        self._bounds[node] = centre - radius, centre + radius

    def _past(self, step: Step, low: Tensor, high: Tensor) -> None:
        """Bounds behind a bend or a maximum, and lines around it."""
        node, bend = step.node, step.bend
        lines: Lines | Windows
        if bend is None:
            kernel, stride, padding, dilation = pooling.settings(node)
            first, last = (functional.max_pool2d(x, kernel, stride, padding, dilation) for x in (low, high))
            lines = pooling.windows(node, low, high)
        else:
            first, last = bend.range(low, high)
            lines = curved.lines(bend, low, high)
        size = torch.maximum(first.abs(), last.abs())
        # curved functions are evaluated to a few units; straight ones exactly
        curves = bend is not None and bend.curvature != 0
        slack = 8 * sum(_rounding(node)) * size if curves else torch.zeros_like(size)
        self._bounds[node] = first - slack, last + slack
        # on average over both signs of a coefficient, and what is lost for either
        self._offset[node] = ((lines.high_offset + lines.low_offset) / 2).to(self._dtype)
        lost = (lines.high_offset - lines.low_offset) / 2 + self._block(size) * self._grain * (
            size + lines.size(low, high)
        )
        self._give[node] = self._given(slack + lost)
        self._lines[node] = lines.to(self._dtype)

    @staticmethod
    def _block(values: Tensor) -> int:
        """Roundings in one coefficient's way through an operation, and in the sums it goes into."""
        return min(_BLOCK, values[0].numel()) + 16

    def _given(self, values: Tensor) -> Tensor:
        """In the precision of lines, rounded up."""
        return (values * (1 + 2 * _BLOCK * self._grain)).to(self._dtype)

    def _tighten(self, node: fx.Node, bend: Bend, ball: Ball, most: int) -> None:
        """Bound by lines those inputs of a bend where its own lines lie farthest apart."""
        low, high = (bound.flatten(1).clone() for bound in self._bounds[node])
        apart = curved.lines(bend, low, high).apart(low, high).masked_fill(curved.straight(bend, low, high), 0)
        count = min(most, int((apart > 0).sum(1).max()))
        index = apart.nan_to_num(torch.inf).topk(count, dim=1).indices  # rows with fewer are filled up with others
        largest = max(_numel(step.node) for step in self._steps)
        width = max(1, _COEFFICIENTS.get(low.device.type, _MANY_COEFFICIENTS) // (2 * largest * len(low)))
        for start in range(0, count, width):
            part = index[:, start : start + width]
            spec = torch.zeros(part.shape[1], *low.shape, dtype=self._dtype, device=low.device)
            spec.scatter_(2, part.t()[:, :, None], 1.0)
            both = torch.cat([spec, -spec]).view(-1, *node.meta["shape"])
            least, greatest = self.lower(node, both, ball).nan_to_num(nan=-torch.inf).chunk(2)
            # others stay as they are: what is known about a row must not depend on its neighbours
            mine = apart.gather(1, part) > 0
            old_low, old_high = low.gather(1, part), high.gather(1, part)
            low.scatter_(1, part, torch.where(mine, torch.maximum(old_low, least.t()), old_low))
            high.scatter_(1, part, torch.where(mine, torch.minimum(old_high, -greatest.t()), old_high))
        self._bounds[node] = low.view(node.meta["shape"]), high.view(node.meta["shape"])

    def lower(self, node: fx.Node, spec: Tensor, ball: Ball) -> Tensor:
        """Lower bounds of linear functions of an operation's result over the ball (Zhang et al. 2018, CROWN).

        Args:
            node: the operation.
            spec: coefficients, (specs, n, *shape of the result).
            ball: what the input may be.

        Returns:
            (specs, n) float64.
        """
        coefficients = {node: spec.to(self._dtype)}
        total = torch.zeros(spec.shape[:2], dtype=torch.float64, device=spec.device)
        for step in self._back:
            here = coefficients.pop(step.node, None)
            if here is None:
                continue
            if step.node in self._handed and step.node is not node:
                size = here
            else:
                size = here.abs()
                total -= _dot(size, self._give[step.node])
                if step.node in self._offset:
                    total += _dot(here, self._offset[step.node])
            if step.source is None:
                return total + ball.lower(here.flatten(2).double())
            if step.affine is None:
                _add(coefficients, step.source, self._lines[step.node].back(here, size))
                continue
            for source, linear, _ in step.affine.parts:
                _add(coefficients, source, _adjoint(linear, source, here))
        raise AssertionError("every operation leads back to the input")

    def result(self) -> tuple[Tensor, Tensor]:
        """Interval bounds of what decides, each (n, classes)."""
        return self._bounds[self._program.output]


def _rounding(node: fx.Node) -> tuple[float, float]:
    """Relative errors of one sum or product, and of storing a result, in the model's own arithmetic."""
    dtype, device = node.meta["dtype"], node.meta["device"]
    precision = torch.finfo(dtype).eps
    if dtype == torch.float64:
        return 8 * precision, 0.0  # the bounds themselves are computed no better
    if device.type == "cuda" and (torch.backends.cudnn.allow_tf32 or torch.backends.cuda.matmul.allow_tf32):
        return 2.0**-9, precision  # TF32 keeps 10 bits of each factor
    # half precision is summed up in single precision and rounded once, at the end
    return torch.finfo(torch.float32).eps, 0.0 if dtype == torch.float32 else precision


def _numel(node: fx.Node) -> int:
    shape = node.meta["shape"]
    return 1 if shape is None else int(shape[1:].numel())


def _dot(coefficients: Tensor, values: Tensor) -> Tensor:
    """Sum over an example's elements, (specs, n, ...) and (n, ...) -> (specs, n) float64."""
    left, right = coefficients.flatten(2), values.flatten(1)
    elements = right.shape[1]
    block = max(size for size in range(1, _BLOCK + 1) if elements % size == 0)
    if block * 8 < min(elements, _BLOCK):  # hardly divisible
        left, right, block = left.double(), right.double(), elements
    parts = torch.einsum("snkb,nkb->snk", left.view(*left.shape[:2], -1, block), right.view(len(right), -1, block))
    return parts.sum(2, dtype=torch.float64)


def _add(coefficients: dict[fx.Node, Tensor], node: fx.Node, more: Tensor) -> None:
    coefficients[node] = coefficients[node] + more if node in coefficients else more


def _adjoint(linear: Callable[[Tensor], Tensor], source: fx.Node, coefficients: Tensor) -> Tensor:
    """What a linear map's coefficients become in front of it."""
    if linear is affine.identity:
        return coefficients
    zeros = torch.zeros(source.meta["shape"], dtype=coefficients.dtype, device=coefficients.device)
    pull: Callable[[Tensor], tuple[Tensor]] = vjp(linear, zeros)[1]
    (back,) = vmap(pull)(coefficients)
    found: Tensor = back
    return found
