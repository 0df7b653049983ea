"""Other ways to write down the same function: an explanation of a model must not depend on which one was stored.

Hidden units have no order, no scale (behind a ReLU) and no number: two half units do what one did. Each rewrite is tried on
a pair of layers, kept only where the scores stay what they were, and undone otherwise, so no knowledge of the architecture
is needed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

KINDS = ("permute", "rescale", "split", "shift")
#: largest change of a score, relative to the largest score, that counts as none
TOLERANCE = 1e-4

Layer = nn.Linear | nn.Conv1d | nn.Conv2d
Norm = nn.BatchNorm1d | nn.BatchNorm2d
Undo = list[tuple[nn.Module, str, Tensor | int]]


@dataclass(frozen=True)
class Rewrite:
    """What was done to a model.

    Attributes:
        kind: one of `KINDS`.
        done: pairs of layers (for "shift": heads) that were rewritten.
        tried: pairs that could have been; the others changed the scores.
    """

    kind: str
    done: int
    tried: int


@dataclass(frozen=True)
class _Pair:
    """Units made by one layer and read by another, with what normalises them on the way."""

    maker: Layer
    norms: tuple[Norm, ...]
    reader: Layer


def rewrites(
    model: nn.Module, scores: Callable[[], Tensor], kind: str, rng: np.random.Generator, most: int = 12
) -> Rewrite:
    """Rewrite a model in place without changing its function.

    "permute" changes the order of hidden units, "rescale" multiplies them by numbers between 1/2 and 2 and divides where
    they are read (as Neyshabur et al. 2015 do for ReLU), "split" makes two of one, "shift" adds the same number to all
    logits.

    Args:
        model: a copy, changed in place.
        scores: the scores (n, classes) of some examples under this model, without gradient.
        kind: one of `KINDS`.
        rng: source of orders, scales and shifts.
        most: pairs of layers tried.

    Raises:
        ValueError: there is no such kind.
    """
    if kind not in KINDS:
        raise ValueError(f"kind: Expected one of {KINDS}, found {kind!r}.")
    before = scores()
    same = TOLERANCE * max(float(before.abs().max()), 1.0)
    if kind == "shift":
        return _shift(model, scores, before, same)
    pairs = _pairs(model)
    pairs = [pairs[i] for i in np.linspace(0, len(pairs) - 1, min(most, len(pairs))).round().astype(int)]
    done = 0
    for pair in pairs:
        undo = _rewrite(pair, kind, rng)
        if bool(((_tried(scores, before) - before).abs() <= same).all()):
            done += 1
        else:
            _restore(undo)
    return Rewrite(kind, done, len(pairs))


def _tried(scores: Callable[[], Tensor], before: Tensor) -> Tensor:
    """The scores, or NaN where a rewritten pair does not fit what stands between its layers."""
    try:
        return scores()
    except (RuntimeError, ValueError):
        return torch.full_like(before, torch.nan)


def _shift(model: nn.Module, scores: Callable[[], Tensor], before: Tensor, same: float) -> Rewrite:
    """Add 1 to the bias of every logit of the head."""
    layers = [m for m in model.modules() if isinstance(m, Layer) and m.bias is not None]
    heads = [m for m in layers if m.bias is not None and len(m.bias) == before.shape[1]][::-1][:2]
    for head in heads:
        assert head.bias is not None
        undo: Undo = [(head, "bias", head.bias.detach().clone())]
        _put(head, "bias", head.bias.detach() + 1)
        if bool(((scores() - before - 1).abs() <= same).all()):
            return Rewrite("shift", 1, len(heads))
        _restore(undo)
    return Rewrite("shift", 0, len(heads))


def _pairs(model: nn.Module) -> list[_Pair]:
    """Layers next to each other in the order of their definition whose sizes fit."""
    found: list[_Pair] = []
    maker: Layer | None = None
    norms: list[Norm] = []
    for module in model.modules():
        if isinstance(module, Norm):
            norms.append(module)
        if not isinstance(module, Layer):
            continue
        if maker is not None and _inputs(module) % _units(maker) == 0 and not _grouped(maker, module):
            between = tuple(n for n in norms if n.num_features == _units(maker))
            found.append(_Pair(maker, between, module))
        maker, norms = module, []
    return found


def _units(layer: Layer) -> int:
    return layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels


def _inputs(layer: Layer) -> int:
    return layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels


def _grouped(*layers: Layer) -> bool:
    return any(not isinstance(layer, nn.Linear) and layer.groups > 1 for layer in layers)


def _rewrite(pair: _Pair, kind: str, rng: np.random.Generator) -> Undo:
    """Replace the units by those of `index`, each made `scale` times as large and read `weight` times as much."""
    units = _units(pair.maker)
    index, scale = np.arange(units), np.ones(units)
    if kind == "permute":
        index = rng.permutation(units)
    elif kind == "rescale":
        scale = 2.0 ** rng.uniform(-1, 1, units)
    else:
        twin = int(rng.integers(units))
        index, scale = np.append(index, twin), np.ones(units + 1)
    weight = 1 / (scale * np.bincount(index, minlength=units)[index])
    return _replace(pair, torch.from_numpy(index), torch.from_numpy(scale), torch.from_numpy(weight))


def _replace(pair: _Pair, index: Tensor, scale: Tensor, weight: Tensor) -> Undo:
    undo: Undo = []
    scaled = pair.norms[-1] if pair.norms else pair.maker
    for module in (pair.maker, *pair.norms):
        for name in ("weight", "bias", "running_mean", "running_var"):
            old = getattr(module, name, None)
            if not isinstance(old, Tensor):
                continue
            new = old.detach()[index.to(old.device)]
            if module is scaled and name in ("weight", "bias"):
                new = new * scale.to(new).reshape(-1, *[1] * (new.ndim - 1))
            undo.append((module, name, old.detach().clone()))
            _put(module, name, new)
        size = "num_features" if isinstance(module, Norm) else _made(module)
        undo.append((module, size, int(getattr(module, size))))
        setattr(module, size, len(index))
    old = pair.reader.weight.detach()
    units = len(torch.unique(index))
    columns = old.reshape(len(old), units, -1)[:, index.to(old.device)] * weight.to(old)[:, None]
    undo.append((pair.reader, "weight", old.clone()))
    new_inputs = _inputs(pair.reader) // units * len(index)
    _put(pair.reader, "weight", columns.reshape(len(old), new_inputs, *old.shape[2:]))
    size = "in_features" if isinstance(pair.reader, nn.Linear) else "in_channels"
    undo.append((pair.reader, size, int(getattr(pair.reader, size))))
    setattr(pair.reader, size, new_inputs)
    return undo


def _made(layer: nn.Module) -> str:
    return "out_features" if isinstance(layer, nn.Linear) else "out_channels"


def _put(module: nn.Module, name: str, value: Tensor) -> None:
    old = getattr(module, name)
    setattr(module, name, nn.Parameter(value, old.requires_grad) if isinstance(old, nn.Parameter) else value)


def _restore(undo: Undo) -> None:
    for module, name, old in reversed(undo):
        if isinstance(old, Tensor):
            _put(module, name, old)
        else:
            setattr(module, name, old)
