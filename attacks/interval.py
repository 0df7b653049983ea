"""Intervals for shares, in closed form."""

from __future__ import annotations

from torch import Tensor

_Z = 1.959963984540054  # 97.5 % quantile of the normal distribution


def wilson(share: float, n: float) -> tuple[float, float]:
    """95 % score interval of a share over n trials (Wilson 1927); (0, 1) where there were none."""
    if n <= 0:
        return 0.0, 1.0
    scale = 1 + _Z * _Z / n
    centre = (share + _Z * _Z / (2 * n)) / scale
    half = _Z * (share * (1 - share) / n + _Z * _Z / (4 * n * n)) ** 0.5 / scale
    # rounding must not exclude the share itself at 0 and 1
    return min(max(centre - half, 0.0), share), max(min(centre + half, 1.0), share)


def clustered(shares: Tensor, draws: int) -> tuple[float, float]:
    """95 % interval of the mean of shares (n,), each a proportion over `draws` trials that need not be independent.

    Wilson's interval at the effective sample size p (1 - p) / var(p) (Korn and Graubard 1998), taken to be at least the
    number of shares and at most that of trials; with one trial each it is Wilson's own.
    """
    n, mean = len(shares), float(shares.double().mean())
    spread = mean * (1 - mean)
    variance = float(shares.double().var(correction=int(n > 1))) if n else 0.0
    if spread == 0 or draws == 1:
        return wilson(mean, n)
    return wilson(mean, n * min(max(spread / max(variance, spread / draws), 1.0), float(draws)))


def surely(share: float, n: int) -> float:
    """Lower end of Wilson's interval: what a share over few points shows for certain; 0 where there are none."""
    return wilson(share, n)[0] if n else 0.0
