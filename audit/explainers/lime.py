"""LIME: a weighted ridge regression on sampled coalitions, one solve for all examples and outputs."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb
from typing import Literal, TypeAlias, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from audit.explainers.attribution import Attribution
from audit.explainers.game import Game, Predict

Removed: TypeAlias = Literal["half", "any"]

#: variance of the regressors under the kernel, as a share of that without, below which no slope can be told
FAINT = 1e-6


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
    removed: Removed = "half",
) -> Attribution:
    """Local linear surrogate over the presence of players (Ribeiro, Singh and Guestrin 2016).

    Coalitions are drawn at random (or enumerated where all fit); each weighs √exp(−d²/width²), with
    d = 1 − √(share of players kept), the cosine distance to the whole example, as the `lime` package does for texts and
    images. The score of a coalition is that of the game of `kernel_shap`. What that package does for tables is
    `lime_tabular`. Series: give `features` that number windows of time.

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
        removed: "half": each player goes with probability 1/2 (the `lime` package's images); "any": every number of
            players, from one to all, goes as often as any other (its texts), which keeps closer to the example.

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
    if removed not in get_args(Removed):
        raise ValueError(f"removed: Expected one of {', '.join(get_args(Removed))}, found {removed!r}.")
    keep, chance = _coalitions(game.size, evaluations, removed, np.random.default_rng(seed))
    weight = kernel(1 - np.sqrt(keep.mean(1)), width)
    if chance is not None:
        weight = weight * chance
    reaching(keep, weight, "the examples")
    scores = game.values(torch.from_numpy(keep)).numpy()
    coefficients, half, fit = surrogate(keep, weight, scores, ridge)
    return attribution(coefficients, half if chance is None else np.zeros_like(half), fit, len(keep))


def kernel(distance: NDArray[np.float64], width: float) -> NDArray[np.float64]:
    """√exp(−d²/width²), the `lime` package's weight of a sample at distance d."""
    return np.asarray(np.sqrt(np.exp(-((distance / width) ** 2))))


def reaching(
    regressors: NDArray[np.bool_] | NDArray[np.float64], weight: NDArray[np.float64], where: str
) -> NDArray[np.float64]:
    """The weights (m,), under which the regressors (m, players) still vary.

    Raises:
        ValueError: they do not, though the samples do: what weighs anything is alike, so that there is no line to fit.
    """
    share = weight / max(weight.sum(), np.finfo(np.float64).tiny)
    values = np.asarray(regressors, dtype=np.float64)
    left, whole = (float((w @ (values - w @ values) ** 2).max()) for w in (share, np.full(len(share), 1 / len(share))))
    if left <= FAINT * whole and whole > 0:
        raise ValueError(
            f"width: Expected a kernel that reaches samples unlike each other around {where}, found none with any weight; "
            "try a larger width."
        )
    return weight


def attribution(
    coefficients: NDArray[np.float64], half: NDArray[np.float64], fit: NDArray[np.float64], evaluations: int
) -> Attribution:
    """What `surrogate` found, as every explainer returns it."""
    values, spread = torch.from_numpy(coefficients[:, 1:]), torch.from_numpy(half[:, 1:])
    base = torch.from_numpy(coefficients[:, 0])
    return Attribution(values, values - spread, values + spread, base, evaluations, fit=torch.from_numpy(fit))


def surrogate(
    regressors: NDArray[np.bool_] | NDArray[np.float64],
    weight: NDArray[np.float64],
    scores: NDArray[np.float64],
    ridge: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Weighted ridge regression of scores (n, m, outputs) on the same regressors for all n.

    Args:
        regressors: (m, players).
        weight: (m,), of each sample.
        scores: (n, m, outputs).
        ridge: penalty on the squared coefficients, as a share of the total weight.

    Returns:
        Coefficients (n, 1 + players, outputs) with the intercept first, half widths of their 95 % intervals (same
        shape), and the weighted R² (n, outputs).
    """
    share = weight / weight.sum()
    values = np.asarray(regressors, dtype=np.float64)
    mean = share @ values
    # the intercept is not penalised, so it may be taken out; a column that never varies is then exactly 0
    design = values - mean
    weighted = (share[:, None] * design).T
    size = values.shape[1]
    # columns that vary together leave eigenvalues that are rounding alone
    slopes = np.linalg.pinv(weighted @ design + ridge * np.eye(size), rcond=1e-12, hermitian=True) @ weighted
    leverage = np.einsum("kp,pk->k", design, slopes) + share
    project = np.concatenate([(share - mean @ slopes)[None], slopes])
    quantile = stats.t.ppf(0.975, max(1, len(values) - size - 1))
    parts = []
    for of_example in scores:  # one by one, for sums over a batch may depend on its size in the last digit
        centre = share @ of_example
        rest = of_example - centre
        coefficients = project @ rest
        residual = rest - design @ coefficients[1:]
        coefficients[0] += centre
        # HC3: residuals divided by 1 - leverage, as in the jackknife (MacKinnon and White 1985)
        honest = residual / np.clip(1 - leverage, 1e-3, None)[:, None]
        half = quantile * np.sqrt(project**2 @ honest**2)
        spread, unexplained = share @ rest**2, share @ residual**2
        varies = spread > 1e-20 * np.maximum(1, centre**2)
        parts.append((coefficients, half, np.where(varies, 1 - unexplained / np.where(varies, spread, 1), np.nan)))
    all_coefficients, all_half, fit = (np.stack(part) for part in zip(*parts, strict=True))
    return all_coefficients, all_half, fit


def _coalitions(
    players: int, evaluations: int, removed: Removed, rng: np.random.Generator
) -> tuple[NDArray[np.bool_], NDArray[np.float64] | None]:
    """Coalitions (m, players), and how likely each is where all are listed; None where they were drawn."""
    if players < 31 and 2**players <= evaluations:
        codes = np.arange(2**players)[:, None]
        keep = (codes >> np.arange(players)) & 1 == 1
        if removed == "half":
            return keep, np.ones(len(keep))
        gone = players - keep.sum(1)
        # the whole example is no draw, but a single player needs it; a size shares its chance among its coalitions
        return keep, np.array([(s > 0 or players == 1) / (players * comb(players, s)) for s in gone.tolist()])
    if removed == "half":
        keep = rng.random((evaluations, players)) < 0.5
    else:
        gone = rng.integers(1, players + 1, evaluations)
        keep = rng.permuted(np.tile(np.arange(players), (evaluations, 1)), axis=1) >= gone[:, None]
    keep[0] = True  # the example itself
    return keep, None
