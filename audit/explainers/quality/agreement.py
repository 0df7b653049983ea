"""Whether two explanations of the same examples say the same."""

from __future__ import annotations

import numpy as np
from scipy import stats

from audit.explainers.quality.additive import pearson
from audit.explainers.quality.removal import Floats


def rank_correlation(a: Floats, b: Floats) -> Floats:
    """Spearman's correlation of magnitudes, (..., players) each -> (...); NaN for constants and fewer than three players."""
    if a.shape[-1] < 3:
        return np.full(np.broadcast_shapes(a.shape, b.shape)[:-1], np.nan)
    return pearson(_ranks(a), _ranks(b))


def top_k_overlap(a: Floats, b: Floats, k: int) -> Floats:
    """Share of the k largest magnitudes that both have (Krishna et al. 2022), (...); NaN where all are among them.

    Raises:
        ValueError: k is not positive.
    """
    if k < 1:
        raise ValueError(f"k: Expected at least 1, found {k}.")
    shape = np.broadcast_shapes(a.shape, b.shape)
    if shape[-1] <= k:
        return np.full(shape[:-1], np.nan)
    ranks = (np.argsort(np.argsort(-np.abs(v), axis=-1, kind="stable"), axis=-1) for v in (a, b))
    first, second = (np.broadcast_to(rank < k, shape) for rank in ranks)
    told = (np.ptp(np.abs(a), axis=-1) > 0) & (np.ptp(np.abs(b), axis=-1) > 0)
    return np.where(told, (first & second).sum(-1) / k, np.nan)


def _ranks(values: Floats) -> Floats:
    size = np.abs(values)
    largest = size.max(-1, keepdims=True)
    # digits beyond the ninth are rounding, and would put ties in an order
    return np.asarray(stats.rankdata((size / np.where(largest > 0, largest, 1)).round(9), axis=-1), dtype=np.float64)
