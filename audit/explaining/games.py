"""Methods that take players away and look: SHAP, LIME, and the ranking that knows nothing. Imports torch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from audit import explainers
from audit.explainers.coalitions import least
from audit.explainers.game import Predict
from audit.explaining.attributions import Attributions, Request, Values
from audit.explaining.players import classes_of, groups_of, log_odds, names_of


def _occlusion(
    predict: Predict, inputs: Tensor, background: Tensor, features: Tensor, evaluations: int, seed: int
) -> explainers.Attribution:
    """Each player covered in turn: nothing is sampled."""
    return explainers.occlusion(predict, inputs, background, features)


EXPLAIN: dict[str, Callable[..., explainers.Attribution]] = {
    "kernel_shap": explainers.kernel_shap,
    "lime": explainers.lime,
    "occlusion": _occlusion,
}
#: whose values add up from the base
FROM_BASE = ("kernel_shap", "lime")


def from_game(name: str, request: Request) -> Attributions:
    """Attributions by a method that plays the removal game."""
    subject, data, targets = request.subject, request.data, request.targets
    groups = groups_of(subject, data, request.background, request.removal)
    full = log_odds(subject.scores(data), targets).double().numpy()
    names = names_of(groups, len(data))
    base, fit = np.full(len(data), np.nan), np.full(len(data), np.nan)
    if name == "random":
        rng = np.random.default_rng(request.seed)
        values: Values = tuple(rng.standard_normal(len(of_row)) for of_row in names)
        return Attributions(name, values, values, values, names, base, full, 0)
    parts: dict[int, tuple[NDArray[np.float64], ...]] = {}
    spent = 0
    for group in groups:
        if not group.names:  # a text without words
            parts[int(group.rows[0])] = (np.zeros(0),) * 3
            base[group.rows] = full[group.rows]
            continue
        predict, own = classes_of(group, targets)
        enough = max(request.evaluations, least(len(group.names)), 4)
        found = EXPLAIN[name](predict, group.inputs, group.background, group.features, enough, seed=request.seed)
        spent = max(spent, found.evaluations)
        at = np.arange(len(own))
        of_class = [t.numpy()[at, :, own] for t in (found.values, found.low, found.high)]
        if name in FROM_BASE:
            base[group.rows] = found.base.numpy()[at, own]
        if found.fit is not None:
            fit[group.rows] = found.fit.numpy()[at, own]
        for i, row in enumerate(group.rows.tolist()):
            parts[row] = tuple(part[i] for part in of_class)
    values, low, high = (tuple(parts[row][k] for row in range(len(data))) for k in range(3))
    return Attributions(name, values, low, high, names, base, full, spent, fit=fit if name == "lime" else None)
