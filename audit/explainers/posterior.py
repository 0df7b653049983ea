"""Shapley values and interactions as the posterior of a Gaussian process over coalitions, given scores of some of them.

A game is a sum of parities w_T·z_T, with z_T(S) = Π_{j∈T} z_j and z_j = 1 for players in S, −1 else (its Fourier expansion).
Shapley values take 2w_T/|T| from each parity of odd degree, pairwise interactions 4w_T/(|T| − 1) from each of even degree,
and nothing from the others: so only v(S) − v(N∖S), or v(S) + v(N∖S), matters. The parities of the degree asked for
are free (a flat prior); those of degree k, two steps further each time, have a variance that falls by `FADE` and is shared
by all C(d, k) of them, so that two coalitions covary by a Krawtchouk polynomial of their Hamming distance; what no
low degree explains is white. The scores of the two ends are known without noise. The answer is linear in the scores: one
matrix for all examples and outputs, as for regressions (Covert and Lee 2021; Musco and Witter 2025), with the variance of
what was not asked. Once every coalition is asked the answer is the definition.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import comb

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, solve_triangular

from audit.explainers.coalitions import Plan, design

Matrix = NDArray[np.float64]
Rows = NDArray[np.int64]

#: variance of a degree as a share of that of the degree two below: low-order interactions dominate trained models
FADE = 0.03
#: degrees above the free ones
DEGREES = 4
#: variances of the white part, in units of that of the whole smooth part
NOISE = (1e-3, 1e-2, 0.1, 1.0, 10.0)
#: likelihood, relative to the best, below which a noise is left out
NEGLIGIBLE = 1e-2
#: pairs that weigh the noises of an output, and directions that then measure its variance
SAMPLE = 192
#: pairs that are solved together; beyond them the answer is the mean over blocks that share their first half
BLOCK = 4096
#: entries of a matrix that are worth keeping for the next call
KEPT = 2**18


@dataclass(frozen=True)
class Prior:
    """How the scores of pairs of coalitions covary with each other and with what is asked for; the two ends come last.

    Attributes:
        sign: (pairs + 1, players) ±1.
        free: (pairs + 1, effects) the parities with a flat prior.
        cross: (answers, pairs + 1) covariance with the answers, without that through the white part.
        own: (answers, pairs + 1) weight of each pair in the exact answers; 0 for the ends, which have no white part.
        lift: (answers, effects) what the free parities give to the answers.
        spread: variance of an answer before any pair is seen, without the white part.
        order: 1 for Shapley values, 2 for interactions.
    """

    sign: Matrix
    free: Matrix
    cross: Matrix
    own: Matrix
    lift: Matrix
    spread: float
    order: int

    def covariance(self, one: Rows, two: Rows) -> Matrix:
        """Of the smooth part, between some pairs and others."""
        players = self.sign.shape[1]
        distance = np.rint((players - self.sign[one] @ self.sign[two].T) / 2).astype(np.int32)
        degree, share = _degrees(players, self.order)
        return np.asarray((share @ _krawtchouk(players, degree))[distance])


def prior(keep: NDArray[np.bool_], order: int) -> Prior:
    """The prior over a design (pairs, players) for Shapley values (order 1) or pairwise interactions (order 2)."""
    players = keep.shape[1]
    sign = np.where(np.concatenate([keep, np.ones((1, players), dtype=np.bool_)]), 1.0, -1.0)
    degree, share = _degrees(players, order)
    if order == 1:
        who, free, lift = sign, sign, 2 * np.eye(players)
        profile = 2 / players * share @ _krawtchouk(players - 1, degree - 1)
        spread = (share * 4 / degree).sum() / players
        absent = (sign < 0).astype(np.int64)
    else:
        one, two = np.triu_indices(players, 1)
        both = players * (players - 1)
        who = sign[:, one] * sign[:, two]
        free = np.column_stack([np.ones(len(sign)), who])
        lift = np.column_stack([np.zeros(len(one)), 4 * np.eye(len(one))])
        profile = 4 / both * (share * degree) @ _krawtchouk(players - 2, degree - 2)
        spread = (share * 16 * degree / (degree - 1)).sum() / both
        absent = (sign[:, one] < 0).astype(np.int64) + (sign[:, two] < 0)
    others = (sign < 0).sum(1)[:, None] - absent
    own = exact(keep, order)
    own[:, -1] = 0
    return Prior(sign, free, (who * profile[others]).T, own, lift, float(spread), order)


def exact(keep: NDArray[np.bool_], order: int) -> Matrix:
    """What the definition makes of all pairs, the ends last: weights (answers, pairs + 1) of the halves of `Solution`.

    Shapley (1953); Grabisch and Roubens (1999, definition 2) for the interaction index.
    """
    players = keep.shape[1]
    keep = np.concatenate([keep, np.ones((1, players), dtype=np.bool_)])
    free = players - order
    weight = np.array([2 / comb(free, t) for t in range(free + 1)]) / (free + 1)
    inside = keep.T.astype(np.int64)
    if order == 2:
        one, two = np.triu_indices(players, 1)
        inside = inside[one] + inside[two]
    sign = np.where((order - inside) % 2, -1.0, 1.0)
    return np.asarray(sign * weight[keep.sum(1) - inside])


@dataclass(frozen=True)
class Solution:
    """How the answers follow from the pairs.

    Attributes:
        matrix: (answers, pairs + 1); times the halves ½(v(S) − v(N∖S)), or + for interactions, those of the ends last.
        variance: (answers,) of their errors, in units of the variance of the smooth part.
        sketch: (k, pairs + 1); the mean square of its products with the halves of an output estimates that variance
            from all pairs; None where `sample` holds most of them.
    """

    matrix: Matrix
    variance: Matrix
    sketch: Matrix | None


@dataclass(frozen=True)
class Sample:
    """The first pairs of a design given its ends, free parities projected out, in the eigenbasis of their covariance.

    Attributes:
        rotate: (k, first pairs) into the basis.
        ends: (k,) what the ends' half gives to each direction.
        value: (k,) eigenvalues.
    """

    rotate: Matrix
    ends: Matrix
    value: Matrix


def solution(plan: Plan, order: int, noise: float) -> Solution:
    """The posterior over a design; small ones are kept for the next call."""
    small = plan.evaluations * plan.players**order <= KEPT
    return (_kept if small else _solve)(plan, order, noise)


def _solve(plan: Plan, order: int, noise: float) -> Solution:
    keep = design(plan)
    players = plan.players
    known = prior(keep, order)
    pairs = len(keep)
    first = np.arange(pairs if pairs <= BLOCK else BLOCK // 2)
    parts = max(1, -(-(pairs - len(first)) // (BLOCK // 2)))
    rest = [np.arange(start, pairs, parts) for start in range(len(first), len(first) + parts)]
    ends = np.array([pairs])
    white = np.append(np.full(pairs, noise), 0.0)
    cross = known.cross + noise * known.own
    matrix, sketch = np.zeros_like(cross), None
    for part in rest:
        rows = np.concatenate([first, part, ends])
        factor = cho_factor(_with(known, rows, rows, white), lower=True, overwrite_a=True, check_finite=False)
        free = known.free[rows]
        weighted = cho_solve(factor, free, check_finite=False)
        gain = cho_solve(factor, cross[:, rows].T, check_finite=False).T
        fit = np.linalg.pinv(free.T @ weighted, hermitian=True) @ weighted.T
        if part is rest[0] and pairs > 1.5 * _size_of_sample(players, order):
            sketch = np.zeros((SAMPLE, pairs + 1))
            sketch[:, rows] = _sketch(factor, free, fit)
        matrix[:, rows] += (gain + (known.lift - gain @ free) @ fit) / parts
    if order == 1:  # the values add up to the ends' difference but for rounding; now they do exactly
        matrix -= matrix.mean(0)
        matrix[:, -1] += 2 / players
    # prior, less twice what the answers share with the scores, plus what the scores bring
    variance = known.spread + noise * _white(players, order) - 2 * np.einsum("am,am->a", matrix, cross)
    for one in (first, *rest, ends):
        for two in (first, *rest, ends):
            variance += np.einsum("am,am->a", matrix[:, one] @ _with(known, one, two, white), matrix[:, two])
    return Solution(matrix, np.clip(variance, 0, None), sketch)


_kept = lru_cache(maxsize=32)(_solve)


def _sketch(factor: tuple[Matrix, bool], free: Matrix, fit: Matrix) -> Matrix:
    """Random directions of what whitening leaves of the scores once the free parities are fitted."""
    draws = np.random.default_rng(len(free)).standard_normal((SAMPLE, len(free)))
    # whitened residuals are L⁻¹(y − F fit y); their squares sum to the variance times the degrees of freedom
    white = solve_triangular(factor[0], draws.T, lower=True, trans="T", check_finite=False).T
    return np.asarray((white - white @ free @ fit) / np.sqrt(len(free) - free.shape[1]))


def _size_of_sample(players: int, order: int) -> int:
    size: int = max(SAMPLE, 2 * players**order)
    return size


def _with(known: Prior, one: Rows, two: Rows, white: Matrix) -> Matrix:
    covariance = known.covariance(one, two)
    if one is two:
        covariance[np.diag_indices(len(one))] += white[one]
    return covariance


def sample(plan: Plan, order: int) -> Sample:
    """What weighs the noises: the first pairs of the design, twice as many as free effects at least; see `solution`."""
    small = _size_of_sample(plan.players, order) ** 2 <= KEPT
    return (_kept_sample if small else _sample)(plan, order)


def _sample(plan: Plan, order: int) -> Sample:
    known = prior(design(plan)[: _size_of_sample(plan.players, order)], order)
    count = np.arange(len(known.sign) - 1)
    ends = known.covariance(count, np.array([len(count)]))[:, 0]
    free = known.free[:-1] - ends[:, None] * known.free[-1]
    left = np.linalg.qr(free, mode="complete")[0][:, free.shape[1] :]
    value, vector = np.linalg.eigh(left.T @ (known.covariance(count, count) - np.outer(ends, ends)) @ left)
    rotate = np.ascontiguousarray((left @ vector).T)
    return Sample(rotate, rotate @ ends, np.clip(value, 0, None))


_kept_sample = lru_cache(maxsize=16)(_sample)


def weigh(basis: Sample, halves: Matrix) -> tuple[Matrix, Matrix]:
    """How likely each of `NOISE` is for each example and output: restricted maximum likelihood.

    Args:
        basis: of the design.
        halves: (n, pairs + 1, outputs).

    Returns:
        Weights (noises, n, outputs) that sum to 1, and the variances of the smooth part, same shape.
    """
    some = halves[:, : basis.rotate.shape[1]]
    square = basis.rotate @ some
    square -= basis.ends[:, None] * halves[:, -1:]
    square *= square
    variance = basis.value + np.array(NOISE)[:, None]
    # products example by example: the same bits in any company
    sums = np.moveaxis(np.vstack([1 / variance, np.ones_like(basis.value)]) @ square, 1, 0)
    total, left = sums[:-1], sums[-1]
    level = np.log(variance).sum(1)
    # where the free parities explain all but rounding, the rest says nothing
    speaks = left > 1e-20 * np.einsum("nko,nko->no", some, some)
    cost = np.where(speaks, len(basis.value) * np.log(np.where(speaks, total, 1)) + level[:, None, None], 0)
    weight = np.exp((cost.min(0) - cost) / 2)
    weight[weight < NEGLIGIBLE] = 0
    return weight / weight.sum(0), total / len(basis.value)


def _degrees(players: int, order: int) -> tuple[NDArray[np.int64], Matrix]:
    """Degrees with a proper prior, and their shares of its variance."""
    degree = np.arange(order + 2, min(order + 2 * DEGREES, players) + 1, 2)
    share = FADE ** np.arange(len(degree), dtype=np.float64)
    return degree, share / max(share.sum(), 1)


def _krawtchouk(players: int, degree: NDArray[np.int64]) -> Matrix:
    """Mean of the parities of each degree where `players` − x players are in S: (degrees, players + 1), 1 at x = 0."""
    outside = np.arange(players + 1)
    found = [np.ones(players + 1), 1 - 2 * outside / max(players, 1)]
    for k in range(1, int(degree.max(initial=0))):
        found.append(((players - 2 * outside) * found[k] - k * found[k - 1]) / (players - k))
    return np.stack(found)[degree]


@lru_cache(maxsize=64)
def _white(players: int, order: int) -> float:
    """Σ over all pairs but the ends of the squared weights of `exact`: the same for each answer."""
    free = players - order
    # t of the other players are in S; the players in question add 1 or 0 (order 1), or 2, 1, 1 or 0 (order 2)
    every = sum(comb(free, t) * (1 / (free + 1) / comb(free, t)) ** 2 for t in range(free + 1)) * 2**order
    return float(2 * every - 4 / (free + 1) ** 2)
