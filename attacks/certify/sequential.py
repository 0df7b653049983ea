"""Counting successes: exact bounds on a probability, and tests that may stop at any moment.

The e-process against p <= p0 is the likelihood of the counts averaged over Jeffreys' prior cut to p > p0, divided by
their likelihood at p0. While p <= p0 it is a non-negative supermartingale that starts at 1 (the likelihood ratio of any
q > p0 against p0 has mean at most 1 under every p <= p0), so it ever reaches 1 / alpha with probability at most alpha
(Ville 1939; Robbins 1970; Waudby-Smith and Ramdas 2024). It may therefore be looked at after every draw.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import special

Counts: TypeAlias = NDArray[np.int64]
Reals: TypeAlias = NDArray[np.float64]

#: Jeffreys' prior for a probability is Beta(1/2, 1/2)
_PRIOR = 0.5
_BISECTIONS = 60  # halvings of [0, 1] down to the precision of a double
#: draws before the first look, and the growth from look to look: more looks are valid, and cost only arithmetic
_FIRST_LOOK = 50
_GROWTH = 1.15


def clopper_pearson(successes: Counts, draws: Counts | int, alpha: float) -> Reals:
    """Exact lower confidence bound of a probability at level 1 - alpha, one-sided (Clopper and Pearson 1934).

    Args:
        successes: (m,).
        draws: fixed beforehand, (m,) or one number.
        alpha: chance that the bound lies above the truth.
    """
    some = np.maximum(successes, 1)
    bound: Reals = special.betaincinv(some, np.asarray(draws) - some + 1, alpha)
    return np.where(successes > 0, bound, 0.0)


def log_evidence_above(successes: Counts, draws: Counts | int, threshold: float) -> Reals:
    """Logarithm of the e-process against p <= threshold, (m,)."""
    return _log_evidence(successes, draws, threshold, special.betaincc)


def log_evidence_below(successes: Counts, draws: Counts | int, threshold: float) -> Reals:
    """Logarithm of the e-process against p >= threshold, (m,)."""
    return _log_evidence(successes, draws, threshold, special.betainc)


def _log_evidence(successes: Counts, draws: Counts | int, threshold: float, tail: np.ufunc) -> Reals:
    failures = draws - successes
    with np.errstate(divide="ignore"):  # no mass at all on the side in question: the evidence is 0
        mass = np.log(tail(successes + _PRIOR, failures + _PRIOR, threshold))
    prior = np.log(tail(_PRIOR, _PRIOR, threshold))
    fair = special.xlogy(successes, threshold) + special.xlog1py(failures, -threshold)
    found: Reals = _log_mixture(successes, failures) + mass - prior - fair
    return found


def _log_mixture(successes: Counts, failures: Counts) -> Reals:
    mixed: Reals = special.betaln(successes + _PRIOR, failures + _PRIOR) - special.betaln(_PRIOR, _PRIOR)
    return mixed


def anytime_lower(successes: Counts, draws: Counts | int, alpha: float) -> Reals:
    """Lower confidence bound that holds at all numbers of draws together with probability 1 - alpha, (m,).

    The smallest p0 that the mixture over the whole prior does not refute; below successes / draws its evidence falls
    as p0 rises, so bisection finds it.
    """
    failures = draws - successes
    mixture, limit = _log_mixture(successes, failures), -np.log(alpha)
    low, high = np.zeros(len(successes)), successes / np.maximum(draws, 1)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        with np.errstate(divide="ignore"):
            evidence = mixture - special.xlogy(successes, middle) - special.xlog1py(failures, -middle)
        refuted = evidence >= limit
        low, high = np.where(refuted, middle, low), np.where(refuted, high, middle)
    return low


def looks(draws: int) -> Iterator[int]:
    """Numbers of draws at which to look, rising, the last one `draws`."""
    at = min(_FIRST_LOOK, draws)
    while at < draws:
        yield at
        at = min(draws, int(at * _GROWTH) + 1)
    yield draws
