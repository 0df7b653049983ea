"""Attention as it happens: the weights and values of every attention layer, seen while the model runs.

Fused kernels keep no maps and modules hide theirs, so nothing is asked of the model and no setting is changed. A
`TorchFunctionMode` sees each call of `scaled_dot_product_attention` with the very queries, keys and mask the kernel
gets, and each softmax over a product of two activations that goes on to multiply values. While such a mode is active,
torch itself keeps to the plain path of `nn.TransformerEncoder` and its layers.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import FunctionType
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from attacks.guard import Guard
from audit.explainers.attention_site import Fused, Site

#: what the model is called with: keyword arguments (`input_ids`, `attention_mask` ...) or one tensor
ModelInputs: TypeAlias = Mapping[str, Tensor] | Tensor
#: gets each attention layer in the order they run, and returns what the model goes on with
Visit: TypeAlias = Callable[[Site], Tensor]

#: kernels of `transformers` that compute attention where no map can be seen
HIDDEN = ("flash", "flex", "paged", "kernel", "/")
#: products of two tensors, and where the first of them stands among the arguments
PRODUCTS = {"matmul": 0, "__matmul__": 0, "bmm": 0, "baddbmm": 1, "einsum": 1}
#: what lays a tensor out anew, or takes a part of it
LAYOUTS = frozenset(
    {"view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "__getitem__", "cat", "concat", "expand"}
)
#: inputs that hold another sequence to look at
OTHER = ("key_value_states", "encoder_hidden_states", "encoder_hidden_state", "context", "memory")


def intercept(model: nn.Module, inputs: ModelInputs, visit: Visit) -> Any:
    """Run the model in eval mode, hand each attention layer to `visit`, and return the model's output.

    Mode and hooks are restored whatever happens. Gradients are the caller's business.

    Args:
        model: any module; what it computes attention with decides whether it is seen (see above).
        inputs: a mapping of keyword arguments, or one tensor.
        visit: returns the layer's output: `site.run()`, or what is to stand in its place.

    Raises:
        ValueError: nothing was seen, or the model says that it hides its attention.
    """
    _refuse_hidden(model, inputs)
    with ExitStack() as stack:
        stack.enter_context(_eval_mode(model))
        if "torch._dynamo" in sys.modules:  # compiled parts run as they were written
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        calls = stack.enter_context(_calls(model))
        reader = stack.enter_context(_Reader(visit, calls, _batch(inputs)))
        given = _copied(inputs)
        output = model(**given) if isinstance(given, Mapping) else model(given)
    if reader.count == 0:
        raise ValueError(
            f"model: Expected one that gives attention maps, found {type(model).__name__} without: neither "
            "scaled_dot_product_attention nor a softmax of queries times keys that then multiplies values was seen; "
            "try another implementation of its attention."
        )
    return output


def observe(model: nn.Module, inputs: ModelInputs, visit: Visit) -> Any:
    """`intercept` without gradients, that leaves buffers and global generators as they were, each run with the same draws."""
    with torch.no_grad(), guard(model):
        return intercept(model, inputs, visit)


def guard(model: nn.Module) -> Guard:
    """Inside, a module is in eval mode with frozen weights; outside, it and all global generators are as before."""
    return Guard(model, (), torch.float32)  # what it is fed is the caller's business


@dataclass(frozen=True)
class _Call:
    """A module that is running."""

    name: str
    module: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def reads_another(self) -> bool:
        """Whether it looks at another sequence than it writes to, as its inputs tell."""
        if isinstance(self.module, nn.MultiheadAttention):
            given = dict(zip(("query", "key"), self.args, strict=False)) | self.kwargs
            return given["query"] is not given["key"]
        return any(self.kwargs.get(name) is not None for name in OTHER)


@dataclass(frozen=True)
class _Mark:
    """A product of two activations, or (`weights`) a softmax over one, last seen with `shape` before it was folded."""

    weights: bool
    shape: torch.Size


class _Reader(TorchFunctionMode):
    def __init__(self, visit: Visit, calls: list[_Call], batch: int) -> None:
        super().__init__()
        self.visit = visit
        self.calls = calls
        self.batch = batch
        self.count = 0
        self.heads: int | None = None  # of the nn.MultiheadAttention that is running
        self.marks: MutableMapping[Tensor, _Mark] = WeakTensorKeyDictionary()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is F.multi_head_attention_forward:
            return self._multi_head(args, kwargs)
        if func is F.scaled_dot_product_attention:
            return self._fused(func, args, kwargs)
        name = getattr(func, "__name__", "")
        if name in PRODUCTS:
            return self._product(func, name, args, kwargs)
        result = func(*args, **kwargs)
        if isinstance(result, Tensor) and name != "linear":
            self._follow(name, args, kwargs, result)
        return result

    def _multi_head(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        before, self.heads = self.heads, kwargs.get("num_heads", args[4] if len(args) > 4 else None)
        try:
            with self:
                return _opened(*args, **kwargs)
        finally:
            self.heads = before

    def _fused(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        return self._see(lambda: func(*args, **kwargs), Fused.of(*args, **kwargs), None, None)

    def _product(self, func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        first = PRODUCTS[name]
        named = (value for key, value in kwargs.items() if key not in ("input", "out") or name != "baddbmm")
        parts = list(_tensors((*args[first:], *named)))
        order: tuple[int, ...] | None = None
        found = [i for i, part in enumerate(parts) if part.ndim > 2 and (mark := self.marks.get(part)) and mark.weights]
        if found and name == "einsum":
            order = einsum_order(args[0], found[0], parts[found[0]].ndim)
        elif found == [0]:
            order = tuple(range(parts[0].ndim))
        if order is not None:
            return self._see(lambda: func(*args, **kwargs), None, parts[found[0]], order)
        result = func(*args, **kwargs)
        if len(parts) == 2 and not any(_is_parameter(part) for part in parts):
            self.marks[result] = _Mark(False, result.shape)
        return result

    def _follow(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], result: Tensor) -> None:
        """Pass a mark on: softmax makes weights of scores, and what keeps the shape keeps the meaning."""
        for source in _tensors(args):
            mark = self.marks.get(source)
            if mark is None:
                continue
            if name == "softmax" and not mark.weights:
                dim = kwargs.get("dim", args[1] if len(args) > 1 else None)
                if dim in (-1, source.ndim - 1):
                    self.marks[result] = _Mark(True, result.shape)
            elif result.shape == source.shape or name in LAYOUTS:
                folded = result.ndim == 3 and result.numel() == mark.shape.numel()
                self.marks[result] = _Mark(mark.weights, mark.shape if folded else result.shape)
            return

    def _see(
        self, run: Callable[[], Tensor], fused: Fused | None, operand: Tensor | None, order: tuple[int, ...] | None
    ) -> Tensor:
        call = self.calls[-1] if self.calls else None
        name = call.name if call else ""
        shape = fused.shape if fused is not None else self._unfolded(operand, name)
        other = call is not None and call.reads_another()
        site = Site(self.count, name, other or shape[2] != shape[3], shape, run, fused, operand, order)
        self.count += 1
        return self.visit(site)

    def _unfolded(self, operand: Tensor | None, name: str) -> tuple[int, int, int, int]:
        """The (n, heads, query, key) that the weights stand for."""
        assert operand is not None
        *lead, queries, keys = operand.shape
        if len(lead) == 1:
            origin = self.marks[operand].shape
            if self.heads is not None:
                lead = [lead[0] // self.heads, self.heads]
            elif len(origin) > 3:
                lead = list(origin[:-2])
            elif lead[0] == self.batch:
                lead = [lead[0], 1]
            else:
                raise ValueError(
                    f"model: Expected attention weights (n, heads, query, key), found {tuple(operand.shape)} in "
                    f"{name or 'the model'}, where heads and examples cannot be told apart; try four dimensions."
                )
        *outer, heads = lead
        return int(torch.Size(outer).numel()), heads, queries, keys


def einsum_order(equation: str, index: int, ndim: int) -> tuple[int, ...] | None:
    """How to permute the product's dimensions: those of the weights without their keys first.

    None where the weights' last dimension is not the one that is summed, or another of theirs is.
    """
    left, arrow, right = equation.replace(" ", "").partition("->")
    if not arrow:
        return None
    own = left.split(",")[index]
    spare = "".join(c for c in "ABCDEFGHIJ" if c not in equation)[: ndim - len(own.replace("...", ""))]
    own, right = own.replace("...", spare), right.replace("...", spare)
    kept, key = own[:-1], own[-1]
    if key in right or not set(kept) <= set(right):
        return None
    return tuple(right.index(c) for c in [*kept, *(c for c in right if c not in own)])


def _opened_multi_head() -> Any:
    """`F.multi_head_attention_forward` that does not hand itself over to a mode, so that what it calls does."""
    closed = F.multi_head_attention_forward
    names = {**closed.__globals__, "has_torch_function": lambda _: False}
    opened = FunctionType(closed.__code__, names, closed.__name__, closed.__defaults__, closed.__closure__)
    opened.__kwdefaults__ = closed.__kwdefaults__
    return opened


_opened = _opened_multi_head()


def _tensors(args: tuple[Any, ...]) -> Iterator[Tensor]:
    for arg in args:
        if isinstance(arg, Tensor):
            yield arg
        elif isinstance(arg, list | tuple):
            yield from (part for part in arg if isinstance(part, Tensor))


def _is_parameter(tensor: Tensor) -> bool:
    return isinstance(tensor, nn.Parameter) or isinstance(tensor._base, nn.Parameter)


def _copied(inputs: ModelInputs) -> ModelInputs:
    """The same inputs for a model that may write into them; what was one tensor stays one."""
    if not isinstance(inputs, Mapping):
        return inputs.clone()
    copies = {id(value): value.clone() for value in inputs.values() if isinstance(value, Tensor)}
    return {name: copies.get(id(value), value) for name, value in inputs.items()}


def _batch(inputs: ModelInputs) -> int:
    found = next(iter(inputs.values()), None) if isinstance(inputs, Mapping) else inputs
    return len(found) if isinstance(found, Tensor) and found.ndim else 0


def _refuse_hidden(model: nn.Module, inputs: ModelInputs) -> None:
    transformers = sys.modules.get("transformers")
    if transformers is None:
        return
    if isinstance(model, transformers.PreTrainedModel) and not isinstance(inputs, Mapping):
        raise ValueError("inputs: Expected a mapping such as {'input_ids': ..., 'attention_mask': ...}.")
    for module in model.modules():
        chosen = getattr(getattr(module, "config", None), "_attn_implementation", None)
        if isinstance(chosen, str) and any(part in chosen for part in HIDDEN):
            raise ValueError(
                f"model: Expected attention that can be read, found {chosen!r}, which hides its maps; "
                "try model.set_attn_implementation('sdpa')."
            )


@contextmanager
def _calls(model: nn.Module) -> Iterator[list[_Call]]:
    """The modules that are running, the innermost last."""
    running: list[_Call] = []

    def enter(name: str) -> Callable[..., None]:
        return lambda module, args, kwargs: running.append(_Call(name, module, args, kwargs))

    def leave(*_: Any) -> None:
        running.pop()

    with ExitStack() as stack:
        for name, module in model.named_modules():
            stack.callback(module.register_forward_pre_hook(enter(name), with_kwargs=True).remove)
            stack.callback(module.register_forward_hook(leave, always_call=True).remove)
        yield running


@contextmanager
def _eval_mode(model: nn.Module) -> Iterator[None]:
    training = [m for m in model.modules() if m.training]
    try:
        for module in training:
            module.training = False
        yield
    finally:
        for module in training:
            module.training = True
