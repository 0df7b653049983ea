"""Concept sensitivity: whether moving a layer towards a concept raises a score, and whether chance would do as much."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isnan, nan

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor, nn

from audit.explainers.activations import Layers
from audit.explainers.gradients import guarded

Floats = NDArray[np.float64]

#: parts of the examples that the held-out accuracy of a concept vector is read on in turn
FOLDS = 5
LEVEL = 0.95


@dataclass(frozen=True)
class Sensitivity:
    """How a score depends on one concept at one layer; numbers are NaN where they are undefined.

    Attributes:
        concept: its name.
        layer: name of the submodule.
        accuracy: balanced accuracy of the concept vector on examples that it was not made from, with its 95 % interval
            `accuracy_low` to `accuracy_high`. Where that does not exclude 1/2 the concept is not linearly there, and all
            that follows is undefined.
        share: of the inputs whose score rises along the concept vector (the TCAV score), with its 95 % interval `low`
            to `high`; inputs whose score does not move count for neither side.
        chance_low: what share 2.5 % of random concepts stay below.
        chance_high: what share 97.5 % of random concepts stay below.
        effect: change of the mean score, to first order, when the layer moves from the mean of the other examples to
            that of the concept's, with its 95 % interval `effect_low` to `effect_high`.
        p: two-sided, of the effect among the effects of random concepts.
        adjusted: p after Holm's correction over all concepts and layers that are defined.
    """

    concept: str
    layer: str
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    share: float = nan
    low: float = nan
    high: float = nan
    chance_low: float = nan
    chance_high: float = nan
    effect: float = nan
    effect_low: float = nan
    effect_high: float = nan
    p: float = nan
    adjusted: float = nan

    @property
    def defined(self) -> bool:
        """Whether the concept is linearly there and some score moves."""
        return not isnan(self.p)


def concepts(
    model: nn.Module,
    layers: Sequence[str],
    concepts: Mapping[str, Tensor],
    examples: Tensor,
    inputs: Tensor,
    targets: int | Sequence[int] | Tensor,
    permutations: int = 999,
    resamples: int = 400,
    seed: int = 0,
) -> list[Sensitivity]:
    """Testing with concept activation vectors (TCAV, Kim et al. 2018, https://arxiv.org/abs/1711.11279).

    A concept is a set of examples; its vector at a layer points from the mean activation of the other examples to that
    of the concept's (a difference of means rather than a classifier's normal, which follows distractors: Haufe et al.
    2014; FastCAV, Schmalwasser et al. 2025). The test is a permutation test: would a random concept, as many of the same
    examples drawn blindly, move the mean score as much? A t-test of TCAV scores over repeated runs with one set of concept
    examples, as in the paper, sees the random sets vary but not the concept's, and so calls concepts that a layer encodes
    significant far too often, used or not.

    Args:
        model: module to (m, classes) scores; explain logits or log-odds, for probabilities saturate.
        layers: names of submodules that run once and return floats (a tuple's first entry), one row an input.
        concepts: name -> bool (b,), which examples show the concept; the others are what it is told from.
        examples: (b, ...) inputs of the model.
        inputs: (n, ...) inputs whose scores are differentiated.
        targets: class of each input's score, or one for all.
        permutations: random concepts.
        resamples: of examples and inputs, for the intervals.
        seed: of both and of the folds; the global generators are not touched.

    Returns:
        One `Sensitivity` a concept and layer, layer by layer.

    Raises:
        ValueError: an argument does not fit; the message names it.
    """
    goal = _examine(concepts, examples, inputs, targets)
    if min(permutations, resamples) < 19:
        raise ValueError(f"permutations, resamples: Expected at least 19, found {permutations} and {resamples}.")
    found: list[Sensitivity] = []
    with guarded(model, inputs):
        watched = Layers(model, layers, examples[:1])
        spaces = {name: _Space(len(examples), len(inputs)) for name in watched.width}
        for name, (activations, gradients) in watched.matrices([(examples, None), (inputs, goal)]):
            spaces[name].add(activations.numpy(), gradients.numpy())
    for name in layers:
        for concept, members in concepts.items():
            # a generator each, so that no result depends on which others were asked for
            rng = np.random.default_rng([seed, *concept.encode()])
            member = members.cpu().numpy()
            found.append(_measure(concept, name, spaces[name], member, permutations, resamples, rng))
    return _holm(found)


class _Space:
    """A layer as far as concepts of some examples can tell: inner products with activations and gradients.

    Concept vectors are combinations of activations, so that no activation need be kept.

    Attributes:
        gram: (b, b) inner products of activations.
        slope: (b, n) inner products of activations and gradients.
    """

    def __init__(self, examples: int, inputs: int) -> None:
        self.gram: Floats = np.zeros((examples, examples))
        self.slope: Floats = np.zeros((examples, inputs))

    def add(self, activations: Floats, gradients: Floats) -> None:
        centred = activations - activations.mean(0)
        self.gram += centred @ centred.T
        self.slope += centred @ gradients.T


def _measure(
    concept: str,
    layer: str,
    space: _Space,
    member: NDArray[np.bool_],
    permutations: int,
    resamples: int,
    rng: np.random.Generator,
) -> Sensitivity:
    accuracy, low, high = _accuracy(space, member, rng)
    found = Sensitivity(concept, layer, accuracy, low, high)
    own = _contrast(member[None])
    if low <= 0.5 or not space.slope.any():
        return found
    mixed = _contrast(rng.permuted(np.tile(member, (permutations, 1)), axis=1))
    mean = space.slope.mean(1)
    effect = float(own[0] @ mean)
    # equal up to rounding counts as equal
    p = (1 + int((np.abs(mixed @ mean) >= abs(effect) * (1 - 1e-9)).sum())) / (permutations + 1)
    weight, drawn = _resampled(member, space.slope.shape[1], resamples, rng)
    shares = _shares(weight @ space.slope, drawn)
    effects = (weight @ space.slope * drawn).sum(1) / drawn.sum(1)
    even = np.ones((1, space.slope.shape[1]))
    share = float(_shares(own @ space.slope, even)[0])
    chance = _ends(_shares(mixed @ space.slope, even))
    low, high = _around(share, _ends(shares))
    effect_low, effect_high = _around(effect, _ends(effects))
    return replace(
        found,
        share=share,
        low=low,
        high=high,
        chance_low=chance[0],
        chance_high=chance[1],
        effect=effect,
        effect_low=effect_low,
        effect_high=effect_high,
        p=p,
    )


def _contrast(member: NDArray[np.bool_]) -> Floats:
    """Combinations (r, b) that take the mean of the members less that of the others."""
    inside = member.sum(1, keepdims=True)
    return np.asarray(np.where(member, 1 / inside, -1 / (member.shape[1] - inside)))


def _resampled(
    member: NDArray[np.bool_], inputs: int, resamples: int, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Contrasts (r, b) of resampled examples, members and others by themselves, and counts (r, n) of the inputs."""
    weight = np.zeros((resamples, len(member)))
    for part, sign in ((np.flatnonzero(member), 1.0), (np.flatnonzero(~member), -1.0)):
        counts = rng.multinomial(len(part), np.full(len(part), 1 / len(part)), size=resamples)
        weight[:, part] = sign * counts / len(part)
    return weight, rng.multinomial(inputs, np.full(inputs, 1 / inputs), size=resamples).astype(np.float64)


def _shares(slopes: Floats, count: Floats) -> Floats:
    """Weighted share of positive slopes (r, n) among those that are not 0, (r,); NaN where all are."""
    up, down = ((slopes > 0) * count).sum(1), ((slopes < 0) * count).sum(1)
    return np.asarray(np.where(up + down > 0, up / np.maximum(up + down, 1e-300), nan))


def _ends(values: Floats) -> tuple[float, float]:
    low, high = np.nanquantile(values, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2]) if np.isfinite(values).any() else (nan, nan)
    return float(low), float(high)


def _around(value: float, ends: tuple[float, float]) -> tuple[float, float]:
    return min(ends[0], value), max(ends[1], value)


def _accuracy(space: _Space, member: NDArray[np.bool_], rng: np.random.Generator) -> tuple[float, float, float]:
    """Balanced accuracy of vectors from the other folds, cut half way between the means, and its interval."""
    fold = np.empty(len(member), dtype=np.int64)
    for part in (np.flatnonzero(member), np.flatnonzero(~member)):
        fold[rng.permutation(part)] = np.arange(len(part)) % FOLDS
    right = np.zeros(len(member))
    for out in range(FOLDS):
        held = fold == out
        contrast = np.zeros(len(member))
        contrast[~held] = _contrast(member[~held][None])[0]
        place = space.gram @ contrast
        middle = (place[member & ~held].mean() + place[~member & ~held].mean()) / 2
        right[held] = np.where(place[held] == middle, 0.5, (place[held] > middle) == member[held])
    parts = [(float(right[part].sum()), int(part.sum())) for part in (member, ~member)]
    means = [hits / n for hits, n in parts]
    ends = [stats.binomtest(int(hits), n).proportion_ci(LEVEL, "wilson") for hits, n in parts]
    value = sum(means) / 2
    # the interval of a sum from those of its parts (Zou and Donner 2008)
    down = sum((m - min(e.low, m)) ** 2 for m, e in zip(means, ends, strict=True)) ** 0.5 / 2
    up = sum((max(e.high, m) - m) ** 2 for m, e in zip(means, ends, strict=True)) ** 0.5 / 2
    return value, max(value - down, 0.0), min(value + up, 1.0)


def _holm(found: list[Sensitivity]) -> list[Sensitivity]:
    """With p-values adjusted step by step (Holm 1979) over those that are defined."""
    order = sorted((i for i, s in enumerate(found) if s.defined), key=lambda i: found[i].p)
    out, worst = list(found), 0.0
    for rank, index in enumerate(order):
        worst = max(worst, min(1.0, (len(order) - rank) * found[index].p))
        out[index] = replace(found[index], adjusted=worst)
    return out


def _examine(
    concepts: Mapping[str, Tensor], examples: Tensor, inputs: Tensor, targets: int | Sequence[int] | Tensor
) -> Tensor:
    """The class of each input's score, (n,)."""
    for name, value in (("examples", examples), ("inputs", inputs)):
        if not isinstance(value, Tensor) or value.ndim < 2 or not value.numel():
            raise ValueError(f"{name}: Expected a batch (n, ...) of the model's inputs, found another object.")
    for name, members in concepts.items():
        if not isinstance(members, Tensor) or members.dtype != torch.bool or members.shape != (len(examples),):
            raise ValueError(f"concepts: Expected bool ({len(examples)},) for {name!r}, found another object.")
        inside = int(members.sum())
        if min(inside, len(examples) - inside) < FOLDS:
            raise ValueError(
                f"concepts: Expected at least {FOLDS} examples with {name!r} and {FOLDS} without, found {inside} and "
                f"{len(examples) - inside}."
            )
    goal = torch.as_tensor(targets, device=inputs.device)
    if goal.is_floating_point() or goal.numel() not in (1, len(inputs)) or int(goal.min()) < 0:
        raise ValueError(f"targets: Expected one class, or one an input, found {targets!r}.")
    return goal.reshape(-1).expand(len(inputs)).long()
