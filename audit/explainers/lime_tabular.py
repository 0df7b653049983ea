"""LIME for tables: a weighted ridge regression on rows drawn column by column, one draw for all examples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from audit.explainers.attribution import Attribution
from audit.explainers.game import Game, Predict
from audit.explainers.lime import attribution, kernel, reaching, surrogate


def lime_tabular(
    predict: Predict,
    inputs: Tensor,
    background: Tensor,
    features: Tensor | None = None,
    evaluations: int = 5000,
    targets: int | Sequence[int] | Tensor | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    bins: int | None = 4,
    width: float | None = None,
    ridge: float = 1e-6,
) -> Attribution:
    """Local linear surrogate over rows drawn from the data (Ribeiro, Singh and Guestrin 2016, as `lime_tabular`).

    Each column of a drawn row comes from a row of the background of its own, so that every value occurs in the data and
    a one-hot group stays one category. With `bins`, a column counts as 1 where it falls into the same quantile bin of
    the background as the example's value (a group: where it is the same category), else as 0; the coefficient says
    what being in that bin is worth. With `bins=None`, a number is a regressor itself, in standard deviations of the
    background. Samples weigh √exp(−d²/width²), d being the Euclidean distance between regressors.

    The drawn rows do not depend on the example, so that the model sees them once for all examples and outputs.

    Args:
        predict: (m, ...) batch to (m, outputs) scores.
        inputs: (n, ...) examples.
        background: (b, ...) rows to draw from, such as the training rows.
        features: integer map shaped like one input, element -> player (a one-hot group is one player). None: every
            element is a player.
        evaluations: samples an example, itself included; in all, `predict` sees evaluations − 1 + n rows.
        targets: which outputs to explain; None explains all.
        seed: of the draws; the global generators are not touched.
        batch_size: rows a call of `predict`; None chooses by memory.
        bins: quantile bins a number is cut into; None: numbers stay numbers.
        width: of the locality kernel; None: 0.75 √players.
        ridge: penalty on the squared coefficients (not on the intercept), as a share of the total weight.

    Returns:
        An `Attribution` with values (n, players, outputs), the coefficients; `base` is the intercept and `fit` the
        weighted R², NaN where the score does not vary. Intervals (Student t over a sandwich variance) cover the draw.

    Raises:
        ValueError: an argument does not fit; the message names it.
    """
    own = Game(predict, inputs, background, features, targets, batch_size)
    players = own.size
    if background.ndim != inputs.ndim:
        raise ValueError(
            f"background: Expected rows for all examples, found {tuple(background.shape)}; try kernel_shap or lime."
        )
    if bool((own.element < 0).any()):
        raise ValueError("features: Expected a player for every element, found a negative number; try a new player.")
    if evaluations < players + 3:
        raise ValueError(f"evaluations: Expected at least {players + 3}, found {evaluations}; try more.")
    if bins is not None and bins < 2:
        raise ValueError(f"bins: Expected at least 2, or None, found {bins}.")
    width = 0.75 * players**0.5 if width is None else width
    if width <= 0 or ridge < 0:
        raise ValueError(f"width, ridge: Expected width > 0 and ridge >= 0, found {width} and {ridge}.")
    element = own.element.cpu().numpy()
    known = background.detach().cpu().flatten(1)
    drawn = _draw(known, element, evaluations - 1, np.random.default_rng(seed))
    whole = torch.ones(1, players, dtype=torch.bool)
    rows = drawn.reshape(-1, *inputs.shape[1:]).to(inputs)
    shared, scores = (
        # nothing is removed, so one row of background is enough
        Game(predict, part, part[:1], features, targets, batch_size).values(whole).numpy()
        for part in (rows, inputs)
    )
    view = _View(known, element, players, bins)
    here, there = view.of(inputs.detach().cpu().flatten(1)), view.of(drawn)
    parts = []
    for at in range(len(inputs)):
        regressors, distance = view.compare(here[at], there)
        both = np.concatenate([scores[at], shared[:, 0]])[None]
        weight = reaching(regressors, kernel(distance, width), f"example {at}")
        parts.append(surrogate(regressors, weight, both, ridge))
    coefficients, half, fit = (np.concatenate(part) for part in zip(*parts, strict=True))
    return attribution(coefficients, half, fit, evaluations)


def _draw(known: Tensor, element: NDArray[np.int64], count: int, rng: np.random.Generator) -> Tensor:
    """Rows (count, elements), each player from a background row of its own."""
    source = torch.from_numpy(rng.integers(0, len(known), (count, int(element.max()) + 1)))
    return known[source[:, torch.from_numpy(element)], torch.arange(known.shape[1])]


class _View:
    """Rows as the regression sees them, one number a player: a bin, a category or a standardised number.

    Args:
        known: (b, elements) background.
        element: player of each element.
        players: how many.
        bins: see `lime_tabular`.
    """

    def __init__(self, known: Tensor, element: NDArray[np.int64], players: int, bins: int | None) -> None:
        self._spots = [np.flatnonzero(element == player) for player in range(players)]
        self._known = known.double().numpy()
        self._bins = bins
        self._number = np.array([bins is None and len(spots) == 1 for spots in self._spots])

    def of(self, rows: Tensor) -> NDArray[np.float64]:
        """(m, elements) to (m, players)."""
        raw = rows.double().numpy()
        return np.column_stack([self._column(raw[:, spots], self._known[:, spots]) for spots in self._spots])

    def _column(self, raw: NDArray[np.float64], known: NDArray[np.float64]) -> NDArray[np.float64]:
        if raw.shape[1] > 1:
            # categories are the rows that the background holds; others are alike in being none of these
            names = {values.tobytes(): code for code, values in enumerate(np.unique(known, axis=0) + 0.0)}
            return np.array([names.get(values.tobytes(), -1.0) for values in raw + 0.0])
        values, seen = raw[:, 0], known[:, 0]
        if self._bins is None:
            return np.asarray((values - seen.mean()) / (seen.std() or 1.0))
        edges = np.unique(np.quantile(seen, np.arange(1, self._bins) / self._bins))
        return np.searchsorted(edges, values).astype(np.float64)

    def compare(
        self, here: NDArray[np.float64], there: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Regressors (1 + m, players) of one example and the drawn rows, and their distances to it, (1 + m,)."""
        rows = np.concatenate([here[None], there])
        same = (rows == here).astype(np.float64)
        gap = np.where(self._number, rows - here, 1 - same)
        return np.where(self._number, rows, same), np.sqrt((gap**2).sum(1))
