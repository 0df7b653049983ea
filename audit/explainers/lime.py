"""LIME: a weighted ridge regression on sampled coalitions, one solve for all examples and outputs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from audit.explainers.attribution import Attribution
from audit.explainers.game import Game, Predict


def lime(
    predict: Predict,
    inputs: Tensor,
    background: Tensor,
    features: Tensor | None = None,
    evaluations: int = 2048,
    targets: int | Sequence[int] | Tensor | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    width: float = 0.25,
    ridge: float = 1e-6,
) -> Attribution:
    """Local linear surrogate over the presence of players (Ribeiro, Singh and Guestrin 2016).

    Coalitions hold each player with probability 1/2 (or are enumerated where all fit); each weighs
    √exp(−d²/width²), with d = 1 − √(share of players kept), the cosine distance to the whole example, as the `lime`
    package does for texts and images. The score of a coalition is that of the game of `kernel_shap`.

    Args:
        predict: (m, ...) batch to (m, outputs) scores.
        inputs: (n, ...) examples.
        background: (b, ...) rows that stand for "removed", or (n, b, ...) rows for each example.
        features: integer map shaped like one input, element -> player; negative: never removed.
        evaluations: coalitions an example.
        targets: which outputs to explain; None explains all.
        seed: of the coalitions; the global generators are not touched.
        batch_size: rows a call of `predict`; None chooses by memory.
        width: width of the locality kernel.
        ridge: penalty on the squared coefficients (not on the intercept), as a share of the total weight of the
            coalitions. The `lime` package takes 1 whatever the total, which shrinks small samples.

    Returns:
        An `Attribution` with values (n, players, outputs), the coefficients; `fit` is the weighted R², NaN where the
        score does not vary. Intervals (Student t over a sandwich variance) cover the choice of coalitions.

    Raises:
        ValueError: an argument does not fit; the message names it.
    """
    game = Game(predict, inputs, background, features, targets, batch_size)
    if evaluations < min(2**game.size, game.size + 2):
        raise ValueError(f"evaluations: Expected at least {game.size + 2}, found {evaluations}; try more.")
    if width <= 0 or ridge < 0:
        raise ValueError(f"width, ridge: Expected width > 0 and ridge >= 0, found {width} and {ridge}.")
    keep, exact = _coalitions(game.size, evaluations, np.random.default_rng(seed))
    distance = 1 - np.sqrt(keep.mean(1))
    weight = np.sqrt(np.exp(-((distance / width) ** 2)))
    scores = game.values(torch.from_numpy(keep)).numpy()
    coefficients, half, fit = surrogate(keep, weight, scores, ridge * weight.sum())
    if exact:
        half = np.zeros_like(half)
    values, spread = torch.from_numpy(coefficients[:, 1:]), torch.from_numpy(half[:, 1:])
    base = torch.from_numpy(coefficients[:, 0])
    return Attribution(values, values - spread, values + spread, base, len(keep), fit=torch.from_numpy(fit))


def surrogate(
    keep: NDArray[np.bool_], weight: NDArray[np.float64], scores: NDArray[np.float64], ridge: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Weighted ridge regression of scores (n, m, outputs) on coalitions (m, players).

    Returns:
        Coefficients (n, 1 + players, outputs) with the intercept first, half widths of their 95 % intervals (same
        shape), and the weighted R² (n, outputs).
    """
    design = np.column_stack([np.ones(len(keep)), keep.astype(np.float64)])
    penalty = ridge * np.eye(design.shape[1])
    penalty[0, 0] = 0
    project = (
        np.linalg.pinv(design.T @ (weight[:, None] * design) + penalty, hermitian=True) @ (design * weight[:, None]).T
    )
    coefficients = project @ scores
    residual = scores - design @ coefficients
    leverage = np.einsum("kp,pk->k", design, project)
    # HC3: residuals divided by 1 - leverage, as in the jackknife (MacKinnon and White 1985)
    honest = residual / np.clip(1 - leverage, 1e-3, None)[:, None]
    freedom = max(1, len(keep) - design.shape[1])
    half = stats.t.ppf(0.975, freedom) * np.sqrt(project**2 @ honest**2)
    share = (weight / weight.sum())[:, None]
    centre = (share * scores).sum(1, keepdims=True)
    spread = (share * (scores - centre) ** 2).sum(1)
    unexplained = (share * residual**2).sum(1)
    varies = spread > 1e-20 * np.maximum(1, centre[:, 0] ** 2)
    fit = np.where(varies, 1 - unexplained / np.where(varies, spread, 1), np.nan)
    return coefficients, np.asarray(half), fit


def _coalitions(players: int, evaluations: int, rng: np.random.Generator) -> tuple[NDArray[np.bool_], bool]:
    if players < 31 and 2**players <= evaluations:
        codes = np.arange(2**players)[:, None]
        return (codes >> np.arange(players)) & 1 == 1, True
    keep = rng.random((evaluations, players)) < 0.5
    keep[0] = True  # the example itself
    return keep, False
