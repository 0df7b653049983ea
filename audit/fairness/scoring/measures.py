"""What scores are measured by in each group, by name."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from audit.errors import DataError, nearest
from audit.fairness.scoring import ranking, reliability, resampled, spread
from audit.fairness.scoring.spread import Limits
from reports.record import Estimate

if TYPE_CHECKING:
    from audit.fairness.scoring.scores import Scores

#: measure -> (scores, critical value of the normal, seed) -> limits of each group
MEASURES: dict[str, Callable[[Scores, float, int], Limits]] = {
    "mean_score": reliability.mean_score,
    "auc": ranking.auc,
    "average_precision": resampled.average_precision,
    "calibration_gap": reliability.calibration_gap,
    "calibration_error": resampled.calibration_error,
    "squared_calibration_error": resampled.squared_calibration_error,
    "calibration_slope": reliability.calibration_slope,
    "brier": reliability.brier,
}
NAMES = tuple(MEASURES)
#: measures that the bins may change, and by how much at most in each group; the others are sums over rows, are defined
#: over bins, or move with the width of a bin only (the calibration slope)
BOUNDS: dict[str, Callable[[Scores], NDArray[np.float64]]] = {
    "auc": ranking.bound_of_auc,
    "average_precision": resampled.bound_of_average_precision,
}
#: the largest difference there can be
MOST = {"auc": 1.0, "average_precision": 1.0, "calibration_gap": 2.0, "calibration_error": 1.0, "brier": 1.0}


def measure(scores: Scores, name: str, seed: int) -> dict[Hashable, Estimate]:
    """See `Scores.measure`."""
    return spread.estimates(scores.groups, _known(name)(scores, spread.critical(), seed))


def disparity(scores: Scores, name: str, alpha: float, seed: int) -> Estimate:
    """See `Scores.disparity`."""
    found = _known(name)
    return spread.largest_difference(
        lambda z: found(scores, z, seed), len(scores.groups), alpha, MOST.get(name, np.inf)
    )


def _known(name: str) -> Callable[[Scores, float, int], Limits]:
    if name not in MEASURES:
        raise DataError(f"Expected the name of a measure, found {name!r}{nearest(name, NAMES)}")
    return MEASURES[name]


def bound(scores: Scores, name: str) -> dict[Hashable, float]:
    """See `Scores.bound`."""
    _known(name)
    widest = BOUNDS[name](scores) if name in BOUNDS else np.zeros(len(scores.groups))
    return dict(zip(scores.groups, map(float, widest), strict=True))
