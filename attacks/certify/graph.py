"""A model as a list of elementary operations."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, fx
from torch.func import functionalize
from torch.fx.experimental.proxy_tensor import make_fx

from attacks.guard import Model

aten = torch.ops.aten
#: these take the shape of their argument alone
_SHAPED = {
    aten.zeros_like.default, aten.ones_like.default, aten.full_like.default, aten.new_zeros.default,
    aten.new_ones.default, aten.new_full.default,
}  # fmt: skip
_EXPONENTIALS = {aten._softmax.default, aten._log_softmax.default}


class NoRule(NotImplementedError):
    """An operation, or a setting of one, that cannot be bounded soundly; the model is then refused by its name."""


@dataclass(frozen=True, eq=False)
class Program:
    """What a model does to a batch of one size.

    Attributes:
        module: the operations; holds the constants.
        nodes: operations that depend on the input, in order; the first is the input itself.
        constants: values of the others.
        output: the operation whose result decides.
        slack: margin at `output` that rounding behind it cannot undo.
    """

    module: fx.GraphModule
    nodes: tuple[fx.Node, ...]
    constants: dict[fx.Node, object]
    output: fx.Node
    slack: float


class _Recorder(fx.Interpreter):
    """Runs the operations once, keeps what does not depend on the input, and notes the shapes of what does."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.constants: dict[fx.Node, object] = {}
        self.moving: list[fx.Node] = []

    def run_node(self, n: fx.Node) -> object:
        """Run one operation."""
        result = super().run_node(n)
        moves = any(used in self.moving for used in n.all_input_nodes) and n.target not in _SHAPED
        if n.op == "placeholder" or (moves and n.op != "output"):
            self.moving.append(n)
            # of several results only the first is ever used
            first = result[0] if isinstance(result, tuple) else result
            n.meta["shape"], n.meta["device"], n.meta["dtype"] = first.shape, first.device, first.dtype
        else:
            self.constants[n] = result
        return result


def read(model: Model, inputs: Tensor) -> Program:
    """Record the operations of a model on a batch of this size.

    Args:
        model: callable from a float batch to scores, in eval mode.
        inputs: (m, ...), where the record is held against the model; it is taken at zeros.

    Raises:
        ValueError: the model cannot be recorded, because what it does depends on the values of its input.
    """
    try:
        with torch.no_grad():
            module: fx.GraphModule = make_fx(functionalize(lambda batch: model(batch)))(torch.zeros_like(inputs))
    except Exception as error:
        raise ValueError(
            f"Expected a model whose operations can be recorded, found one that refuses: "
            f"{str(error).splitlines()[0][:200]}; try a plain network, or randomised smoothing."
        ) from error
    module.graph.eliminate_dead_code()
    recorder = _Recorder(module)
    with torch.no_grad():
        scores = model(inputs)
        agree = torch.allclose(recorder.run(inputs), scores, rtol=1e-3, atol=1e-4)
        alone = inputs.clone()
        alone[1::2] = 0
        apart = torch.allclose(model(alone)[::2], scores[::2], rtol=1e-3, atol=1e-4)
    if not agree:
        raise ValueError(
            "Expected a model whose operations are the same for all inputs, found one that answers otherwise than its "
            "record; try a network without conversions to numpy and without random draws."
        )
    if not apart:
        raise ValueError(
            "Expected scores that depend on their own row alone, found some that change with their neighbours; try a "
            "network that treats the rows of a batch apart."
        )
    (result,) = module.graph.output_node().args
    if not isinstance(result, fx.Node) or result not in recorder.moving:
        raise ValueError("Expected scores that depend on the inputs, found constants; try a differentiable network.")
    output, slack = _decisive(result, inputs.dtype)
    return Program(module, tuple(recorder.moving), recorder.constants, output, slack)


def _decisive(result: fx.Node, dtype: torch.dtype) -> tuple[fx.Node, float]:
    """What a closing softmax, with or without its logarithm, is taken of: the order of the scores is the same.

    A difference of logits this large is a difference of the rounded (log-)probabilities.
    """
    node = result
    while node.target in (aten.log.default, aten.clamp_min.default, aten.clamp.default, aten.alias.default):
        harmless = node.target is aten.log.default or all(
            isinstance(limit, float) and limit < 1e-30 for limit in node.args[1:2]
        )
        if not harmless or len(node.args) > 2:
            return result, 0.0
        (node,) = node.all_input_nodes
    if node.target not in _EXPONENTIALS or node.args[1] not in (1, -1):
        return result, 0.0
    classes = node.meta["shape"][1]
    (node,) = node.all_input_nodes
    return node, 32 * torch.finfo(dtype).eps * (1 + math.log(classes))
