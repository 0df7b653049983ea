"""Integrated gradients that add up, or say that they do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
import torch
from torch import Tensor

from audit.explainers.attribution import Attribution
from audit.explainers.game import MEMORY
from audit.explainers.gradients import (
    Found,
    Model,
    Score,
    attribution,
    complete,
    each_output,
    examine,
    guarded,
    join,
    points_per_pass,
    relative,
    rounding,
    score_and_gradient,
)

#: quadrature points of one piece of the path
NODES = 4
#: pieces of the path are not cut below this share of it: a jump stays a jump
NARROW = 2.0**-20


def integrated_gradients(
    model: Model,
    inputs: Tensor,
    baselines: Tensor,
    targets: int | Sequence[int] | Tensor | None = None,
    steps: int = 32,
    max_steps: int = 2048,
    tolerance: float = 1e-3,
) -> Attribution:
    """Integrated gradients along the straight line from the baseline (Sundararajan, Taly and Yan 2017, eq. 1).

    The path is cut into pieces with a Gauss-Legendre sum each. Completeness must hold on every piece, so while the
    values miss f(x) − f(baseline) by more than `tolerance` of it, the pieces that miss their own change are halved: the
    points go where the model bends.

    Args:
        model: differentiable map from a float batch (m, ...) to (m, outputs) scores; explain logits or log-odds, for
            a saturated softmax has no gradient.
        inputs: (n, ...) examples; for text their embeddings.
        baselines: (n, ...) or (1, ...) starting points.
        targets: which outputs to explain; None explains all.
        steps: points on the path at first.
        max_steps: points on the path at most.
        tolerance: largest relative completeness error.

    Returns:
        An `Attribution` with values (n, elements, outputs), one value an input element in C order; `error` holds the
        completeness errors; intervals have no width, for nothing is sampled.

    Raises:
        CompletenessError: the values of an example do not add up within `max_steps`: the model jumps, or its gradients
            are not those of its scores.
        ValueError: an argument does not fit; the message names it.
    """
    examine(inputs, baselines=baselines)
    if not 1 <= steps <= max_steps:
        raise ValueError(f"steps: Expected 1 <= steps <= max_steps, found {steps} and {max_steps}.")
    with guarded(model, inputs):
        paths = [
            integrate(score, inputs, baselines, steps, max_steps, tolerance)
            for score in each_output(model, inputs, targets)
        ]
    found = attribution(paths)
    assert found.error is not None
    complete(
        "integrated_gradients",
        found.error,
        tolerance,
        f"{max_steps} steps were not enough; try more steps, or kernel_shap, which needs no gradient.",
    )
    return found


def integrate(score: Score, inputs: Tensor, baselines: Tensor, steps: int, max_steps: int, tolerance: float) -> Found:
    """Integrated gradients with as many points as each example needs, at most `max_steps`; errors are reported."""
    inputs, baselines = inputs.detach(), baselines.detach().expand_as(inputs)
    rows = torch.arange(len(inputs), device=inputs.device)
    pieces = ceil(steps / NODES)
    # the values of all pieces of a block are held at once, at first
    block = max(1, MEMORY // (8 * inputs[0].numel() * 2 * pieces))
    paths = [
        _Line(score, inputs, baselines, rows[i : i + block]).integrate(pieces, max_steps, tolerance)
        for i in range(0, len(rows), block)
    ]
    return join(paths)


@dataclass(frozen=True)
class _Line:
    """The straight lines from the baselines to the inputs, for some rows."""

    score: Score
    inputs: Tensor
    baselines: Tensor
    rows: Tensor

    def integrate(self, pieces: int, max_steps: int, tolerance: float) -> Found:
        n = len(self.rows)
        cuts = torch.linspace(0, 1, pieces + 1, dtype=torch.float64)
        which = torch.arange(n).repeat_interleave(pieces)
        left, right = cuts[:-1].repeat(n), cuts[1:].repeat(n)
        heights = self.heights(torch.arange(n).repeat_interleave(pieces + 1), cuts.repeat(n)).reshape(n, -1)
        low, high = heights[:, :-1].flatten(), heights[:, 1:].flatten()
        base, full = heights[:, 0], heights[:, -1]
        change = full - base
        slack = rounding(base, full, self.inputs.dtype)
        allowed = tolerance * change.abs() + slack
        values = torch.zeros(n, *self.inputs.shape[1:], dtype=torch.float64)
        missed, lost, spent = torch.zeros(n).double(), torch.zeros(n).double(), torch.zeros(n, dtype=torch.long)
        while len(which):
            parts, sums = self.parts(which, left, right)
            gap = sums - (high - low)
            count = torch.bincount(which, minlength=n)
            spent += NODES * count
            open_ = (missed.index_add(0, which, gap)).abs() > allowed
            split = open_[which] & (gap.abs() > ((allowed - lost) / (4 * count))[which]) & (right - left > NARROW)
            split &= (spent + 2 * NODES * torch.bincount(which[split], minlength=n) <= max_steps)[which]
            for some in torch.split(torch.nonzero(~split).squeeze(1), self.held):
                found = self.quadrature(which[some], left[some], right[some]) if parts is None else parts[some]
                values.index_add_(0, which[some], found)
            missed.index_add_(0, which[~split], gap[~split])
            lost.index_add_(0, which[~split], gap[~split].abs())
            which, left, right, low, high = (t[split] for t in (which, left, right, low, high))
            middle = (left + right) / 2
            height = self.heights(which, middle)
            left, right = torch.cat([left, middle]), torch.cat([middle, right])
            low, high, which = torch.cat([low, height]), torch.cat([height, high]), which.repeat(2)
        gap = (values.flatten(1).sum(1) - change).abs()
        return Found(values, values, values, base, full, relative(gap - slack, change), int(spent.max()))

    def points(self, which: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
        rows = self.rows[which.to(self.rows.device)]
        along = share.to(self.inputs).reshape(-1, *[1] * (self.inputs.ndim - 1))
        return torch.lerp(self.baselines[rows], self.inputs[rows], along), rows

    def heights(self, which: Tensor, share: Tensor) -> Tensor:
        """Scores at these shares of the way, (k,) float64 on the CPU."""
        size = points_per_pass(self.inputs)
        found = torch.zeros(len(which), dtype=torch.float64)
        with torch.no_grad():
            for i in range(0, len(which), size):
                part = slice(i, i + size)
                found[part] = self.score(*self.points(which[part], share[part])).to("cpu", torch.float64)
        if not bool(torch.isfinite(found).all()):
            raise ValueError("model: Expected finite scores on the path, found NaN or infinity; try another baseline.")
        return found

    @property
    def held(self) -> int:
        """Pieces whose values may be held at once; they are multiplied once, hence the two."""
        return max(1, MEMORY // (8 * 2 * self.inputs[0].numel()))

    def parts(self, which: Tensor, left: Tensor, right: Tensor) -> tuple[Tensor | None, Tensor]:
        """Values of the pieces, None where they are too many to hold and have to be found again, and their sums."""
        if len(which) <= self.held:
            parts = self.quadrature(which, left, right)
            return parts, parts.flatten(1).sum(1)
        some = [torch.split(at, self.held) for at in (which, left, right)]
        return None, torch.cat([self.quadrature(*part).flatten(1).sum(1) for part in zip(*some, strict=True)])

    def quadrature(self, which: Tensor, left: Tensor, right: Tensor) -> Tensor:
        """Gauss-Legendre sums of gradient × displacement over each piece, (k, ...) float64 on the CPU."""
        nodes, weights = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(NODES))
        share = left[:, None] + (right - left)[:, None] * (nodes + 1) / 2
        scale = (right - left)[:, None] * weights / 2
        total = torch.zeros(len(which), *self.inputs.shape[1:], dtype=torch.float64)
        size = points_per_pass(self.inputs)
        for i in range(0, share.numel(), size):
            at = torch.arange(i, min(i + size, share.numel()))
            piece = at // NODES
            points, rows = self.points(which[piece], share.flatten()[at])
            gradient = score_and_gradient(self.score, points, rows)[1].to("cpu", torch.float64)
            total.index_add_(0, piece, gradient * scale.flatten()[at].reshape(-1, *[1] * (gradient.ndim - 1)))
        rows = self.rows[which.to(self.rows.device)]
        return total * (self.inputs[rows] - self.baselines[rows]).to("cpu", torch.float64)
