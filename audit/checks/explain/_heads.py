"""Attention heads one by one: what each looks at, and what its silence changes. Imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from audit import explainers
from audit.explaining.attention import Portion
from audit.subject import Subject

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Heads:
    """The heads of a model on n texts, in the order they run.

    Attributes:
        labels: (heads,) layer and head, counted from 1.
        layers: (heads,) name of the module.
        effect: (n, heads) fall in log-odds when the head gives its mean output instead; NaN where it was not silenced.
        tokens: (n, heads) how many tokens it looks at: e to the entropy of its weights, averaged over queries.
        distance: (n, heads) how far from the query these stand, in tokens.
        special: (n, heads) share of its weights on tokens that are no words.
    """

    labels: tuple[tuple[int, int], ...]
    layers: tuple[str, ...]
    effect: Floats
    tokens: Floats
    distance: Floats
    special: Floats


def heads_of(subject: Subject, texts: Sequence[Portion], most: int, rng: np.random.Generator) -> Heads:
    """Measure the heads on some texts, and silence at most `most` of them, drawn by chance where there are more."""
    means = _means(subject, texts)
    every = [(layer, head) for layer, mean in enumerate(means) for head in range(len(mean))]
    drawn = range(len(every)) if len(every) <= most else np.sort(rng.choice(len(every), most, replace=False))
    only = [every[int(i)] for i in drawn]
    effects, looks = [], []
    names: tuple[str, ...] = ()
    for portion in texts:
        fallen = explainers.head_ablation(
            subject.model, portion.inputs, portion.targets, means, portion.score, only=only
        )
        effects.append(torch.cat(fallen, dim=1).numpy())
        maps = explainers.attention_maps(subject.model, portion.inputs)
        looks.append(np.concatenate([_look(layer.weights, portion) for layer in maps], axis=2))
        names = tuple(layer.name for layer in maps for _ in range(layer.weights.shape[1]))
    tokens, distance, special = np.concatenate(looks, axis=1)
    labels = tuple((layer + 1, head + 1) for layer, head in every)
    return Heads(labels, names, np.concatenate(effects), tokens, distance, special)


def _means(subject: Subject, texts: Sequence[Portion]) -> list[Tensor]:
    """Mean output of each head over every token of all texts."""
    sizes = [int(portion.real.sum()) for portion in texts]
    parts = [explainers.head_means(subject.model, portion.inputs) for portion in texts]
    return [
        torch.stack([mean * size for mean, size in zip(layer, sizes, strict=True)]).sum(dim=0) / sum(sizes)
        for layer in zip(*parts, strict=True)
    ]


def _look(weights: Tensor, portion: Portion) -> Floats:
    """Tokens, distance and share of special ones, (3, n, heads), from one layer's map."""
    real = torch.from_numpy(portion.real).to(torch.float64)
    a = weights.to(torch.float64) * real[:, None, :, None]
    word = torch.zeros_like(real)
    for row, words in enumerate(portion.words):
        word[row, words] = 1.0
    place = torch.arange(real.shape[1], dtype=torch.float64)
    entropy = -torch.special.xlogy(a, a).sum(dim=3)
    parts = (
        entropy.exp() * real[:, None, :],
        (a * (place[:, None] - place).abs()).sum(dim=3),
        (a * (1 - word)[:, None, None, :]).sum(dim=3),
    )
    queries = real.sum(dim=1)[:, None]
    return torch.stack([part.sum(dim=2) / queries for part in parts]).numpy()
