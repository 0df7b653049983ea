"""One critical value for many comparisons that share their rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from audit.statistics import LEVEL

Floats = NDArray[np.float64]
#: comparisons whose correlation is worth its square
MOST = 1500


def critical(influence: Floats, rng: np.random.Generator, draws: int, level: float = LEVEL) -> float:
    """Value that the largest of all standardised comparisons exceeds with probability 1 - level (max-T).

    Drawn from the normal distribution with the comparisons' own correlation (Westfall and Young 1993; Hothorn, Bretz
    and Westfall 2008), so that comparisons that say almost the same cost almost nothing. For more than `MOST` of them,
    Sidak's value, which needs no correlation.

    Args:
        influence: (m, n) what each row adds to each comparison.
        rng: source of the draws.
        draws: how many.
        level: probability that all hold.
    """
    size = np.sqrt((influence**2).sum(1))
    used = influence[size > 0] / size[size > 0, None]
    if len(used) < 2 or len(used) > MOST:
        each = level ** (1 / max(len(used), 1))
        return float(stats.norm.ppf(0.5 + each / 2))
    value, vector = np.linalg.eigh(used @ used.T)
    root = vector * np.sqrt(np.maximum(value, 0))
    largest = np.abs(rng.standard_normal((draws, len(used))) @ root.T).max(1)
    return float(max(np.quantile(largest, level), stats.norm.ppf(0.5 + level / 2)))
