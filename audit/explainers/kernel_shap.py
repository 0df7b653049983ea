"""Shapley values with 95 % intervals: one design, one matrix, all examples and outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from audit.explainers.attribution import Attribution
from audit.explainers.coalitions import least
from audit.explainers.game import Game, Predict
from audit.explainers.pairs import Pairs


def kernel_shap(
    predict: Predict,
    inputs: Tensor,
    background: Tensor,
    features: Tensor | None = None,
    evaluations: int | Literal["auto"] = 2048,
    targets: int | Sequence[int] | Tensor | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    width: float = 0.05,
    most: int = 2**14,
) -> Attribution:
    """Shapley values of the expectation over background rows (Lundberg and Lee 2017).

    The coalitions asked for are the same for all examples. Over complementary pairs the values depend on v(S) − v(N∖S)
    alone (Covert and Lee 2021), and one matrix maps these differences to them: the mean of a Gaussian process over
    coalitions, whose variance gives the intervals (see `posterior`). They add up to f(x) − base, additive models are exact,
    and where all coalitions fit into `evaluations` the values are those of the definition and the intervals have no
    width. An example's values do not depend on the examples beside it.

    Args:
        predict: (m, ...) batch to (m, outputs) scores.
        inputs: (n, ...) examples.
        background: (b, ...) rows that stand for "removed", or (n, b, ...) rows for each example.
        features: integer map shaped like one input, element -> player (one-hot groups, superpixels, tokens, windows); a
            negative number marks an element that is never removed. None: every element is a player.
        evaluations: coalitions an example; each costs b rows of `predict`. The two ends are extra. "auto" doubles them,
            asking nothing twice, until every half width is at most `width`, or `most` is reached.
        targets: which outputs to explain; None explains all.
        seed: of the coalitions; the global generators are not touched.
        batch_size: rows a call of `predict`; None chooses by memory. The values have the same bits for any.
        width: for "auto": the half width wanted, as a share of the example's largest |value| over players and outputs.
        most: for "auto": coalitions an example at most.

    Returns:
        An `Attribution` with values (n, players, outputs); players in the order of their numbers. Its `evaluations` says
        what was spent.

    Raises:
        ValueError: an argument does not fit; the message names it.
    """
    if evaluations != "auto" and not isinstance(evaluations, int):
        raise ValueError(f'evaluations: Expected a whole number or "auto", found {evaluations!r}.')
    if not 0 < width < np.inf:
        raise ValueError(f"width: Expected a positive share of the largest value, found {width}; try 0.05.")
    pairs = Pairs(Game(predict, inputs, background, features, targets, batch_size), seed)
    if pairs.game.size == 1:
        pairs.ask(0)
        whole = (pairs.full - pairs.base)[:, None]
        return _attribution(pairs, whole, np.zeros_like(whole))
    if not isinstance(evaluations, str):
        pairs.ask(evaluations)
        return _attribution(pairs, *pairs.answers(1))
    return _attribution(pairs, *_until(pairs, width, most))


def _until(pairs: Pairs, width: float, most: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    lowest = least(pairs.game.size)
    if most < lowest:
        raise ValueError(f"most: Expected at least {lowest} for {pairs.game.size} players, found {most}; try more.")
    wanted = min(max(2 * lowest, 128), most)
    while True:
        pairs.ask(wanted)
        values, half = pairs.answers(1)
        largest = np.abs(values).max(axis=(1, 2), keepdims=True)
        if (half <= width * largest).all() or wanted == most:
            return values, half
        wanted = min(2 * wanted, most)


def _attribution(pairs: Pairs, values: NDArray[np.float64], half: NDArray[np.float64]) -> Attribution:
    middle, base = torch.from_numpy(values), torch.from_numpy(pairs.base.copy())
    return Attribution(middle, torch.from_numpy(values - half), torch.from_numpy(values + half), base, pairs.spent)
