"""Probabilities from scores, in float64 and without infinities."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import logsumexp

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from audit.datasets import Dataset
    from audit.subject import Subject

#: log-probabilities below this are taken to be this, so that a probability of 0 costs much and not infinitely much
FLOOR = -80.0


def log_probabilities(subject: Subject, data: Dataset) -> NDArray[np.float64]:
    """Logarithms of the softmax of the scores, (n, classes)."""
    return normalised(subject.scores(data).numpy().astype(np.float64))


def normalised(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log-softmax along the last axis, at least about `FLOOR`."""
    shifted = np.maximum(scores - scores.max(-1, keepdims=True), FLOOR)
    return np.asarray(shifted - logsumexp(shifted, axis=-1, keepdims=True))
