"""How much of an example an explanation names: few players, or all of them a little."""

from __future__ import annotations

import numpy as np

from audit.explainers.quality.removal import Floats, players_of


def entropy(attributions: Floats) -> Floats:
    """Entropy −Σ p_i ln p_i of the magnitudes' shares (Bhatt, Weller and Moura 2020, definition 3), (..., n); NaN for zeros.

    0 where one player has everything, ln(players) where all have the same.

    Args:
        attributions: (..., n, players).

    Raises:
        ValueError: they are no such array.
    """
    shares = _shares(attributions)
    return np.asarray(-(shares * np.log(np.where(shares > 0, shares, 1))).sum(-1))


def effective_features(attributions: Floats) -> Floats:
    """The number of equal players that would have the same entropy, exp of it (Hill 1973), (..., n); NaN for zeros.

    Raises:
        ValueError: they are no such array.
    """
    return np.asarray(np.exp(entropy(attributions)))


def gini(attributions: Floats) -> Floats:
    """Gini index of the magnitudes, Σ_i (2i − d − 1) a_(i) / (d Σ a) (Chalasani et al. 2020), (..., n); NaN for zeros.

    0 where all have the same, 1 − 1/d where one of d players has everything.

    Raises:
        ValueError: they are no such array.
    """
    shares = np.sort(_shares(attributions), axis=-1)
    size = shares.shape[-1]
    return np.asarray((2 * np.arange(1, size + 1) - size - 1) @ np.moveaxis(shares, -1, -2) / size)


def _shares(attributions: Floats) -> Floats:
    values = np.abs(players_of(attributions))
    total = values.sum(-1, keepdims=True)
    return np.where(total > 0, values / np.where(total > 0, total, 1), np.nan)
