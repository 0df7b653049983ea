"""Explanations that know nothing: what every metric is compared with."""

from __future__ import annotations

import numpy as np

from audit.explainers.quality.removal import Floats


def shuffled(attributions: Floats, draws: int, rng: np.random.Generator) -> Floats:
    """The same values on other players: each example's values in random order, (draws, ..., n, players).

    Scale and shape of an explanation stay, so that only what it points at is tested.

    Args:
        attributions: (..., n, players).
        draws: random orders of each example.
        rng: source of the orders.
    """
    values = np.broadcast_to(attributions, (draws, *attributions.shape))
    return rng.permuted(values, axis=-1)


def random_values(shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
    """Attributions drawn from a standard normal distribution, of this shape: for metrics that no order changes."""
    return rng.standard_normal(shape)
