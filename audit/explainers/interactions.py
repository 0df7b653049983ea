"""Which players work together: pairwise Shapley interactions beside the main effects, with 95 % intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from audit.explainers.game import Game, Predict
from audit.explainers.pairs import Pairs


@dataclass(frozen=True)
class Interactions:
    """Interactions of n examples: base + Σ main + Σ_{i<j} values[i, j] is the score.

    Attributes:
        values: (n, players, players, outputs) float64, symmetric; the diagonal is 0.
        low: lower ends of the 95 % intervals, same shape; equal to `values` where nothing was sampled.
        high: upper ends, same shape.
        main: (n, players, outputs) what is left to each player: its Shapley value less half of its interactions.
        base: (n, outputs) the score without any player.
        evaluations: coalitions spent on each example.
    """

    values: Tensor
    low: Tensor
    high: Tensor
    main: Tensor
    base: Tensor
    evaluations: int


def interactions(
    predict: Predict,
    inputs: Tensor,
    background: Tensor,
    features: Tensor | None = None,
    evaluations: int = 2048,
    targets: int | Sequence[int] | Tensor | None = None,
    seed: int = 0,
    batch_size: int | None = None,
) -> Interactions:
    """Pairwise Shapley interaction index (Grabisch and Roubens 1999) in the game of `kernel_shap`.

    I(i, j) is the mean over coalitions S without both, sizes equally often, of v(S∪ij) − v(S∪i) − v(S∪j) + v(S). Where
    all coalitions fit into `evaluations` it is exact. Else it is the posterior mean given the coalitions asked for (see
    `posterior`): from v(S) + v(N∖S), exact for games without interactions of more than three players. Main effects are
    those of 2-Shapley values (Bordt and von Luxburg 2023), as in the trees' interaction values of the shap package.

    Args:
        predict: (m, ...) batch to (m, outputs) scores.
        inputs: (n, ...) examples.
        background: (b, ...) rows that stand for "removed", or (n, b, ...) rows for each example.
        features: integer map shaped like one input, element -> player; negative: never removed.
        evaluations: coalitions an example, more than players · (players + 1); each costs b rows of `predict`.
        targets: which outputs to explain; None explains all.
        seed: of the coalitions; the global generators are not touched.
        batch_size: rows a call of `predict`; None chooses by memory.

    Raises:
        ValueError: an argument does not fit; the message names it.
    """
    pairs = Pairs(Game(predict, inputs, background, features, targets, batch_size), seed, order=2)
    players = pairs.game.size
    pairs.ask(evaluations)
    if players == 1:
        main = (pairs.full - pairs.base)[:, None]
        empty = torch.zeros(len(main), 1, 1, main.shape[2], dtype=torch.float64)
        return Interactions(empty, empty, empty, torch.from_numpy(main), torch.from_numpy(pairs.base.copy()), 0)
    values, half = pairs.answers(2)
    shapley, _ = pairs.answers(1)
    both, width = (_square(each, players) for each in (values, half))
    main = shapley - both.sum(2) / 2
    return Interactions(
        torch.from_numpy(both),
        torch.from_numpy(both - width),
        torch.from_numpy(both + width),
        torch.from_numpy(main),
        torch.from_numpy(pairs.base.copy()),
        pairs.spent,
    )


def _square(of_pairs: NDArray[np.float64], players: int) -> NDArray[np.float64]:
    """Values of the pairs i < j, (n, pairs, outputs), as a symmetric array (n, players, players, outputs)."""
    one, two = np.triu_indices(players, 1)
    square = np.zeros((len(of_pairs), players, players, of_pairs.shape[2]))
    square[:, one, two] = square[:, two, one] = of_pairs
    return square
