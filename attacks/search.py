"""What all searches share: objectives, the memory of the best perturbation, the independent verdict, the solo run."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from attacks import losses
from attacks.guard import Guard, Model, RowLoss
from attacks.points import Points, build, check
from attacks.threat import Norm, Threat

#: from points to the loss the attacker maximises on them
Objective: TypeAlias = Callable[[Points], RowLoss]

_FARTHER = (1.0, 1.0001, 1.001, 1.01)


def margin(points: Points) -> RowLoss:
    """`losses.margin`: above 0 exactly where the point is broken."""
    return lambda scores, rows: losses.margin(scores, points.label[rows], _part(points.goal, rows))


def cross_entropy(points: Points) -> RowLoss:
    """`losses.cross_entropy` on the scale of the clean scores."""
    return lambda scores, rows: losses.cross_entropy(
        scores, points.label[rows], points.scale[rows], _part(points.goal, rows)
    )


def lead(points: Points) -> RowLoss:
    """`losses.lead` of the class aimed at; `margin` where there is none."""
    aim = points.aim
    if aim is None:
        return margin(points)
    return lambda scores, rows: losses.lead(scores, points.label[rows], aim[rows])


def dlr(points: Points) -> RowLoss:
    """`losses.dlr` of the class aimed at; `margin` where there is none."""
    aim = points.aim
    if aim is None:
        return margin(points)
    return lambda scores, rows: losses.dlr(scores, points.label[rows], aim[rows])


def _part(index: Tensor | None, rows: slice) -> Tensor | None:
    return None if index is None else index[rows]


class Hunt:
    """Remembers each row's strongest perturbation while broken rows leave the search.

    Attributes:
        points: the rows still sought.
        delta: strongest perturbation of every row so far, (m, d).
        loss: its margin, (m,).
    """

    def __init__(self, points: Points) -> None:
        self.points = points
        self.delta = torch.zeros_like(points.x)
        self.loss = torch.full_like(points.x[:, 0], -torch.inf)
        self._rows = torch.arange(len(points), device=points.x.device)

    def see(self, delta: Tensor, scores: Tensor) -> Tensor | None:
        """Record the scores of the sought rows at delta.

        Returns:
            The rows to keep, a mask over those sought before, where some left; None where all stay. `points` has
            been reduced already.
        """
        loss = self.points.margin(scores)
        better = loss > self.loss[self._rows]
        changed = self._rows[better]
        self.delta[changed], self.loss[changed] = delta[better], loss[better]
        broken = self.points.broken(scores)
        # the first success stays, though a tie in the margin hides it
        won = self._rows[broken]
        self.delta[won], self.loss[won] = delta[broken], torch.inf
        if not bool(broken.any()):
            return None
        keep = ~broken
        self.points, self._rows = self.points.take(keep), self._rows[keep]
        return keep

    @property
    def broken(self) -> Tensor:
        """Rows whose search ended in success, bool (m,)."""
        return self.loss == torch.inf


def verify(guard: Guard, points: Points, moved: Tensor) -> Tensor:
    """Judge inputs (m, d) from outside: in the box, in the ball, and wrong in a fresh forward pass; bool (m,).

    It shares no geometry with the search, so that an error there cannot hide here.
    """
    change = moved.double() - points.raw.double()
    inside = (change >= points.down).all(1) & (change <= points.up).all(1)
    far = {
        "linf": lambda: change.abs().amax(1),
        "l2": lambda: change.square().sum(1).sqrt(),
        "l1": lambda: change.abs().sum(1),
        "l0": lambda: (change != 0).sum(1),
    }[points.norm]()
    inside &= far <= points.eps
    return inside & points.broken(guard.scores(moved.to(points.x.dtype)))


#: one run of a minimal-norm attack: guard, points without a budget, start (m, d) and the run's number, to perturbations
#: (m, d) and their sizes, (m,): the smallest success, or the last attempt and inf
Run: TypeAlias = Callable[[Guard, Points, Tensor, int], tuple[Tensor, Tensor]]


def smallest(run: Run, restarts: int, stream: int) -> Callable[[Guard, Points], Hunt]:
    """The search of a minimal-norm attack: the smallest success of all runs, settled within the budget.

    The first run starts at the clean input, later ones at random points of ball and box.
    """

    def search(guard: Guard, points: Points) -> Hunt:
        free = points.within(torch.full_like(points.eps, torch.inf))
        best, size = run(guard, free, torch.zeros_like(points.x), 0)
        for restart in range(1, restarts):
            other, length = run(guard, free, points.sample((stream, restart)), restart)
            closer = length < size
            best, size = torch.where(closer[:, None], other, best), torch.where(closer, length, size)
        return settle(guard, points, best)

    return search


def settle(guard: Guard, points: Points, delta: Tensor) -> Hunt:
    """Perturbations (m, d) found without a budget, drawn onto ball and box and judged as they will be returned.

    Where rounding undid a success, which lies close to the boundary, it is sought a little farther out.
    """
    hunt = Hunt(points)
    for share in _FARTHER:
        here = hunt.points
        if not len(here):
            break
        drawn = here.project(share * delta)
        keep = hunt.see(drawn, guard.scores(here.place(drawn).to(drawn.dtype)))
        delta = delta if keep is None else delta[keep]
    return hunt


def solo(
    search: Callable[[Guard, Points], Hunt],
    model: Model,
    inputs: Tensor,
    labels: Tensor,
    threat: Threat,
    seed: int,
    batch_size: int | None,
) -> Tensor:
    """Run one search on the points that are not broken already; the rest come back as they were.

    Every attack called by its name does this, with these arguments:

    Args:
        search: the attack.
        model: callable from a float batch (m, ...) to (m, classes) scores, in input units. A module is put into eval
            mode for the time, and left exactly as it was.
        inputs: (n, ...) float, inside the threat's bounds; not modified.
        labels: true classes, (n,) integers.
        threat: the budget.
        seed: of every random draw.
        batch_size: most examples in one call of the model; None chooses. It changes no answer.

    Returns:
        Inputs (n, ...) in ball and box, of the inputs' type: a success where one was found (the first; of an attack
        that seeks the smallest perturbation, the smallest), else the strongest attempt. Points that are misclassified
        already come back unchanged.

    Raises:
        TypeError: an argument is of the wrong type.
        ValueError: an argument is out of its range, or the model's scores are not finite on the inputs; the message
            names it.
    """
    labels = check(inputs, labels, threat, seed)
    with Guard(model, inputs.shape[1:], inputs.dtype, batch_size, seed) as guard, torch.no_grad():
        points = build(guard, inputs, labels, threat, seed)
        moved = points.raw.clone()
        standing = (~points.broken(points.scores)).nonzero()[:, 0]
        if len(standing):
            points = points.take(standing)
            moved[standing] = points.place(search(guard, points).delta)
    return moved.reshape(inputs.shape)


def knows(name: str, threat: Threat, known: tuple[Norm, ...]) -> None:
    """Refuse a norm the attack is not defined for."""
    if isinstance(threat, Threat) and threat.norm not in known:
        raise ValueError(
            f"Expected threat.norm to be one of {', '.join(known)} for {name}, found {threat.norm!r}; try fmn or apgd, "
            f"which know every norm."
        )


def count(name: str, value: int) -> int:
    """Refuse a number of steps, restarts or queries below 1."""
    if not isinstance(value, int) or value < 1:
        raise ValueError(f"Expected {name} to be an integer of at least 1, found {value!r}.")
    return value
