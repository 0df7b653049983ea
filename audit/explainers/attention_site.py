"""One attention layer while the model runs: its maps a few queries at a time, and its output head by head."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from audit.explainers import game


@dataclass(frozen=True)
class Fused:
    """The arguments of one `scaled_dot_product_attention`, queries (n, heads, query, width) and so on.

    Keys and values may have fewer heads (grouped queries). The mask is true or added where given, and broadcasts.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    mask: Tensor | None
    is_causal: bool
    scale: float

    @classmethod
    def of(
        cls,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        *,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Fused:
        """From the function's own arguments; leading dimensions beyond heads are joined."""
        lead = torch.broadcast_shapes(query.shape[:-3], key.shape[:-3])  # type: ignore[no-untyped-call]
        query = query.expand(*lead, *query.shape[-3:])
        if attn_mask is not None:
            attn_mask = _four(attn_mask.expand(*query.shape[:-2], *attn_mask.shape[-2:]))
        width = query.shape[-1] ** -0.5 if scale is None else scale
        return cls(_four(query), _four(key), _four(value), attn_mask, is_causal, width)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(n, heads, query, key)."""
        n, heads, queries, _ = self.query.shape
        return n, heads, queries, self.key.shape[2]

    def weights(self, start: int, stop: int) -> Tensor:
        """Rows of the map, (n, heads, stop - start, key), in float32 at least; a query that sees nothing has zeros."""
        wide = torch.promote_types(self.query.dtype, torch.float32)
        query = self.query[:, :, start:stop].to(wide)
        scores = query @ self._for_each_head(self.key).to(wide).transpose(-2, -1) * self.scale
        if self.is_causal:  # aligned at the first query and key, as in the kernel
            at = torch.arange(start, stop, device=query.device)
            later = torch.arange(self.key.shape[2], device=query.device) > at[:, None]
            scores = scores.masked_fill(later, -torch.inf)
        if self.mask is not None:
            mask = self.mask if self.mask.shape[2] == 1 else self.mask[:, :, start:stop]
            scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
        blind = (scores == -torch.inf).all(dim=-1, keepdim=True)
        return scores.masked_fill(blind, 0.0).softmax(dim=-1).masked_fill(blind, 0.0)

    def mix(self, weights: Tensor) -> Tensor:
        """Values mixed by rows of the map, (n, heads, rows, width)."""
        return weights @ self._for_each_head(self.value).to(weights.dtype)

    def _for_each_head(self, part: Tensor) -> Tensor:
        return part.repeat_interleave(self.query.shape[1] // part.shape[1], dim=1)


@dataclass(frozen=True)
class Site:
    """One attention layer in one run.

    Attributes:
        index: 0 for the first that ran.
        name: the module that computed it, as in `named_modules`.
        cross: whether it looks at another sequence than it writes to.
        shape: (n, heads, query, key) of its map.
        run: computes its output as the model would have.
        fused: the kernel's arguments, where a kernel computes it.
        operand: the weights as they multiply the values, where the model itself holds them.
        order: with `operand`: how to permute the output's dimensions so that those of the weights come first.
    """

    index: int
    name: str
    cross: bool
    shape: tuple[int, int, int, int]
    run: Callable[[], Tensor]
    fused: Fused | None
    operand: Tensor | None
    order: tuple[int, ...] | None

    def rows(self, start: int, stop: int) -> Tensor:
        """Rows of the map, (n, heads, stop - start, key), in float32 at least."""
        if self.fused is not None:
            return self.fused.weights(start, stop)
        assert self.operand is not None
        weights = self.operand.reshape(self.shape)[:, :, start:stop]
        return weights.to(torch.promote_types(weights.dtype, torch.float32))

    def chunks(self) -> Iterator[tuple[int, int]]:
        """Ranges of queries whose rows, with what it takes to compute them, stay within the declared memory."""
        n, heads, queries, keys = self.shape
        # scores, weights, a mask and their sum, each at most float64
        size = max(1, game.MEMORY // max(32 * n * heads * keys, 1))
        for start in range(0, queries, size):
            yield start, min(start + size, queries)

    def by_head(self, output: Tensor) -> Tensor:
        """The layer's output as (n, heads, query, width).

        Raises:
            ValueError: the values of one head reach several, so that heads have no output of their own.
        """
        if self.order is not None:
            output = output.permute(self.order)
        found = output.shape[:-1] if self.operand is None else output.shape[: self.operand.ndim - 1]
        if found.numel() != torch.Size(self.shape[:3]).numel():
            raise ValueError(
                f"model: Expected an output for each head in {self.name or 'the model'}, found heads that share one."
            )
        return output.reshape(*self.shape[:3], -1)

    def from_heads(self, heads: Tensor, output: Tensor) -> Tensor:
        """The reverse of `by_head`, laid out as `output`."""
        if self.order is None:
            return heads.reshape(output.shape)
        laid = heads.reshape([output.shape[i] for i in self.order])
        return laid.permute([self.order.index(i) for i in range(output.ndim)])


def _four(tensor: Tensor) -> Tensor:
    """(n, heads, length, width) of a kernel's argument, which may have fewer or more leading dimensions."""
    if tensor.ndim < 4:
        tensor = tensor.unsqueeze(-3)
    return tensor.reshape(-1, *tensor.shape[-3:])
