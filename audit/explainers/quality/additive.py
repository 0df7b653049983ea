"""Infidelity and sensitivity-n: whether attributions add up to what removing many players at once does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from audit.explainers.quality.removal import Bools, Floats, Value, players_of


def sums_and_changes(value: Value, attributions: Floats, removed: Bools) -> tuple[Floats, Floats]:
    """What the attributions say of some removals, and what the model says: Σ_{i ∈ S} φ_i and v(N) − v(N∖S).

    The model is asked once, however many methods there are.

    Args:
        value: scores of states, see `removal`.
        attributions: (..., n, players), in units of the score: Shapley values, integrated gradients, gradient times
            displacement.
        removed: (m, players) bool, the same removals for all examples, or (n, m, players).

    Returns:
        Sums (..., n, m) and changes (n, m).

    Raises:
        ValueError: an argument does not fit.
    """
    values = players_of(attributions)
    n, size = values.shape[-2:]
    if removed.shape[-1] != size or removed.ndim not in (2, 3) or (removed.ndim == 3 and len(removed) != n):
        raise ValueError(f"removed: Expected shape (m, {size}) or ({n}, m, {size}), found {removed.shape}.")
    whole = np.ones((*removed.shape[:-2], 1, size), dtype=np.bool_)
    scores = value(np.concatenate([whole, ~removed], axis=-2))
    if removed.ndim == 2:
        sums = values @ removed.T.astype(np.float64)
    else:
        sums = np.einsum("...np,nmp->...nm", values, removed.astype(np.float64))
    return np.asarray(sums), scores[:, :1] - scores[:, 1:]


def infidelity(sums: Floats, changes: Floats) -> Floats:
    """Mean squared gap E_S[(Σ_{i ∈ S} φ_i − (f(x) − f(x∖S)))²] (Yeh et al. 2019, eq. 1, removal as perturbation), (..., n).

    0 where the attributions foretell every removal; in squared units of the score, so a method without a scale has none.
    """
    return np.asarray(((sums - changes) ** 2).mean(-1))


def explained(sums: Floats, changes: Floats) -> Floats:
    """Share of the changes' mean square that the attributions explain at their best scale, in [0, 1], (..., n).

    Infidelity at the optimal scaling β = Σ s c / Σ s² (Yeh et al. 2019, section 3.1), as 1 − min_β E[(βs − c)²] / E[c²];
    a scale of the wrong sign explains nothing. NaN where no removal changes anything.
    """
    cross, own = (sums * changes).sum(-1), (sums**2).sum(-1)
    total = np.broadcast_to((changes**2).sum(-1), own.shape)
    share = np.clip(cross, 0, None) ** 2 / np.where(own > 0, own, 1) / np.where(total > 0, total, 1)
    return np.where(total > 0, np.clip(share, 0, 1), np.nan)


def sensitivity_n(
    value: Value, attributions: Floats, sizes: Sequence[int], draws: int, rng: np.random.Generator
) -> Floats:
    """Correlation of sums and changes over random sets of n players (Ancona et al. 2018, section 4), (..., examples, sizes).

    For each size n: Pearson's correlation over `draws` random sets S of n players between Σ_{i ∈ S} φ_i and
    f(x) − f(x∖S), within each example. 1 for an exact explanation of an additive model; one size alone is
    faithfulness correlation (Bhatt et al. 2020). NaN where nothing varies.

    Args:
        value: scores of states, see `removal`.
        attributions: (..., n, players).
        sizes: numbers of players removed together.
        draws: sets of each size, the same for all examples and methods.
        rng: source of the sets.

    Raises:
        ValueError: an argument does not fit.
    """
    values = players_of(attributions)
    size = values.shape[-1]
    if not sizes or draws < 2 or not all(0 < n <= size for n in sizes):
        raise ValueError(
            f"sizes, draws: Expected sizes from 1 to {size} and at least 2 draws, found {list(sizes)} and {draws}."
        )
    removed = np.concatenate([random_sets(size, n, draws, rng) for n in sizes])
    sums, changes = sums_and_changes(value, values, removed)
    return pearson(sums.reshape(*sums.shape[:-1], len(sizes), draws), changes.reshape(len(changes), len(sizes), draws))


def random_sets(players: int, size: int, draws: int, rng: np.random.Generator) -> Bools:
    """Random sets of `size` players, (draws, players) bool."""
    chosen = np.zeros((draws, players), dtype=np.bool_)
    chosen[:, :size] = True
    return rng.permuted(chosen, axis=1)


def pearson(a: Floats, b: Floats) -> Floats:
    """Pearson's correlation along the last axis; NaN where one side does not vary."""
    first, second = (x - x.mean(-1, keepdims=True) for x in (a, b))
    ones, twos = np.sqrt((first**2).sum(-1)), np.sqrt((second**2).sum(-1))
    # what is left of a constant after subtracting its mean is rounding
    varies = (ones > 1e-12 * np.abs(a).max(-1)) & (twos > 1e-12 * np.abs(b).max(-1))
    scale = np.where(varies, ones * twos, 1)
    return np.where(varies, np.clip((first * second).sum(-1) / scale, -1, 1), np.nan)
