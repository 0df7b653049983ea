"""Deletion and insertion: the score while the highest ranked players are taken away, or put back."""

from __future__ import annotations

import numpy as np

from audit.explainers.quality.removal import Bools, Floats, Value, for_each, players_of


def states(attributions: Floats, steps: int) -> Bools:
    """Players left when the highest ranked are taken away step by step, (..., steps + 1, players).

    The first state is whole, the last empty; ties go in the order of the players. Insertion plays the complements.

    Args:
        attributions: (..., players).
        steps: states after the first; more than there are players repeats some.

    Raises:
        ValueError: there is no step.
    """
    if steps < 1:
        raise ValueError(f"steps: Expected at least 1, found {steps}.")
    order = np.argsort(-attributions, axis=-1, kind="stable")
    place = np.empty_like(order)
    np.put_along_axis(place, order, np.broadcast_to(np.arange(order.shape[-1]), order.shape), axis=-1)
    done = np.rint(np.linspace(0, order.shape[-1], steps + 1))[:, None]
    return np.asarray(place[..., None, :] >= done)


def deletion(value: Value, attributions: Floats, steps: int = 10) -> Floats:
    """Scores while the highest ranked are removed: pixel flipping (Samek et al. 2017), deletion (Petsiuk et al. 2018).

    Args:
        value: scores of states, see `removal`.
        attributions: (..., n, players).
        steps: of equal size, from all players to none.

    Returns:
        Curves (..., n, steps + 1); a faithful explanation makes them fall fast.

    Raises:
        ValueError: an argument does not fit.
    """
    return for_each(value, states(players_of(attributions), steps))


def insertion(value: Value, attributions: Floats, steps: int = 10) -> Floats:
    """Scores while the highest ranked are put back (Petsiuk et al. 2018), (..., n, steps + 1); see `deletion`.

    Raises:
        ValueError: an argument does not fit.
    """
    return for_each(value, ~states(players_of(attributions), steps))


def area(curves: Floats) -> Floats:
    """Area under curves (..., steps + 1) over a unit interval by the trapezoid rule, (...)."""
    return np.asarray((curves[..., 1:] + curves[..., :-1]).mean(-1) / 2)


def aopc(curves: Floats) -> Floats:
    """Area over the perturbation curve, 1/(L + 1) Σ_k f(x) − f(x_k) (Samek et al. 2017, eq. 12), of deletion curves."""
    return np.asarray((curves[..., :1] - curves).mean(-1))
