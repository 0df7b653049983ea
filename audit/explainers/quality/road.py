"""ROAD: remove and debias. Pixels are replaced by what their neighbours suggest, so that holes give nothing away."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from audit.explainers.game import Predict
from audit.explainers.quality.removal import Floats

#: residual, relative to the right side, at which the conjugate gradients stop
TOLERANCE = 1e-5
#: pixels solved for together: what a step needs of them stays in a cache
NEAR = 2**17


def noisy_linear_imputation(
    images: Tensor, removed: Tensor, noise: float = 0.01, seed: int = 0, tolerance: float = TOLERANCE
) -> Tensor:
    """Replace removed pixels by the weighted mean of their neighbours, all at once, and add noise (Rong et al. 2022, 4.2).

    Every removed pixel solves x_i Σ_j w_j = Σ_j w_j x_j over its neighbours within the picture, w = 1/6 for the four direct
    and 1/12 for the four diagonal ones. The systems of all pictures and channels are solved together by conjugate
    gradients; the matrix is never built.

    Args:
        images: (n, channels, height, width).
        removed: (n, height, width) bool; a picture without any pixel left becomes its mean.
        noise: standard deviation of what is added to removed pixels; the same field for all pictures.
        seed: of the noise.
        tolerance: relative residual of the solution.

    Returns:
        Pictures like `images`; pixels that are not removed are as they were.

    Raises:
        ValueError: shapes do not fit.
    """
    if images.ndim != 4 or removed.shape != (len(images), *images.shape[2:]) or removed.dtype != torch.bool:
        raise ValueError(
            "images, removed: Expected (n, channels, height, width) and bool (n, height, width), found "
            f"{tuple(images.shape)} and {removed.dtype} {tuple(removed.shape)}."
        )
    hole = removed.unsqueeze(1)
    known = images.float().masked_fill(hole, 0)
    filled = _solve(known.flatten(0, 1), hole.expand(images.shape).flatten(0, 1), tolerance).reshape(images.shape)
    nothing_left = removed.flatten(1).all(1)[:, None, None, None]
    filled = torch.where(nothing_left, images.float().mean((2, 3), keepdim=True), filled)
    field = np.random.default_rng(seed).standard_normal(images.shape[1:]) * noise
    filled = filled + torch.from_numpy(field).to(filled)
    return torch.where(hole, filled.to(images.dtype), images)


def _solve(known: Tensor, hole: Tensor, tolerance: float) -> Tensor:
    """Conjugate gradients for (D − W) x = W known on the holes, (k, height, width) each; a step length for each picture.

    Pictures lie flat with a border of zeros, so that a neighbour is a neighbour in memory and every step a few sums.
    """
    shape = known.shape
    known, hole = (pad(t.float(), (1, 1, 1, 1)).flatten(1) for t in (known, hole))
    width = shape[2] + 2
    # D is 12 but along the edges, which have fewer neighbours
    edge = _neighbours(pad(known.new_ones(1, *shape[1:]), (1, 1, 1, 1)).flatten(1), width)
    out = torch.zeros_like(known)
    left = torch.arange(len(known), device=known.device)
    r = _neighbours(known, width).mul_(hole)
    x, p, old = torch.zeros_like(r), r.clone(), _dot(r, r)
    goal = (tolerance**2 * old).clamp(min=torch.finfo(known.dtype).tiny)
    for _ in range(8 * sum(shape[1:])):
        open_ = (old > goal).flatten()
        number = int(open_.sum())
        if number < 0.8 * len(left):  # solved pictures leave, so that they are not worked on for the others' sake
            out[left[~open_]] = x[~open_]
            left, x, p, r, old, goal, hole = (t[open_] for t in (left, x, p, r, old, goal, hole))
            if number == 0:
                break
        step = torch.addcmul(_neighbours(p, width).neg_(), edge, p).mul_(hole)
        alpha = torch.where(old > goal, old / _dot(p, step).clamp(min=torch.finfo(known.dtype).tiny), 0.0)
        x.addcmul_(alpha, p)
        r.addcmul_(alpha, step, value=-1)
        new = _dot(r, r)
        p = torch.addcmul(r, new / old.clamp(min=torch.finfo(known.dtype).tiny), p)
        old = new
    out[left] = x
    return out.reshape(len(out), shape[1] + 2, width)[:, 1:-1, 1:-1]


def _neighbours(x: Tensor, width: int) -> Tensor:
    """12 Σ_j w_j x_j of every pixel of flat pictures with zero borders: [1 2 1]ᵀ[1 2 1] less its centre; 0 on the borders."""
    down = torch.add(x[:, : -2 * width], x[:, 2 * width :]).add_(x[:, width:-width], alpha=2)
    both = torch.add(down[:, :-2], down[:, 2:]).add_(down[:, 1:-1], alpha=2)
    both.sub_(x[:, width + 1 : -width - 1], alpha=4)
    return pad(both, (width + 1, width + 1))


def _dot(a: Tensor, b: Tensor) -> Tensor:
    products: Tensor = torch.linalg.vecdot(a, b)
    return products.unsqueeze(1)


def road(
    predict: Predict,
    images: Tensor,
    attributions: Floats,
    fractions: Sequence[float] = (0.1, 0.3, 0.5, 0.7, 0.9),
    noise: float = 0.01,
    seed: int = 0,
    least: bool = False,
) -> Floats:
    """Scores after imputing the most relevant pixels (Rong et al. 2022), for grey and coloured pictures.

    Args:
        predict: (m, channels, height, width) batch to (m, outputs) scores.
        images: (n, channels, height, width).
        attributions: (..., n, height, width), one value a pixel.
        fractions: shares of the pixels to impute.
        noise: see `noisy_linear_imputation`.
        seed: of the noise.
        least: impute the least relevant pixels first.

    Returns:
        (..., n, fractions, outputs). A faithful order makes the explained class fall fast.

    Raises:
        ValueError: shapes do not fit, an attribution is not finite, or a fraction is not between 0 and 1.
    """
    n, height, width = len(images), *images.shape[2:]
    if attributions.shape[-3:] != (n, height, width):
        raise ValueError(f"attributions: Expected (..., {n}, {height}, {width}), found {attributions.shape}.")
    if not all(0 <= f <= 1 for f in fractions) or not fractions:
        raise ValueError(f"fractions: Expected shares from 0 to 1, found {list(fractions)}.")
    if not np.isfinite(attributions).all():
        raise ValueError("attributions: Expected finite numbers, found NaN or infinity.")
    lead = attributions.shape[:-3]
    order = _places(attributions if least else -attributions)
    counts = [int(f * height * width) for f in fractions]
    gone = np.stack([order < count for count in counts], axis=-2).reshape(-1, height, width)
    which = torch.arange(n).repeat_interleave(len(counts)).repeat(int(np.prod(lead, dtype=np.int64)))
    size = max(1, NEAR // images[0].numel())
    found = []
    for i in range(0, len(gone), size):
        part = images[which[i : i + size].to(images.device)]
        holes = torch.from_numpy(gone[i : i + size]).to(images.device)
        with torch.no_grad():
            found.append(predict(noisy_linear_imputation(part, holes, noise, seed)).to("cpu", torch.float64))
    return torch.cat(found).numpy().reshape(*lead, n, len(counts), -1)


def _places(values: Floats) -> NDArray[np.int64]:
    """Place of each pixel when values are sorted upwards, (..., n, pixels)."""
    order = np.argsort(values.reshape(*values.shape[:-2], -1), axis=-1, kind="stable")
    place = np.empty_like(order)
    np.put_along_axis(place, order, np.broadcast_to(np.arange(order.shape[-1]), order.shape), axis=-1)
    return place
