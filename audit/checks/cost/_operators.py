"""Operations counted from the shapes that occur. Imports torch: to be imported inside functions."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, flop_registry

#: these take a weight matrix but only copy from it
COPIES = frozenset({"aten.embedding", "aten.clone", "aten._to_copy", "aten.index_select", "aten.index", "aten.cat"})


def count(forward: Callable[[], object], model: nn.Module) -> tuple[dict[str, int], set[str]]:
    """Count the operations of one call.

    Args:
        forward: the call.
        model: the module that runs in it.

    Returns:
        Operations by operator, and the operators seen that may multiply but have no formula.
    """
    watch = _Watch(model)
    # the watch stands outside: the counter takes compound operators apart, and only the parts tell
    with _decomposed(), watch, FlopCounterMode(display=False) as counter:
        forward()
    by_operator = counter.get_flop_counts().get("Global", {})
    return {str(name).removeprefix("aten."): int(n) for name, n in by_operator.items()}, watch.missed


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it untyped
    """Notes operators without a formula that come from outside torch or read a weight matrix."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.missed: set[str] = set()
        self._weights = {p.untyped_storage().data_ptr() for p in model.parameters() if p.ndim > 1}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = str(func._overloadpacket)
        counted = func._overloadpacket in flop_registry or func.is_view or torch.Tag.pointwise in func.tags
        foreign = func.namespace not in ("aten", "prim", "prims")
        if not counted and name not in COPIES and (foreign or any(map(self._is_weight, args))):
            self.missed.add(name)
        return func(*args, **(kwargs or {}))

    def _is_weight(self, value: object) -> bool:
        return (
            isinstance(value, torch.Tensor)
            and value.layout is torch.strided
            and value.untyped_storage().data_ptr() in self._weights
        )


@contextmanager
def _decomposed() -> Iterator[None]:
    """Switch off the fused kernels the counter cannot see into.

    Measured on torch 2.13: fused attention on the CPU, recurrent layers in oneDNN and the fast path of
    `nn.TransformerEncoderLayer` all count as nothing.
    """
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with _without_onednn(), sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


@contextmanager
def _without_onednn() -> Iterator[None]:
    flags = torch.backends.mkldnn.flags(enabled=False)
    with warnings.catch_warnings():  # it also writes a setting for Intel GPUs back, and warns where there is none
        warnings.simplefilter("ignore", UserWarning)
        with flags:
            yield
