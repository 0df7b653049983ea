"""DeepLIFT's multipliers on the operations that a model really runs.

The model is traced to elementary operations, whatever it was written in: functional, reused and in-place activations,
attention and recurrent layers all become the same few. Each operation is then run on the example and on its baseline
side by side, in float64, and a non-linear one gets a slope between the two instead of a derivative:

- a function of one number: Δy / Δx (the rescale rule; Shrikumar, Greenside and Kundaje 2017, section 3.5.1);
- a product: Δ(ab) = Δa · mean(b) + Δb · mean(a), the Shapley values of the two factors (Chen, Lundberg and Lee 2022);
- a maximum: whoever wins the larger side takes Δy;
- softmax, quotients and variances: composed of these.

Every rule adds up to the change of its output, so by the chain rule the whole does. What has no rule keeps its
derivative, which is right where it is linear, and is named by `unruled` where it is not.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, fx
from torch._decomp import get_decompositions
from torch._dispatch.python import enable_python_dispatcher
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.attention import SDPBackend, sdpa_kernel

from audit.explainers.attribution import CompletenessError
from audit.explainers.multiplier_rules import as_value, find, moves

_ATEN = torch.ops.aten
_DECOMPOSED = get_decompositions(
    [
        _ATEN.glu,
        _ATEN.native_layer_norm,
        _ATEN.native_batch_norm,
        _ATEN._native_batch_norm_legit,
        _ATEN._native_batch_norm_legit_no_training,
        _ATEN.cudnn_batch_norm,
        _ATEN.native_group_norm,
        _ATEN.addmm,
        _ATEN.baddbmm,
        _ATEN.addcmul,
        _ATEN.std.correction,
        _ATEN.linalg_vector_norm,
        _ATEN.log_sigmoid_forward,
        _ATEN._thnn_fused_lstm_cell,
        _ATEN._thnn_fused_gru_cell,
    ]
)
_FLOATS = (torch.float16, torch.bfloat16, torch.float32)


def trace(function: Callable[[Tensor], Tensor], points: Tensor) -> fx.GraphModule:
    """The elementary operations that the function runs on these points.

    Raises:
        CompletenessError: they cannot be recorded.
    """
    try:
        graph = _record(function, points)
        if any(_writes(node) for node in graph.graph.nodes):
            # written without writing: by torch's own equivalents where it has some (recurrent layers)
            with enable_python_dispatcher():
                graph = _record(torch.func.functionalize(function, remove="mutations_and_views"), points)
    except RuntimeError as error:
        first = str(error).strip().split("\n")[0]
        raise CompletenessError(
            f"deep_lift: Expected operations that can be recorded, found {first!r}; try integrated_gradients."
        ) from error
    graph.graph.eliminate_dead_code()
    return graph


def _record(function: Callable[[Tensor], Tensor], points: Tensor) -> fx.GraphModule:
    # a branch taken by looking at a number is recorded as taken; completeness tells whether it matters
    record = make_fx(function, cast("Any", _DECOMPOSED), _error_on_data_dependent_ops=False)
    with _elementary(), torch.enable_grad():
        return record(points.detach().clone().requires_grad_(True))


def _writes(node: fx.Node) -> bool:
    return isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable


def multipliers(graph: fx.GraphModule, points: Tensor, baselines: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
    """Slopes between baselines and points, one tensor like the points (m, ...) a score, and both's scores (m, k).

    All are float64.

    Raises:
        CompletenessError: a slope or a score is not finite.
    """
    with torch.enable_grad():
        leaf = points.detach().to(torch.float64).requires_grad_(True)
        now, then = _Run(graph, keep=False)(leaf, baselines.detach().to(torch.float64))
        slopes = [
            torch.autograd.grad(column, leaf, retain_graph=True)[0] if now.requires_grad else torch.zeros_like(leaf)
            for column in now.sum(0)
        ]
    if not all(bool(torch.isfinite(found).all()) for found in (*slopes, now, then)):
        raise CompletenessError(
            "deep_lift: Expected finite scores and slopes, found NaN or infinity; try logits, or integrated_gradients."
        )
    return [slope.detach() for slope in slopes], now.detach(), then.detach()


def unruled(graph: fx.GraphModule, points: Tensor, baselines: Tensor) -> list[str]:
    """The operations without a rule whose derivative does not add up to the change of their output."""
    with torch.enable_grad():
        run = _Run(graph, keep=True)
        run(points.detach().to(torch.float64).requires_grad_(True), baselines.detach().to(torch.float64))
        return list(dict.fromkeys(name(node) for node in graph.graph.nodes if run.misses(node)))


def name(node: fx.Node) -> str:
    """What a recorded operation is called, without its overload."""
    target = node.target
    return target._opname if isinstance(target, torch._ops.OpOverload) else getattr(target, "__name__", str(target))


@contextmanager
def _elementary() -> Iterator[None]:
    """Inside, no fused kernel hides what attention and recurrent layers do."""
    enabled = torch._C._get_mkldnn_enabled()
    with sdpa_kernel(SDPBackend.MATH):
        # the public switch also sets, and warns about, what another vendor's hardware does
        torch._C._set_mkldnn_enabled(False)
        try:
            yield
        finally:
            torch._C._set_mkldnn_enabled(enabled)


class _Run:
    """One pass through recorded scores on examples and baselines side by side."""

    def __init__(self, graph: fx.GraphModule, keep: bool) -> None:
        self._graph, self._keep = graph, keep
        self._now: dict[fx.Node, Any] = {}
        self._then: dict[fx.Node, Any] = {}

    def __call__(self, points: Tensor, baselines: Tensor) -> tuple[Tensor, Tensor]:
        """Scores of the points, behind which lies a graph of slopes, and of the baselines."""
        waiting = {node: len(node.users) for node in self._graph.graph.nodes}
        for node in self._graph.graph.nodes:
            if node.op == "output":
                return self._value(node.args[0], self._now), self._value(node.args[0], self._then)
            self._now[node], self._then[node] = self._pair(node, points, baselines)
            for argument in node.all_input_nodes:
                waiting[argument] -= 1
                if not waiting[argument] and not self._keep:
                    del self._now[argument], self._then[argument]
        raise AssertionError("a recorded function has an output")

    def _pair(self, node: fx.Node, points: Tensor, baselines: Tensor) -> tuple[Any, Any]:
        if node.op == "placeholder":
            return points, baselines
        if node.op == "get_attr":
            constant = operator.attrgetter(str(node.target))(self._graph)
            if isinstance(constant, Tensor):
                constant = constant.detach().to(torch.float64 if constant.dtype in _FLOATS else constant.dtype)
            return constant, constant
        args, args0 = self._arguments(node, self._now), self._arguments(node, self._then)
        rule = find(name(node), args)
        if rule is None:
            return self._call(node, args, self._now), self._call(node, args0, self._then)
        with torch.no_grad():
            y, y0 = self._call(node, args, self._now), self._call(node, args0, self._then)
        if not any(moves(argument) for argument in args):
            return y, y0

        def call(*changed: Any) -> Any:
            return self._call(node, [*changed, *args[len(changed) :]], self._now)

        return as_value(y, rule(call, args, args0, y, y0)), y0

    def misses(self, node: fx.Node) -> bool:
        """Whether an operation without a rule changed by something else than its derivative says."""
        if node.op != "call_function" or find(name(node), args := self._arguments(node, self._now)) is not None:
            return False
        args0 = self._arguments(node, self._then)
        flat, tree = torch.utils._pytree.tree_flatten(args)
        flat0 = torch.utils._pytree.tree_leaves(args0)
        leaves = [a.detach().requires_grad_(True) if moves(a) else a for a in flat]
        y = self._call(node, torch.utils._pytree.tree_unflatten(leaves, tree), self._now)
        changes = self._now[node], self._then[node]
        promised, found, size = 0.0, 0.0, 0.0
        for part, now, then in zip(*(p if isinstance(p, tuple | list) else [p] for p in (y, *changes)), strict=True):
            if not isinstance(part, Tensor) or not part.is_floating_point():
                continue
            # a fixed direction, so that errors do not cancel
            way = torch.arange(part.numel(), dtype=part.dtype, device=part.device).reshape(part.shape).cos() + 2
            found += float((way * (now.detach() - then.detach()).nan_to_num(0)).sum())
            size += float((way * (now.detach() - then.detach()).nan_to_num(0)).abs().sum())
            if not part.requires_grad:
                continue
            moving = [k for k, leaf in enumerate(leaves) if moves(leaf)]
            slopes = torch.autograd.grad(
                (way * part).sum(), [leaves[k] for k in moving], allow_unused=True, retain_graph=True
            )
            for k, slope in zip(moving, slopes, strict=True):
                if slope is not None:
                    promised += float((slope * (flat[k].detach() - flat0[k]).nan_to_num(0)).sum())
        return abs(promised - found) > 1e-6 * size + 1e-12

    def _arguments(self, node: fx.Node, values: dict[fx.Node, Any]) -> list[Any]:
        return [self._value(argument, values) for argument in node.args]

    def _call(self, node: fx.Node, args: Any, values: dict[fx.Node, Any]) -> Any:
        assert callable(node.target)
        if name(node) == "copy":  # has no derivative; what it makes of its source has
            return args[1].to(args[0]).expand_as(args[0])
        if name(node) in ("view", "_unsafe_view"):  # ask for strides that another rule's result may not have
            return args[0].reshape(args[1])
        return node.target(*args, **{key: self._value(value, values) for key, value in node.kwargs.items()})

    def _value(self, argument: Any, values: dict[fx.Node, Any]) -> Any:
        """An argument of a recorded operation: nodes become their values, floats float64."""
        found = fx.node.map_arg(argument, lambda node: values[node])
        return torch.float64 if isinstance(found, torch.dtype) and found in _FLOATS else found
