"""Attention maps of any model that has them, exact, and rollout over them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

#: what the model is called with: keyword arguments (`input_ids`, `attention_mask` ...) or one tensor
ModelInputs: TypeAlias = Mapping[str, Tensor] | Tensor


def attention(model: nn.Module, inputs: ModelInputs) -> list[Tensor]:
    """The attention maps of each layer in the order they run, each (n, heads, query, key).

    `transformers` models are switched to their eager attention for this one call, for fused kernels keep no maps;
    `nn.MultiheadAttention` (also inside `nn.TransformerEncoderLayer`) is asked for its weights. Settings, hooks and
    mode are restored and the model's outputs stay what they were.

    Args:
        model: a `transformers` model, or a module that holds `nn.MultiheadAttention`.
        inputs: a mapping of keyword arguments, or one tensor.

    Raises:
        ValueError: the model gives no attention maps.
    """
    with torch.no_grad(), _eval_mode(model):
        maps = _transformers_maps(model, inputs) if _is_transformers(model) else _module_maps(model, inputs)
    if not maps or any(m is None for m in maps):
        raise ValueError(
            f"model: Expected one that gives attention maps, found {type(model).__name__} without; "
            "try a transformers model, or one built on nn.MultiheadAttention."
        )
    return [m.detach() for m in maps]


def attention_rollout(model: nn.Module, inputs: ModelInputs) -> Tensor:
    """Attention followed through the layers (Abnar and Zuidema 2020, eq. 1 and section 3), (n, query, key).

    Heads are averaged, the residual connection is 0.5 A + 0.5 I, rows are normalised, and layers are multiplied with
    the last one leftmost. Padding is masked: with an `attention_mask` in `inputs`, padded keys get 0 and padded
    queries keep to themselves. Rollout knows no class, so it says what was mixed, not what the score rests on.

    Args:
        model: see `attention`.
        inputs: see `attention`.

    Raises:
        ValueError: the model gives no attention maps, or they cannot be chained (queries and keys differ).
    """
    mask = inputs.get("attention_mask") if isinstance(inputs, Mapping) else None
    return rollout(attention(model, inputs), mask)


def rollout(maps: Sequence[Tensor], mask: Tensor | None = None) -> Tensor:
    """Rollout of attention maps (n, heads, query, key) with a padding mask (n, length), 1 = a token.

    Raises:
        ValueError: queries and keys differ in number.
    """
    joint: Tensor | None = None
    for layer in maps:
        a = layer.to(torch.float64).mean(dim=1)
        if a.shape[1] != a.shape[2]:
            raise ValueError(f"model: Expected self-attention, found {a.shape[1]} queries over {a.shape[2]} keys.")
        if mask is not None:
            a = a * mask.to(a)[:, None, :] * mask.to(a)[:, :, None]
        a = 0.5 * a + 0.5 * torch.eye(a.shape[1], dtype=a.dtype, device=a.device)
        a = a / a.sum(dim=-1, keepdim=True)
        joint = a if joint is None else a @ joint
    if joint is None:
        raise ValueError("maps: Expected at least one layer, found none.")
    return joint


def _is_transformers(model: nn.Module) -> bool:
    from transformers import PreTrainedModel

    return isinstance(model, PreTrainedModel)


def _transformers_maps(model: Any, inputs: ModelInputs) -> list[Tensor]:
    if not isinstance(inputs, Mapping):
        raise ValueError("inputs: Expected a mapping such as {'input_ids': ..., 'attention_mask': ...}.")
    with _eager(model):
        found = model(**inputs, output_attentions=True, return_dict=True).attentions
    return list(found or ())


@contextmanager
def _eager(model: Any) -> Iterator[None]:
    configs = {id(m.config): m.config for m in model.modules() if hasattr(m, "config")}
    before = {key: config._attn_implementation for key, config in configs.items()}
    try:
        if any(name != "eager" for name in before.values()):
            model.set_attn_implementation("eager")
        yield
    finally:
        for key, config in configs.items():
            config._attn_implementation = before[key]


def _module_maps(model: nn.Module, inputs: ModelInputs) -> list[Tensor]:
    maps: list[Tensor] = []

    def ask(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        # positions 4 and 6 of forward are need_weights and average_attn_weights
        args = (
            args[:4] + ((True,) if len(args) > 4 else ()) + args[5:6] + ((False,) if len(args) > 6 else ()) + args[7:]
        )
        if len(args) <= 4:
            kwargs = {**kwargs, "need_weights": True}
        if len(args) <= 6:
            kwargs = {**kwargs, "average_attn_weights": False}
        return args, kwargs

    def keep(_: nn.Module, args: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        weights = output[1]
        maps.append(weights.unsqueeze(0) if weights.ndim == 3 else weights)

    with ExitStack() as stack:
        # the fused encoder layer never calls its attention module
        stack.callback(torch.backends.mha.set_fastpath_enabled, torch.backends.mha.get_fastpath_enabled())
        torch.backends.mha.set_fastpath_enabled(False)
        for module in model.modules():
            if isinstance(module, nn.MultiheadAttention):
                stack.callback(module.register_forward_pre_hook(ask, with_kwargs=True).remove)
                stack.callback(module.register_forward_hook(keep).remove)
        if isinstance(inputs, Mapping):
            model(**inputs)
        else:
            model(inputs)
    return maps


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
