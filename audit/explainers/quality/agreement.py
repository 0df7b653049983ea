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

    Players that tie for the last places share them, and the overlap is the cosine of the two lists of shares: without ties
    the share that both have, 1 for equal explanations, and by chance what chance gives where most players have nothing.

    Raises:
        ValueError: k is not positive.
    """
    if k < 1:
        raise ValueError(f"k: Expected at least 1, found {k}.")
    shape = np.broadcast_shapes(a.shape, b.shape)
    if shape[-1] <= k:
        return np.full(shape[:-1], np.nan)
    first, second = _places(a, k), _places(b, k)
    told = (np.ptp(np.abs(a), axis=-1) > 0) & (np.ptp(np.abs(b), axis=-1) > 0)
    cosine = (first * second).sum(-1) / np.sqrt((first**2).sum(-1) * (second**2).sum(-1))
    return np.where(told, cosine, np.nan)


def _places(values: Floats, k: int) -> Floats:
    """Which of the first k places each player takes: 1, 0, or a share of those that are left to its equals."""
    ranks = _ranks(values)
    last = -np.sort(-ranks, axis=-1)[..., k - 1 : k]
    above, equal = ranks > last, ranks == last
    left = k - above.sum(-1, keepdims=True)
    return np.where(equal, left / equal.sum(-1, keepdims=True), above).astype(np.float64)


def _ranks(values: Floats) -> Floats:
    size = np.abs(values)
    largest = size.max(-1, keepdims=True)
    # digits beyond the ninth are rounding, and would put ties in an order
    return np.asarray(stats.rankdata((size / np.where(largest > 0, largest, 1)).round(9), axis=-1), dtype=np.float64)
