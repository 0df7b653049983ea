"""Shapley values by one constrained least-squares solve, shared by all examples and outputs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from audit.explainers.attribution import Attribution
from audit.explainers.coalitions import Design, design
from audit.explainers.game import Game, Predict


def kernel_shap(
    predict: Predict,
    inputs: Tensor,
    background: Tensor,
    features: Tensor | None = None,
    evaluations: int = 2048,
    targets: int | Sequence[int] | Tensor | None = None,
    seed: int = 0,
    batch_size: int | None = None,
) -> Attribution:
    """Shapley values of the expectation over background rows (Lundberg and Lee 2017), with 95 % intervals.

    The values minimise the kernel-weighted squared error over the coalitions asked for, under the constraint that they
    add up to f(x) − base. Over complementary pairs this depends on v(S) − v(N∖S) alone (Covert and Lee 2021), so one
    matrix maps the differences of all examples and outputs to their values. Where all coalitions fit into
    `evaluations` the values are exact and the intervals have no width.

    Args:
        predict: (m, ...) batch to (m, outputs) scores.
        inputs: (n, ...) examples.
        background: (b, ...) rows that stand for "removed", or (n, b, ...) rows for each example.
        features: integer map shaped like one input, element -> player (one-hot groups, superpixels, tokens); a
            negative number marks an element that is never removed. None: every element is a player.
        evaluations: coalitions an example; each costs b rows of `predict`. The two ends are extra.
        targets: which outputs to explain; None explains all.
        seed: of the coalitions; the global generators are not touched.
        batch_size: rows a call of `predict`; None chooses by memory.

    Returns:
        An `Attribution` with values (n, players, outputs); players in the order of their numbers.

    Raises:
        ValueError: an argument does not fit; the message names it.
    """
    game = Game(predict, inputs, background, features, targets, batch_size)
    ends = torch.zeros(2, game.size, dtype=torch.bool)
    ends[1] = True
    base, full = game.values(ends).unbind(dim=1)
    if game.size == 1:
        whole = (full - base).unsqueeze(1)
        return Attribution(whole, whole, whole, base, 0)
    plan = design(game.size, evaluations, np.random.default_rng(seed))
    first = torch.from_numpy(plan.keep)
    scores = game.values(torch.cat([first, ~first]))
    difference = (scores[:, : len(first)] - scores[:, len(first) :]).numpy()
    values, half = solve(plan, difference, (full - base).numpy())
    middle, width = torch.from_numpy(values), torch.from_numpy(half)
    return Attribution(middle, middle - width, middle + width, base, 2 * len(first))


def solve(
    plan: Design, difference: NDArray[np.float64], total: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Shapley values and half widths of their 95 % intervals.

    Args:
        plan: the pairs asked for.
        difference: (n, pairs, outputs) v(S) − v(N∖S).
        total: (n, outputs) v(N) − v(∅).
    """
    sign = np.where(plan.keep, 1.0, -1.0)
    size = sign.shape[1]
    # an orthonormal basis of the vectors that sum to 0: values = total / size + basis @ free
    basis = np.linalg.qr(np.column_stack([np.ones(size), np.eye(size)[:, 1:]]))[0][:, 1:]
    regressors = sign @ basis
    weighted = plan.weight[:, None] * regressors
    free = np.linalg.pinv(regressors.T @ weighted, hermitian=True) @ weighted.T
    leverage = np.einsum("kf,fk->k", regressors, free)
    project = basis @ free
    rest = difference - sign.sum(1)[:, None] / size * total[:, None]
    values = total[:, None] / size + project @ rest
    # the fit draws residuals towards zero, each by its leverage (HC2, MacKinnon and White 1985)
    residual = (difference - sign @ values) / np.sqrt(np.clip(1 - leverage, 1e-3, None))[:, None]
    return values, _half_width(plan, project, residual)


def _half_width(plan: Design, project: NDArray[np.float64], residual: NDArray[np.float64]) -> NDArray[np.float64]:
    """Half widths from the residuals: stratified sampling without replacement (Cochran 1977, 5.3), linearised.

    A pair moves the values by its column of `project` times its residual; only the layers that were sampled vary, and
    they vary around their own mean. The quantile is Student's with Satterthwaite's degrees of freedom.
    """
    variance = np.zeros((residual.shape[0], project.shape[0], residual.shape[2]))
    uncertain = np.zeros_like(variance)
    for layer in np.unique(plan.layer[plan.drawn < 1]):
        at = plan.layer == layer
        take, share = int(at.sum()), float(plan.drawn[at][0])
        spread = project[:, at] ** 2 @ residual[:, at] ** 2 - (project[:, at] @ residual[:, at]) ** 2 / take
        of_layer = (1 - share) * take / (take - 1) * np.clip(spread, 0, None)
        variance += of_layer
        uncertain += of_layer**2 / (take - 1)
    freedom = variance**2 / np.where(uncertain > 0, uncertain, 1)
    return np.where(variance > 0, stats.t.ppf(0.975, np.maximum(freedom, 1)) * np.sqrt(variance), 0.0)
