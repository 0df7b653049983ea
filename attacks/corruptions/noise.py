"""Noise (Hendrycks and Dietterich 2019, section 4; parameters from CIFAR-10-C and ImageNet-C)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from attacks.corruptions.scale import side, strength
from attacks.noise import Draws

#: from this rate on the normal approximation is good
_MANY = 12.0


def gaussian_noise(x: Tensor, severity: int, draws: Draws) -> Tensor:
    """Electronic noise: a normal deviate on every element."""
    sigma = strength(side(*x.shape[2:]), severity, (0.04, 0.06, 0.08, 0.09, 0.10), (0.08, 0.12, 0.18, 0.26, 0.38))
    return x + sigma * draws.normal(*x.shape[1:])


def speckle_noise(x: Tensor, severity: int, draws: Draws) -> Tensor:
    """Noise in proportion to the brightness."""
    sigma = strength(side(*x.shape[2:]), severity, (0.06, 0.10, 0.12, 0.16, 0.20), (0.15, 0.20, 0.35, 0.45, 0.60))
    return x + sigma * x * draws.normal(*x.shape[1:])


def impulse_noise(x: Tensor, severity: int, draws: Draws) -> Tensor:
    """Salt and pepper: a share of the elements becomes 0 or 1."""
    share = strength(side(*x.shape[2:]), severity, (0.01, 0.02, 0.03, 0.05, 0.07), (0.03, 0.06, 0.09, 0.17, 0.27))
    lot = draws.uniform(*x.shape[1:])
    return x.masked_fill(lot < share / 2, 0.0).masked_fill_(lot > 1 - share / 2, 1.0)


def shot_noise(x: Tensor, severity: int, draws: Draws) -> Tensor:
    """Photon noise: every element a Poisson count of mean `photons * x`, over `photons`."""
    photons = strength(side(*x.shape[2:]), severity, (500, 250, 100, 75, 50), (60, 25, 12, 5, 3))
    return poisson(x * photons, photons, draws) / photons


def poisson(rate: Tensor, top: float, draws: Draws) -> Tensor:
    """Poisson counts of these rates (n, ...), one an element.

    Small rates invert the distribution function; from 12 on, the Cornish-Fisher quantile (Fisher and Cornish 1960) is
    right to well under one count.

    Args:
        rate: at least 0.
        top: no rate is larger; it alone decides what is computed, so that no row hangs on another.
        draws: source of randomness.
    """
    if top <= _MANY:
        return _inverse(rate, draws.uniform(*rate.shape[1:]), top)
    z = draws.normal(*rate.shape[1:])
    root = rate.clamp(min=1e-6).sqrt()
    counts = torch.floor(rate + root * z + (z.square() - 1) / 6 + (z - z**3) / (72 * root) + 0.5).clamp_(min=0)
    small = rate < _MANY
    counts[small] = _inverse(rate[small], torch.special.ndtr(z[small]), _MANY)
    return counts


def _inverse(rate: Tensor, u: Tensor, top: float) -> Tensor:
    """Smallest counts whose distribution function reaches `u`."""
    term = torch.exp(-rate)
    below, found = term.clone(), torch.zeros_like(rate, dtype=torch.uint8)
    for k in range(1, _most(top) + 1):
        found += (u > below).view(torch.uint8)  # the same bits, and a sum of bytes is several times faster
        term.mul_(rate).mul_(1 / k)
        below += term
    return found.to(rate.dtype)


def _most(rate: float) -> int:
    """The count that a uniform number of 23 bits reaches at most at this rate."""
    count, term = 0, math.exp(-rate)
    above = 1 - term
    while above > 2.0**-24:
        count += 1
        term *= rate / count
        above -= term
    return count
