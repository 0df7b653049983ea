"""The mean corruption error (Hendrycks and Dietterich 2019, section 4.2)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def mean_corruption_error(
    errors: ArrayLike, baseline: ArrayLike | None = None, clean: float = 0.0, baseline_clean: float = 0.0
) -> float:
    """Errors under corruptions, averaged over severities and then over corruptions.

    The paper divides the errors of each corruption by those of AlexNet, so that hard corruptions do not outweigh the
    rest. A baseline exists for ImageNet only; without one the plain mean is returned.

    Args:
        errors: (names, severities) error rates of a model.
        baseline: those of the model it is held against, (names, severities), or (names,) means over severities.
        clean: error rate on the images as they are; where given, only what corruption adds counts (relative mCE).
        baseline_clean: the same of the baseline.

    Returns:
        mean over names c of sum over severities s of (E_sc - E_clean) / (B_sc - B_clean); NaN where the baseline makes
        no error more than on clean images.

    Raises:
        ValueError: the shapes do not fit.
    """
    e = np.asarray(errors, dtype=np.float64)
    if e.ndim != 2 or e.size == 0:
        raise ValueError(f"Expected errors of shape (names, severities), found {e.shape}.")
    added = e.mean(1) - clean
    if baseline is None:
        return float(added.mean())
    b = np.asarray(baseline, dtype=np.float64)
    if b.shape not in (e.shape, e.shape[:1]):
        raise ValueError(f"Expected a baseline of shape {e.shape} or {e.shape[:1]}, found {b.shape}.")
    against = (b if b.ndim == 1 else b.mean(1)) - baseline_clean
    if not (against > 0).all():
        return float("nan")
    return float((added / against).mean())
