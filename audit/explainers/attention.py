"""Attention maps of any model that has them, exact."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from audit.explainers.attention_capture import ModelInputs, observe
from audit.explainers.attention_site import Site


@dataclass(frozen=True)
class AttentionMap:
    """What one layer looked at.

    Attributes:
        name: the module that computed it, as in `model.named_modules()`.
        cross: whether it looks at another sequence than it writes to.
        weights: (n, heads, query, key) on the CPU, in float32 at least.
    """

    name: str
    cross: bool
    weights: Tensor


def attention(model: nn.Module, inputs: ModelInputs) -> list[Tensor]:
    """The attention maps of each layer in the order they run, each (n, heads, query, key); see `attention_maps`."""
    return [layer.weights for layer in attention_maps(model, inputs)]


def attention_maps(model: nn.Module, inputs: ModelInputs) -> list[AttentionMap]:
    """The attention maps of each layer in the order they run, with the names of the layers.

    Read are `scaled_dot_product_attention` (also inside `nn.MultiheadAttention`, `nn.TransformerEncoder`, `transformers`
    and timm models), from the very queries, keys and mask the kernel gets; and attention written out as a softmax of
    queries times keys that multiplies values. A module that runs twice gives two maps. Weights are those of eval mode;
    the model, its settings and its outputs stay what they were.

    Args:
        model: any module with such attention.
        inputs: a mapping of keyword arguments, or one tensor.

    Raises:
        ValueError: no attention was seen, or the model hides it (flash and flex attention of `transformers`).
    """
    maps: list[AttentionMap] = []

    def keep(site: Site) -> Tensor:
        output = site.run()
        weights: Tensor | None = None
        for start, stop in site.chunks():
            rows = site.rows(start, stop)
            if weights is None:
                weights = torch.empty(site.shape, dtype=rows.dtype)
            weights[:, :, start:stop] = rows.cpu()
        assert weights is not None
        maps.append(AttentionMap(site.name, site.cross, weights))
        return output

    observe(model, inputs, keep)
    return maps
