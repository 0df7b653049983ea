"""Attributions of audited rows, the same way for tables, pictures and texts.

What is explained is the log-odds of one fixed class an example, log p/(1 − p): unlike a probability it does not
saturate, and unlike a logit it does not move when all logits do. Players are a table's features (a one-hot group is
one), a picture's grid cells, a text's tokens without the special ones. What stands for a removed player is chosen in
`players`. Integrated gradients start from the mean background row, the blur, or the mask token's embeddings, and are
summed over each player.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from audit.explaining.methods import Family, method

if TYPE_CHECKING:
    from torch import Tensor

    from audit.datasets import Dataset
    from audit.subject import Subject

Values = tuple[NDArray[np.float64], ...]


@dataclass(frozen=True)
class Attributions:
    """Attributions of n examples, each to its own players.

    Attributes:
        method: one of `METHODS`.
        values: for each example (players,).
        low: lower ends of the 95 % intervals; equal to `values` for methods that sample nothing.
        high: upper ends.
        names: for each example the names of its players.
        base: (n,) log-odds without any player; NaN for methods without a base.
        full: (n,) log-odds of the example.
        evaluations: coalitions or path points spent on an example.
        fit: LIME: (n,) weighted R²; else None.
        error: methods that promise completeness: (n,) relative completeness error; else None.
        elements: gradient methods on tables and pictures: (n, ...) one value an input element; else None.
    """

    method: str
    values: Values
    low: Values
    high: Values
    names: tuple[tuple[str, ...], ...]
    base: NDArray[np.float64]
    full: NDArray[np.float64]
    evaluations: int
    fit: NDArray[np.float64] | None = None
    error: NDArray[np.float64] | None = None
    elements: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Request:
    """What is to be explained.

    Attributes:
        subject: the model.
        data: the n examples.
        targets: (n,) int64, the class explained for each.
        background: rows that may stand for "removed"; see `players.groups_of`.
        evaluations: coalitions an example, raised to what the number of players needs.
        seed: of all draws.
        removal: what stands for a removed player; None takes the first of `REMOVALS` for this kind of input. Methods
            that remove nothing do not look at it.
        complete: whether a method that promises to add up refuses where it does not. Models that mean nothing are explained
            without, and for less.
    """

    subject: Subject
    data: Dataset
    targets: Tensor
    background: Dataset
    evaluations: int
    seed: int
    removal: str | None = None
    complete: bool = True


def attribute(
    name: str,
    subject: Subject,
    data: Dataset,
    targets: Tensor,
    rng: np.random.Generator,
    background: Dataset,
    evaluations: int,
    removal: str | None = None,
    complete: bool = True,
) -> Attributions:
    """Attribute the log-odds of one class an example to its players.

    Args:
        name: one of `METHODS` that is `applicable`.
        subject: see `Request`, as the others.
        data: the n examples.
        targets: (n,) int64.
        rng: source of the seed.
        background: rows that may stand for "removed".
        evaluations: the effort.
        removal: what stands for a removed player.
        complete: whether what promises to add up must.

    Raises:
        CompletenessError: the method promises to add up, and does not on this model.
        ValueError: there is no such method.
    """
    family = method(name).family
    request = Request(subject, data, targets, background, evaluations, int(rng.integers(2**31)), removal, complete)
    if family is Family.GRADIENT:
        from audit.explaining.gradients import from_gradients

        return from_gradients(name, request)
    if family is Family.ATTENTION:
        from audit.explaining.attention import from_attention

        return from_attention(name, request)
    from audit.explaining.games import from_game

    return from_game(name, request)


def attribute_each(
    names: Iterable[str],
    subject: Subject,
    data: Dataset,
    targets: Tensor,
    rng: np.random.Generator,
    background: Dataset,
    evaluations: int,
    removal: str | None = None,
    complete: bool = True,
) -> tuple[dict[str, Attributions], dict[str, str]]:
    """Attributions by several methods; those that refuse this model, and what they say, come second.

    Args are those of `attribute`.
    """
    found: dict[str, Attributions] = {}
    refused: dict[str, str] = {}
    for name in names:
        try:
            found[name] = attribute(name, subject, data, targets, rng, background, evaluations, removal, complete)
        except ValueError as refusal:  # it does not add up, or a model is built as the method cannot read it
            refused[name] = str(refusal)
    return found, refused
