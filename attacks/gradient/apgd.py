"""Auto-PGD: projected gradient ascent with momentum whose step size follows its own progress.

Croce and Hein 2020, https://arxiv.org/abs/2003.01690, algorithm 1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from attacks.gradient.pgd import stride
from attacks.guard import Guard, Model
from attacks.points import Points
from attacks.search import Hunt, Objective, count, margin, solo
from attacks.threat import Threat

_STREAM = 3
_MOMENTUM = 0.75  # alpha of equation 2
_RISING = 0.75  # rho of condition 1
_LONG, _SHORT = 2.0, 0.25  # first step in shares of the budget: the paper's, and from a point that is good already
_RESUMED = 999  # keeps the draws of a resumed run apart from those of restarts


def apgd(
    model: Model,
    inputs: Tensor,
    labels: Tensor,
    threat: Threat,
    steps: int = 50,
    restarts: int = 1,
    seed: int = 0,
    batch_size: int | None = None,
) -> Tensor:
    """Climb the margin loss; halve the step and go back to the best point where progress stalls.

    Args:
        model: see `attacks.search.solo`, as for all further arguments.
        inputs: (n, ...) float.
        labels: (n,) integers.
        threat: any norm.
        steps: gradients a run.
        restarts: runs; the first starts at the clean input, later ones at random points.
        seed: of the random starts.
        batch_size: most examples in one call.

    Returns:
        (n, ...) in ball and box: the first success of a point, else its strongest attempt.

    Raises:
        TypeError: an argument is of the wrong type.
        ValueError: an argument is out of its range, or the model's scores are not finite on the inputs.
    """
    count("steps", steps), count("restarts", restarts)
    return solo(
        lambda guard, points: search(guard, points, margin, steps, restarts),
        model, inputs, labels, threat, seed, batch_size,
    )  # fmt: skip


def search(guard: Guard, points: Points, objective: Objective, steps: int, restarts: int = 1, first: int = 0) -> Hunt:
    """Run on points none of which is broken; see `apgd`. `first` = 1 starts at random from the first run on."""
    hunt = Hunt(points)
    for restart in range(first, first + restarts):
        if len(hunt.points):
            climb(guard, hunt, objective, steps, restart)
    return hunt


def resume(guard: Guard, points: Points, objective: Objective, steps: int) -> Hunt:
    """Climb on from each row's strongest perturbation so far, in short steps: a search that nearly succeeded ends well.

    What the run before could not see, in steps of a fixed length across a valley or under another loss, a short step
    along this loss often can.
    """
    assert points.start is not None
    hunt = Hunt(points)
    climb(guard, hunt, objective, steps, _RESUMED, points.start)
    return hunt


def _checkpoints(steps: int) -> set[int]:
    """Steps at which progress is judged, p_{j+1} = p_j + max(p_j - p_{j-1} - 0.03, 0.06) of all steps."""
    marks, gap, mark = set(), max(int(0.22 * steps), 1), 0
    while mark + gap <= steps:
        mark += gap
        marks.add(mark)
        gap = max(gap - max(int(0.03 * steps), 1), int(0.06 * steps), 1)
    return marks


def climb(
    guard: Guard, hunt: Hunt, objective: Objective, steps: int, restart: int, start: Tensor | None = None
) -> None:
    """One run on what the hunt still seeks.

    It begins at `start` (m, d) where that is given, else at the clean input where `restart` is 0, else at a random
    point.
    """
    current = hunt.points
    if start is not None:
        state = _State(start, _SHORT)
    else:
        state = _State(current.sample((_STREAM, restart)) if restart else torch.zeros_like(current.x), _LONG)
    at_clean = start is None and restart == 0
    marks = _checkpoints(steps)
    for step in range(steps):
        scores, loss, gradient = guard.gradient(current.at(state.delta), objective(current))
        state.see(loss, gradient)
        keep = hunt.see(state.delta, scores)
        if keep is not None:
            current = hunt.points
            state.take(keep)
        if not len(current):
            return
        if step in marks:
            state.judge()
        direction = current.usable(state.gradient, (_STREAM, restart, step))
        if step or not at_clean:
            z = current.project(state.delta + stride(current, direction, state.eta))
        else:
            z = current.vertex(direction)  # on a linear model the optimum, which no step of fixed length is
        # equation 2: a share of the new step, a share of the last one
        alpha = _MOMENTUM if step else 1.0
        moved = current.project(state.delta + alpha * (z - state.delta) + (1 - alpha) * (state.delta - state.before))
        state.before, state.delta = state.delta, moved
    hunt.see(state.delta, guard.scores(current.at(state.delta)))


class _State:
    """One row each: where the search is, where it was best, and how it fares since the last checkpoint."""

    def __init__(self, delta: Tensor, eta: float) -> None:
        one = delta[:, :1]
        self.delta = self.before = self.best = delta
        self.gradient = self.best_gradient = torch.zeros_like(delta)
        self.loss = self.best_loss = self.best_at_mark = torch.full_like(one, -torch.inf)
        self.eta = torch.full_like(one, eta)  # in shares of the budget
        self.rises = self.length = torch.zeros_like(one)
        self.halved = torch.ones_like(one, dtype=torch.bool)  # no verdict at the first checkpoint by condition 2

    def take(self, keep: Tensor) -> None:
        for name, tensor in vars(self).items():
            setattr(self, name, tensor[keep])

    def see(self, loss: Tensor, gradient: Tensor) -> None:
        loss = loss[:, None].nan_to_num(nan=-torch.inf)
        better = loss > self.best_loss
        self.rises = self.rises + (loss > self.loss)
        self.length = self.length + 1
        self.loss, self.gradient = loss, gradient
        self.best_loss = torch.where(better, loss, self.best_loss)
        self.best = torch.where(better, self.delta, self.best)
        self.best_gradient = torch.where(better, gradient, self.best_gradient)

    def judge(self) -> None:
        """Halve and go back where (1) too few steps rose, or (2) neither step nor best loss changed since last time."""
        stalled = ~self.halved & (self.best_loss <= self.best_at_mark)
        self.halved = (self.rises < _RISING * self.length) | stalled
        self.best_at_mark = self.best_loss
        self.eta = torch.where(self.halved, self.eta / 2, self.eta)
        self.delta = torch.where(self.halved, self.best, self.delta)
        self.before = torch.where(self.halved, self.best, self.before)
        self.gradient = torch.where(self.halved, self.best_gradient, self.gradient)
        self.rises = self.length = torch.zeros_like(self.rises)
