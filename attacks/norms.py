"""Geometry of the ball and the box, for every norm, exact and batched.

Throughout, a perturbation is (m, d); `down` <= 0 <= `up` (m, d) say how far each element may move (0 where it may not,
infinite where nothing stops it); `eps` is (m,). `fill` solves every one-dimensional equation the geometry needs.
"""

from __future__ import annotations

import torch
from torch import Tensor

from attacks import noise
from attacks.threat import Norm

_ROUNDS = 32  # Newton from below is finite on a piecewise linear function; it seldom needs eight


def size(delta: Tensor, norm: Norm) -> Tensor:
    """Norm of each row of (m, d), in float64, (m,)."""
    order = {"linf": torch.inf, "l2": 2.0, "l1": 1.0, "l0": 0.0}[norm]
    return length(delta.double(), order)


def length(rows: Tensor, order: float = 2.0) -> Tensor:
    """Norm of that order of each row, (m,), in the rows' precision."""
    result: Tensor = torch.linalg.vector_norm(rows, order, dim=1)
    return result


def fill(slope: Tensor, cap: Tensor, total: Tensor) -> Tensor:
    """The s >= 0 with sum_i min(s slope_i, cap_i) = total, (m,); the largest finite number where there is none.

    Newton's method from the left: the sum is concave and piecewise linear in s, so every iterate stays at or below the
    solution and the method ends.

    Args:
        slope: at least 0, (m, d).
        cap: at least 0, infinite where nothing limits, (m, d).
        total: at least 0, (m,).
    """
    largest = torch.finfo(slope.dtype).max
    solution = torch.zeros_like(total)
    open_slope, rest = slope.sum(1), total
    for _ in range(_ROUNDS):
        step = torch.where(open_slope > 0, rest / open_slope, largest).clamp(min=0, max=largest)
        solution, before = torch.maximum(step, solution), solution  # rounding must not turn it back
        if torch.equal(solution, before):
            break
        full = solution[:, None] * slope >= cap
        open_slope = slope.masked_fill(full, 0).sum(1)
        rest = total - cap.masked_fill(~full, 0).sum(1)
    return solution


def project(delta: Tensor, norm: Norm, eps: Tensor, down: Tensor, up: Tensor) -> Tensor:
    """The nearest point (Euclidean) of ball and box together, (m, d)."""
    eps = eps[:, None]
    if norm == "linf":
        return delta.clamp(torch.maximum(down, -eps), torch.minimum(up, eps))
    boxed = delta.clamp(down, up)
    if norm == "l2":
        # KKT: clamp(s delta) with s <= 1; scaling after clamping would leave budget unused
        reach = torch.where(delta > 0, up, -down)
        outside = length(boxed) > eps[:, 0]
        scale = fill(delta.square(), reach.square(), eps[:, 0].square()).sqrt().clamp(max=1)
        return torch.where(outside[:, None], (scale[:, None] * delta).clamp(down, up), boxed)
    if norm == "l1":
        return _project_l1(delta, boxed, eps[:, 0], torch.where(delta > 0, up, -down))
    # l0: keep the elements whose loss would cost most
    cost = delta.square() - (delta - boxed).square()
    return torch.where(largest(cost, eps[:, 0]), boxed, 0)


def _project_l1(delta: Tensor, boxed: Tensor, eps: Tensor, reach: Tensor) -> Tensor:
    """KKT: min(max(|delta| - lam, 0), reach); lam is the root of a piecewise linear function, found at its kinks."""
    magnitude = delta.abs()
    # sum_i hinge(|delta_i| - lam) - hinge(|delta_i| - reach_i - lam); an unlimited element has no second hinge
    kinks = torch.cat([magnitude, magnitude - torch.minimum(reach, magnitude)], dim=1)
    signs = torch.cat([torch.ones_like(magnitude), -torch.ones_like(magnitude)], dim=1)
    kinks, order = kinks.sort(dim=1, descending=True)
    signs = signs.gather(1, order)
    count, mass = signs.cumsum(1), (signs * kinks).cumsum(1)
    over = mass - count * kinks >= eps[:, None]  # the sum of sizes at lam = kink
    first = over.int().argmax(1, keepdim=True) - 1  # between this kink and the next lies lam
    lam = (mass.gather(1, first.clamp(min=0)) - eps[:, None]) / count.gather(1, first.clamp(min=0)).clamp(min=1)
    shrunk = delta.sign() * torch.minimum((magnitude - lam.clamp(min=0)).clamp(min=0), reach)
    return torch.where((boxed.abs().sum(1) > eps)[:, None], shrunk, boxed)


def largest(values: Tensor, count: Tensor) -> Tensor:
    """Bool (m, d): the floor(count) largest elements of each row that are above 0."""
    rank = values.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    return (rank < count.floor()[:, None]) & (values > 0)


def vertex(gradient: Tensor, norm: Norm, eps: Tensor, down: Tensor, up: Tensor) -> Tensor:
    """The point of ball and box that goes farthest along the gradient: argmax of gradient . delta, (m, d).

    On a linear model this is the optimal attack, which no step of fixed length along a sign or a gradient is once the
    box cuts in.
    """
    slope = _unit(gradient)
    sign, magnitude = slope.sign(), slope.abs()
    reach = torch.where(slope > 0, up, -down)
    if norm == "linf":
        return sign * torch.minimum(reach, eps[:, None])
    if norm == "l2":
        scale = fill(slope.square(), reach.square(), eps.square()).sqrt()
        return sign * torch.minimum(scale[:, None] * magnitude, reach)
    if norm == "l1":
        return sign * _greedy(magnitude, reach, eps)
    return torch.where(largest(magnitude * reach, eps), sign * reach, 0)


def cross(gradient: Tensor, gain: Tensor, norm: Norm, down: Tensor, up: Tensor) -> Tensor:
    """The smallest perturbation in the box with gradient . delta = gain; as far as the box goes where none has, (m, d).

    Args:
        gradient: (m, d).
        gain: what the loss lacks, (m,), at least 0.
        norm: the norm that is smallest (for l0: few elements, each moved fully, the last as far as needed).
        down: (m, d).
        up: (m, d).
    """
    slope = _unit(gradient)
    gain = gain / gradient.abs().amax(1).clamp(min=torch.finfo(gradient.dtype).tiny)
    sign, magnitude = slope.sign(), slope.abs()
    reach = torch.where(slope > 0, up, -down)
    worth = torch.where(magnitude > 0, magnitude * reach, 0)
    if norm == "linf":
        return sign * torch.minimum(fill(magnitude, worth, gain)[:, None], reach)
    if norm == "l2":
        scale = fill(slope.square(), worth, gain)
        return sign * torch.minimum(scale[:, None] * magnitude, reach)
    moved = _greedy(magnitude if norm == "l1" else worth, worth, gain)
    return sign * torch.where(magnitude > 0, moved / magnitude, 0)


def _greedy(priority: Tensor, cap: Tensor, total: Tensor) -> Tensor:
    """Spend `total` (m,) on elements in falling priority, at most `cap` on each, nothing where priority is 0."""
    order = priority.argsort(dim=1, descending=True, stable=True)
    cap = torch.where(priority > 0, cap, 0).gather(1, order)
    before = cap.cumsum(1).roll(1, dims=1)
    before[:, 0] = 0
    spent = torch.minimum((total[:, None] - before).clamp(min=0), cap)
    return torch.zeros_like(cap).scatter(1, order, spent)


def _unit(gradient: Tensor) -> Tensor:
    """The gradient with largest magnitude 1, so that no square underflows."""
    return gradient / gradient.abs().amax(1, keepdim=True).clamp(min=torch.finfo(gradient.dtype).tiny)


def steepest(gradient: Tensor, norm: Norm) -> Tensor:
    """The step of size 1 that raises the loss most without the box: sign, or the gradient over its length, (m, d).

    For l1 and l0 the steepest step moves a single element; the Euclidean one, which moves many, is returned, and the
    projection makes it sparse.
    """
    if norm == "linf":
        return gradient.sign()
    slope = _unit(gradient)
    return slope / length(slope)[:, None].clamp(min=torch.finfo(slope.dtype).tiny)


def sample(key: Tensor, stream: noise.Stream, norm: Norm, eps: Tensor, down: Tensor, up: Tensor) -> Tensor:
    """A random point of ball and box, well away from the origin, (m, d)."""
    elements = down.shape[1]
    if norm == "linf":
        wish = (2 * noise.uniform(key, stream, elements, down.dtype) - 1) * eps[:, None]
    elif norm == "l2":
        wish = noise.normal(key, stream, elements, down.dtype)
        wish = wish * torch.where(up > down, 1, 0)
        wish = wish * (eps / length(wish).clamp(min=1e-12))[:, None]
    else:  # the few elements with the largest noise go as far as they may
        wish = noise.normal(key, stream, elements, down.dtype)
        return vertex(wish, norm, eps, down, up)
    return project(wish, norm, eps, down, up)
