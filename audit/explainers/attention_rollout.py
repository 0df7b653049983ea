"""Attention followed through the layers, one layer's rows at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from audit.explainers.attention_capture import ModelInputs, observe
from audit.explainers.attention_site import Site


def attention_rollout(model: nn.Module, inputs: ModelInputs) -> Tensor:
    """Attention followed through the layers (Abnar and Zuidema 2020, eq. 1 and section 3), (n, query, key) float64.

    Heads are averaged, the residual connection is 0.5 A + 0.5 I, rows are normalised, and layers are multiplied with
    the last one leftmost. Padding is masked: with an `attention_mask` (1 = a token) or a `src_key_padding_mask` (True =
    padding) in `inputs`, padded keys get 0 and padded queries keep to themselves. Rollout knows no class, so it says
    what was mixed, not what the score rests on. A layer is folded in as it runs: no layer's map is ever held whole.

    Args:
        model: see `attention_maps`.
        inputs: see `attention_maps`.

    Raises:
        ValueError: the model gives no attention maps, or they cannot be chained (cross-attention, windows, pooling).
    """
    joint: Tensor | None = None
    real = padding(inputs)

    def fold(site: Site) -> Tensor:
        nonlocal joint
        output = site.run()
        examine(site, inputs, None if joint is None else (len(joint), joint.shape[1]))
        size = site.shape[2]
        found = torch.empty(site.shape[0], size, size, dtype=torch.float64)
        for start, stop in site.chunks():
            mean = site.rows(start, stop).to(torch.float64).mean(dim=1).cpu()
            rows = _with_residual(mean, start, real)
            found[:, start:stop] = rows if joint is None else rows @ joint
        joint = found
        return output

    observe(model, inputs, fold)
    assert joint is not None
    return joint


def rollout(maps: Sequence[Tensor], mask: Tensor | None = None) -> Tensor:
    """Rollout of attention maps (n, heads, query, key) with a padding mask (n, length), 1 = a token.

    Raises:
        ValueError: queries and keys differ in number.
    """
    joint: Tensor | None = None
    real = None if mask is None else mask.bool().cpu()
    for layer in maps:
        mean = layer.to("cpu", torch.float64).mean(dim=1)
        if mean.shape[1] != mean.shape[2]:
            raise ValueError(f"maps: Expected self-attention, found {mean.shape[1]} queries over {mean.shape[2]} keys.")
        rows = _with_residual(mean, 0, real)
        joint = rows if joint is None else rows @ joint
    if joint is None:
        raise ValueError("maps: Expected at least one layer, found none.")
    return joint


def padding(inputs: ModelInputs) -> Tensor | None:
    """What is a token and what is padding, (n, length) bool on the CPU, as the inputs say; None where they do not."""
    if not isinstance(inputs, Mapping):
        return None
    mask = inputs.get("attention_mask")
    if mask is not None and mask.ndim == 2:
        return mask.bool().cpu()
    for name in ("src_key_padding_mask", "key_padding_mask"):
        mask = inputs.get(name)
        if mask is not None:
            # bool: True is padding; float: what is added to the scores
            return ~mask.cpu() if mask.dtype == torch.bool else (mask == 0).cpu()
    return None


def examine(site: Site, inputs: ModelInputs, before: tuple[int, int] | None) -> None:
    """Refuse a layer that cannot be chained to those before it.

    Raises:
        ValueError: it looks at another sequence, at a part of one, or at fewer or more tokens than they did.

    Args:
        site: the layer.
        inputs: what the model was called with.
        before: (n, tokens) of the layer before; None for the first.
    """
    n, _, queries, keys = site.shape
    where = f"in {site.name or 'the model'}"
    if site.cross or queries != keys:
        raise ValueError(
            f"model: Expected self-attention over one sequence, found {queries} queries over {keys} keys of another {where}; "
            "try attention_maps."
        )
    if before is not None and before[1] != queries:
        raise ValueError(
            f"model: Expected layers over the same tokens, found {queries} after {before[1]} {where}; try attention_maps."
        )
    first = next(iter(inputs.values())) if isinstance(inputs, Mapping) else inputs
    # examples may be second, and an example without a batch is one
    possible = {first.shape[0]} | ({first.shape[1]} if first.ndim == 3 else set()) | ({1} if first.ndim == 2 else set())
    if n not in possible or (before is not None and before[0] != n):
        raise ValueError(
            f"model: Expected one map an example, found {n} for inputs of shape {tuple(first.shape)} {where}, as windowed "
            "attention has; try attention_maps."
        )
    real = padding(inputs)
    if real is not None and real.shape != (n, keys):
        raise ValueError(f"inputs: Expected padding for {(n, keys)} tokens, found {tuple(real.shape)} {where}.")


def _with_residual(mean: Tensor, start: int, real: Tensor | None) -> Tensor:
    """Rows 0.5 A + 0.5 I of a map, padding masked, normalised; `mean` (n, rows, key) begins at query `start`."""
    stop = start + mean.shape[1]
    if real is not None:
        mean = mean * real[:, None, :] * real[:, start:stop, None]
    mixed = 0.5 * mean + 0.5 * torch.eye(mean.shape[2], dtype=mean.dtype)[start:stop]
    return mixed / mixed.sum(dim=-1, keepdim=True)
