"""Whether an explanation lies where people marked the object.

All take attributions (..., n, players) and masks (n, players) bool, and return (..., n); an example without a mark, or with
nothing but marks, is NaN. Negative attributions speak against the class and are nowhere counted as pointing at it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from audit.explainers.quality.removal import Bools, Floats, players_of


def pointing_game(attributions: Floats, masks: Bools) -> Floats:
    """Whether the highest player is marked (Zhang et al. 2018): 1 or 0; ties share the point.

    Raises:
        ValueError: shapes do not fit.
    """
    values, marked = _fit(attributions, masks)
    highest = values == values.max(-1, keepdims=True)
    return _defined((highest & marked).sum(-1) / highest.sum(-1), marked)


def relevance_mass(attributions: Floats, masks: Bools) -> Floats:
    """Share of the positive attributions that is marked (Arras, Osman and Samek 2022, eq. 5); NaN where none is positive.

    Raises:
        ValueError: shapes do not fit.
    """
    values, marked = _fit(np.clip(attributions, 0, None), masks)
    total = values.sum(-1)
    share = (values * marked).sum(-1) / np.where(total > 0, total, 1)
    return _defined(np.where(total > 0, share, np.nan), marked)


def relevance_rank(attributions: Floats, masks: Bools) -> Floats:
    """Share of the K highest players that is marked, K the number of marks (Arras, Osman and Samek 2022, eq. 6).

    Raises:
        ValueError: shapes do not fit.
    """
    values, marked = _fit(attributions, masks)
    return _defined(_marked_share(values, marked, marked.sum(-1)), marked)


def top_k_intersection(attributions: Floats, masks: Bools, k: int) -> Floats:
    """Share of the k highest players that is marked (Theiner, Müller-Budack and Ewerth 2022).

    Raises:
        ValueError: shapes do not fit, or there are no k players.
    """
    values, marked = _fit(attributions, masks)
    if not 1 <= k <= values.shape[-1]:
        raise ValueError(f"k: Expected 1 to {values.shape[-1]}, found {k}.")
    return _defined(_marked_share(values, marked, np.full(len(marked), k)), marked)


def inside_auroc(attributions: Floats, masks: Bools) -> Floats:
    """Chance that a marked player stands above an unmarked one, ties as halves: the area under the ROC curve.

    Raises:
        ValueError: shapes do not fit.
    """
    values, marked = _fit(attributions, masks)
    ranks = stats.rankdata(values, axis=-1)
    inside = marked.sum(-1)
    outside = values.shape[-1] - inside
    pairs = np.maximum(inside * outside, 1)
    return _defined(((ranks * marked).sum(-1) - inside * (inside + 1) / 2) / pairs, marked)


def _marked_share(values: Floats, marked: Bools, number: NDArray[np.int64]) -> Floats:
    """Marked share of the `number` (n,) highest players of each example, ties for the last places sharing them."""
    number = np.maximum(number, 1)
    at = np.broadcast_to(values.shape[-1] - number, values.shape[:-1])[..., None]
    last = np.take_along_axis(np.sort(values, axis=-1), at, axis=-1)
    above, tied = values > last, values == last
    places = number - above.sum(-1)
    hits = (above & marked).sum(-1) + places * (tied & marked).sum(-1) / tied.sum(-1)
    return np.asarray(hits / number)


def _fit(attributions: Floats, masks: Bools) -> tuple[Floats, Bools]:
    values, marked = players_of(attributions), np.asarray(masks)
    if marked.dtype != np.bool_ or marked.shape != values.shape[-2:]:
        raise ValueError(
            f"masks: Expected bool of shape {values.shape[-2:]}, one a player, found {marked.dtype} {marked.shape}."
        )
    return values, marked


def _defined(values: Floats, marked: Bools) -> Floats:
    return np.where(marked.any(-1) & ~marked.all(-1), values, np.nan)
