"""Fast minimum-norm attack: climb the margin inside a ball that shrinks after a success and grows after a failure.

Pintor, Roli, Brendel, Biggio 2021, https://arxiv.org/abs/2102.12827, algorithm 1. Differences: steps are measured in
lengths of the perturbation, not in absolute units, so that inputs of any unit work; the projection is onto ball and box
at once; for linf the step goes along the square root of the gradient (the steepest in the 3-norm); for l0 the elements moved are those that promise most by gradients averaged over the last steps, each moved as
far as it may.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from attacks import norms, search
from attacks.gradient.deepfool import nearest
from attacks.guard import Guard, Model
from attacks.points import Points
from attacks.threat import Threat

_STREAM = 6
_GAMMA = {"linf": (0.1, 0.01), "l2": (0.1, 0.01), "l1": (0.1, 0.01), "l0": (0.3, 0.05)}  # first and last change of eps
_ALPHA = {
    "linf": (1.5, 0.02),
    "l2": (2.0, 0.1),
    "l1": (2.0, 0.1),
    "l0": (0.0, 0.0),
}  # first and last step; l0 takes none
_CYCLE = 80  # steps from warm to cold, about
_WIDEN = 0.5  # growth of eps before a first success
_LEAST = 1e-3  # a success must be smaller than the last by this share
_MEMORY = 0.9  # l0: what the mean keeps of earlier gradients


def fmn(
    model: Model,
    inputs: Tensor,
    labels: Tensor,
    threat: Threat,
    steps: int = 100,
    restarts: int = 1,
    seed: int = 0,
    batch_size: int | None = None,
) -> Tensor:
    """Seek the smallest perturbation of any norm by gradients of the margin.

    Args:
        model: see `attacks.search.solo`, as for all further arguments.
        inputs: (n, ...) float.
        labels: (n,) integers.
        threat: any norm.
        steps: gradients a run.
        restarts: runs; the first starts at the clean input, later ones at random points of ball and box.
        seed: of the random starts.
        batch_size: most examples in one call.

    Returns:
        (n, ...) in ball and box: the smallest success where it fits, else the attempt drawn inside.

    Raises:
        TypeError: an argument is of the wrong type.
        ValueError: an argument is out of its range, or the model's scores are not finite on the inputs.
    """
    search.count("steps", steps), search.count("restarts", restarts)

    def run(guard: Guard, points: Points, start: Tensor, restart: int) -> tuple[Tensor, Tensor]:
        jump = nearest(guard, points, start, None, (_STREAM, restart))
        return shrink(guard, points, start + jump, steps - 1, torch.zeros_like(points.eps))

    return search.solo(search.smallest(run, restarts, _STREAM), model, inputs, labels, threat, seed, batch_size)


def shrink(guard: Guard, points: Points, delta: Tensor, steps: int, enough: Tensor) -> tuple[Tensor, Tensor]:
    """Smallest success of each row found from a start (m, d), and its size, (m,); the last attempt and inf where none.

    A row whose size is `enough` (m,) leaves the search; 0 lets none leave.
    """
    state = _State(points, delta, enough)
    answer, sizes = delta.clone(), torch.full_like(points.eps, torch.inf)
    rows = torch.arange(len(points), device=delta.device)
    # a long search cools down several times: one that never warms up again ends where it first settled
    cycle = max(math.ceil(steps / max(round(steps / _CYCLE), 1)), 1)
    for step in range(steps):
        here = state.points
        scores, _, gradient = guard.gradient(here.at(state.delta), search.margin(here))
        state.learn(scores)
        left = state.size <= state.enough
        if bool(left.any()):
            answer[rows[left]], sizes[rows[left]] = state.best[left], state.size[left]
            rows, gradient = rows[~left], gradient[~left]
            state.take(~left)
            if not len(rows):
                return answer, sizes
        state.advance(
            state.points.usable(gradient, (_STREAM, step)), (1 + math.cos(math.pi * (step % cycle) / cycle)) / 2
        )
    state.learn(guard.scores(state.points.at(state.delta)))
    found = state.size.isfinite()
    answer[rows], sizes[rows] = torch.where(found[:, None], state.best, state.delta), state.size
    return answer, sizes


class _State:
    """One row each: where the search is, the best it found, and the ball it keeps to."""

    def __init__(self, points: Points, delta: Tensor, enough: Tensor) -> None:
        self.points, self.delta, self.enough = points, delta, enough
        self.best = torch.zeros_like(delta)
        self.size = torch.full_like(points.eps, torch.inf)
        self.eps = norms.size(delta, points.norm)
        self.broken = torch.zeros_like(points.label, dtype=torch.bool)
        self.trend = torch.zeros_like(delta)  # l0: running mean of the gradients

    def take(self, keep: Tensor) -> None:
        for name, value in vars(self).items():
            setattr(self, name, value.take(keep) if isinstance(value, Points) else value[keep])

    def learn(self, scores: Tensor) -> None:
        self.broken = self.points.broken(scores)
        size = norms.size(self.delta, self.points.norm)
        better = self.broken & (size < self.size)
        self.best = torch.where(better[:, None], self.delta, self.best)
        self.size = torch.where(better, size, self.size)

    def advance(self, gradient: Tensor, warmth: float) -> None:
        """One step; `warmth` falls from 1 to 0."""
        norm, down, up = self.points.norm, self.points.down, self.points.up
        gamma, alpha = (last + (first - last) * warmth for first, last in (_GAMMA[norm], _ALPHA[norm]))
        self.eps = self._ball(torch.where(self.size.isfinite(), 1 + gamma, 1 + _WIDEN), 1 - gamma)
        eps = self.eps.to(self.delta.dtype)
        if norm == "l0":
            self.trend = _MEMORY * self.trend + gradient / gradient.abs().sum(1, keepdim=True)
            self.delta = norms.vertex(self.trend, norm, eps, down, up)
        else:
            if norm == "linf":  # between the gradient, which moves few elements, and its sign, which moves all alike
                gradient = gradient.sign() * gradient.abs().sqrt()
            step = alpha * norms.length(self.delta)[:, None] * norms.steepest(gradient, "l2")
            self.delta = norms.project(self.delta + step, norm, eps, down, up)

    def _ball(self, more: Tensor, less: float) -> Tensor:
        """The next radius: smaller than here after a success, larger after a failure, always smaller than the best."""
        if self.points.norm == "l0":
            grown = torch.maximum((self.eps * more).floor(), self.eps + 1)
            shrunk = torch.minimum((self.size * less).floor(), self.size - 1)
            return torch.where(self.broken, shrunk, torch.minimum(grown, self.size - 1)).clamp(min=1)
        grown = torch.minimum(self.eps * more, self.size * (1 - _LEAST))
        return torch.where(self.broken, torch.minimum(self.eps, self.size) * less, grown)
