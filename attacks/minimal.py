"""The smallest perturbation that breaks a point.

The search linearises the margin where it stands and jumps to the point of the linearised boundary nearest to the
*clean* input, inside the box, which is known in closed form for every norm (`norms.cross`). This is the iteration of
Hasofer, Lind, Rackwitz and Fiessler (1978) for the design point in structural reliability; DeepFool
(https://arxiv.org/abs/1511.04599) and FAB (https://arxiv.org/abs/1907.02044) take the same projections. On a linear
model the first jump is the optimum.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from attacks import norms, search
from attacks.guard import Guard, Model
from attacks.points import Points, build, check
from attacks.threat import Norm, Threat

_CLASSES = 9  # wrong classes whose boundary is measured first, as in targeted FAB
_NUDGE = 1e-4  # how far behind the boundary to aim, as a share of what the clean input lacks
_PUSH, _PUSHED = 0.01, 0.2  # the same after a first and after many jumps that fell short
_GROW, _FALL, _TANGENT = 1.5, 0.8, 0.05  # share of the way towards the point nearest to clean: growth, fall, least
_BISECTIONS = 8
_MEMORY = 0.75  # l0: what a step keeps of earlier gradients
_STREAM = 5


@dataclass(frozen=True, eq=False)
class Minimal:
    """Smallest perturbations found.

    Attributes:
        adversarial: (n, ...) inputs; the clean one where none was found or none is needed.
        distance: size of the perturbation, (n,) float64; 0 where the model is wrong already, inf where none was found.
        success: bool (n,).
        forwards: examples that entered the model.
        backwards: examples whose gradient was taken.
    """

    adversarial: Tensor
    distance: Tensor
    success: Tensor
    forwards: int
    backwards: int


def minimal(
    model: Model,
    inputs: Tensor,
    labels: Tensor,
    norm: Norm = "l2",
    bounds: tuple[float, float] | tuple[Tensor, Tensor] = (0.0, 1.0),
    steps: int = 40,
    seed: int = 0,
    mutable: Tensor | None = None,
    target: Tensor | int | None = None,
    batch_size: int | None = None,
) -> Minimal:
    """Find each point's smallest adversarial perturbation.

    Args:
        model: callable from a float batch (m, ...) to (m, classes) scores.
        inputs: (n, ...) float, inside the bounds.
        labels: true classes, (n,) integers.
        norm: how size is measured.
        bounds: see `Threat`.
        steps: most gradients for each point.
        seed: of the directions taken where the gradient vanishes.
        mutable: see `Threat`.
        target: see `Threat`.
        batch_size: most examples in one call of the model.

    Raises:
        TypeError: an argument is of the wrong type.
        ValueError: an argument is out of its range, or the model's scores are not finite on the inputs.
    """
    search.count("steps", steps)
    threat = Threat(norm, 0.0, bounds, mutable, target)
    labels = check(inputs, labels, threat, seed)
    with Guard(model, inputs.shape[1:], inputs.dtype, batch_size, seed) as guard, torch.no_grad():
        points = build(guard, inputs, labels, threat, seed)
        moved, distance = shortest(guard, points, steps)
    return Minimal(moved.reshape(inputs.shape), distance, distance.isfinite(), guard.forwards, guard.backwards)


def shortest(guard: Guard, points: Points, steps: int) -> tuple[Tensor, Tensor]:
    """Verified inputs (n, d) and their distances (n,): 0 where broken already, inf where none was found."""
    moved = points.raw.clone()
    done = points.broken(points.scores)
    distance = torch.where(done, 0.0, torch.inf).double()
    standing = (~done).nonzero()[:, 0]
    if len(standing):
        free = points.take(standing)
        free = free.within(torch.full_like(free.eps, torch.inf))
        best, size = walk(guard, free, steps, torch.zeros_like(free.eps))
        placed = free.place(_shrink(guard, free, best, size))
        sizes = norms.size(placed.double() - free.raw.double(), points.norm)
        sound = search.verify(guard, free, placed)
        moved[standing[sound]], distance[standing[sound]] = placed[sound], sizes[sound]
    return moved, distance


def seek(guard: Guard, points: Points, steps: int) -> search.Hunt:
    """The same search within each point's budget, on points none of which is broken: it ends once inside."""
    best, size = walk(guard, points, steps, points.radius.double())
    hunt = search.Hunt(points)
    inside = size <= points.radius
    hunt.delta, hunt.loss = points.project(best), torch.where(inside, torch.inf, hunt.loss)
    return hunt


def walk(guard: Guard, points: Points, steps: int, enough: Tensor) -> tuple[Tensor, Tensor]:
    """Smallest successful perturbation of each row, (m, d), and its size, (m,), inf where none was found.

    A row whose size is `enough` (m,) leaves the search.
    """
    delta, spent = _first_jump(guard, points, steps)
    state = _State(points, delta, enough)
    answer, sizes = torch.zeros_like(delta), torch.full_like(points.eps, torch.inf)
    rows = torch.arange(len(points), device=delta.device)
    for step in range(spent, steps):
        here = state.points
        scores, loss, gradient = guard.gradient(here.at(state.delta), search.margin(here))
        state.learn(scores)
        state.advance(loss, here.usable(gradient, (_STREAM, step)))
        left = state.size <= state.enough
        if bool(left.any()):
            answer[rows[left]], sizes[rows[left]] = state.best[left], state.size[left]
            rows = rows[~left]
            state.take(~left)
            if not len(rows):
                return answer, sizes
    state.learn(guard.scores(state.points.at(state.delta)))
    answer[rows], sizes[rows] = state.best, state.size
    return answer, sizes


class _State:
    """One row each: where the search is, the best it found, and how boldly it goes on."""

    def __init__(self, points: Points, delta: Tensor, enough: Tensor) -> None:
        self.points, self.delta, self.enough = points, delta, enough
        self.best = torch.zeros_like(delta)
        self.size = torch.full_like(points.eps, torch.inf)
        self.alpha = torch.ones_like(delta[:, 0])  # share of the way towards the point nearest to clean
        self.nudge = torch.full_like(delta[:, 0], _NUDGE)  # how far behind the boundary to aim
        self.trend = torch.zeros_like(delta)  # l0: running mean of the gradients
        self.count = norms.size(delta, points.norm)  # l0: how many elements to move

    def take(self, keep: Tensor) -> None:
        for name, value in vars(self).items():
            setattr(self, name, value.take(keep) if isinstance(value, Points) else value[keep])

    def learn(self, scores: Tensor) -> None:
        broken = self.points.broken(scores)
        size = norms.size(self.delta, self.points.norm)
        better = broken & (size < self.size)
        self.best = torch.where(better[:, None], self.delta, self.best)
        self.size = torch.where(better, size, self.size)
        found = self.size.isfinite()
        # no smaller: the boundary bends, so go less far along its tangent, and not at all before a first success
        fall = torch.where(found, _FALL, _FALL**2)
        alpha = torch.where(better, self.alpha * _GROW, self.alpha * fall).clamp(max=1)
        self.alpha = torch.where(found, alpha.clamp(min=_TANGENT), alpha).to(alpha)
        # short of the boundary: aim farther behind it
        self.nudge = torch.where(broken, self.nudge / 2, (2 * self.nudge).clamp(min=_PUSH)).clamp(_NUDGE, _PUSHED)

    def advance(self, loss: Tensor, gradient: Tensor) -> None:
        """A little behind the linearised boundary: between the point nearest to here and that nearest to clean."""
        norm, down, up = self.points.norm, self.points.down, self.points.up
        if norm == "l0":
            self._select(loss, gradient)
            return
        gain = ((gradient * self.delta).sum(1) - loss).clamp(min=0)  # what the line says the clean input lacks
        behind = self.nudge * gain
        push = behind - loss
        towards = gradient * push.sign()[:, None]
        here = self.delta + norms.cross(towards, push.abs(), norm, down - self.delta, up - self.delta)
        clean = norms.cross(gradient, gain + behind, norm, down, up)
        self.delta = (here + self.alpha[:, None] * (clean - here)).clamp(down, up)

    def _select(self, loss: Tensor, gradient: Tensor) -> None:
        """l0: one element fewer than the best, each as far as it may go, by gradients averaged over the last steps."""
        self.trend = _MEMORY * self.trend + gradient / gradient.abs().sum(1, keepdim=True)
        self.count = torch.where(
            self.size.isfinite(), self.size - 1, torch.where(loss > 0, self.count, 1 + 1.5 * self.count)
        )
        down, up = self.points.down, self.points.up
        self.delta = norms.vertex(self.trend, "l0", self.count.clamp(min=1), down, up)


def _first_jump(guard: Guard, points: Points, steps: int) -> tuple[Tensor, int]:
    """The nearest of the linearised boundaries to the likeliest wrong classes, and the gradients it took."""
    if points.goal is not None:
        ranking = points.goal[:, None]
    else:
        wrong = points.scores.scatter(1, points.label[:, None], -torch.inf)
        ranking = wrong.topk(min(_CLASSES, wrong.shape[1] - 1, max(steps // 2, 1)), dim=1).indices
    nearest, size = torch.zeros_like(points.x), torch.full_like(points.eps, torch.inf)
    for rank in range(ranking.shape[1]):
        aimed = points.aiming(ranking[:, rank])
        objective = search.margin(aimed) if points.goal is not None else search.lead(aimed)
        _, loss, gradient = guard.gradient(points.x, objective)
        gradient = points.usable(gradient, (_STREAM, steps, rank))
        gain = (-loss).clamp(min=0)
        jump = norms.cross(gradient, gain, points.norm, points.down, points.up)
        sizes = norms.size(jump, points.norm)
        # a boundary the box keeps out of reach comes last
        sizes = torch.where((gradient * jump).sum(1) < gain * (1 - 1e-3), sizes + 1e6 * (1 + sizes), sizes)
        closer = sizes < size
        nearest = torch.where(closer[:, None], jump, nearest)
        size = torch.where(closer, sizes, size)
    return (nearest * (1 + _NUDGE)).clamp(points.down, points.up), ranking.shape[1]


def _shrink(guard: Guard, points: Points, best: Tensor, size: Tensor) -> Tensor:
    """Bisect between the clean input and the best perturbation, forward passes only."""
    if points.norm == "l0":
        return best  # a shorter change of the same elements is no smaller
    rows = size.isfinite().nonzero()[:, 0]
    if not len(rows):
        return best
    points, whole = points.take(rows), best[rows]
    # the far end lies a little beyond: on the boundary, rounding can undo a success
    beyond = 1 + 10 * _NUDGE if points.raw.dtype == points.x.dtype else 1.0
    low, high = torch.full_like(whole[:, :1], 0.9), torch.full_like(whole[:, :1], beyond)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        broken = points.broken(guard.scores(points.place(middle * whole).to(whole.dtype)))[:, None]
        low, high = torch.where(broken, low, middle), torch.where(broken, middle, high)
    return best.index_copy(0, rows, whole * high)
