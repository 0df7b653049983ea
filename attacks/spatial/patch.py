"""An adversarial patch for each image: a square whose place and content are chosen against the model.

After Brown, Mane, Roy, Abadi, Gilmer 2017, "Adversarial Patch", https://arxiv.org/abs/1712.09665; the place of the
patch is ranked by the gradient, since on a linear model the gain of a full square is a sum over its elements.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from attacks import search as searches
from attacks.gradient import apgd
from attacks.guard import Guard, Model
from attacks.points import Points, build, check
from attacks.threat import Threat

_BLOCK = 2**24  # elements of gain maps held at a time


@dataclass(frozen=True, eq=False)
class Patched:
    """What patches did, one an image.

    Attributes:
        adversarial: (n, C, H, W), of the inputs' type; misclassified inputs are as they were.
        clean_correct: (n,) bool.
        robust: (n,) bool, right on the clean image and under every patch tried.
        location: (n, 2) int64, top and left of the square; -1 where none was placed.
        side: of the square, in pixels.
        forwards: examples that entered the model.
        backwards: examples whose gradient was taken.
    """

    adversarial: Tensor
    clean_correct: Tensor
    robust: Tensor
    location: Tensor
    side: int
    forwards: int
    backwards: int

    @property
    def robust_accuracy(self) -> float:
        """Share of rows that are right under every patch tried."""
        return float(self.robust.double().mean())


def patch(
    model: Model,
    inputs: Tensor,
    labels: Tensor,
    side: int,
    *,
    location: tuple[int, int] | None = None,
    steps: int = 15,
    places: int = 8,
    targets: int = 9,
    bounds: tuple[float, float] | tuple[Tensor, Tensor] = (0.0, 1.0),
    target: Tensor | int | None = None,
    seed: int = 0,
    batch_size: int | None = None,
) -> Patched:
    """Cover a square of each image with whatever misleads the model; pixels outside of it never change.

    Each pair of a wrong class and a place is ranked by the lead the class would have if the model were linear. The best
    are tried in turn with Auto-PGD inside the square; a broken image leaves.

    Args:
        model: callable from a float batch (m, C, H, W) to (m, classes) scores.
        inputs: (n, C, H, W) float, inside `bounds`.
        labels: true classes, (n,) integers.
        side: of the square, in pixels.
        location: top and left of the square; None: wherever it does most harm.
        steps: gradients a try.
        places: tries, each at a pair of class and place of its own.
        targets: wrong classes ranked, those with the highest scores.
        bounds: smallest and largest value of an input.
        target: class the attacker wants, (n,) or one; None: any wrong class.
        seed: of random directions where a gradient vanishes.
        batch_size: most examples in one call of the model.

    Returns:
        What was found, see `Patched`.

    Raises:
        TypeError: an argument is of the wrong type.
        ValueError: an argument is out of its range; the message names it.
    """
    threat = Threat("linf", 0.0, bounds, target=target)
    labels = check(inputs, labels, threat, seed)
    for name, value in (("steps", steps), ("places", places), ("targets", targets)):
        searches.count(name, value)
    corner = fitting(inputs, side, location)
    with Guard(model, inputs.shape[1:], inputs.dtype, batch_size, seed) as guard, torch.no_grad():
        points = build(guard, inputs, labels, threat, seed)
        moved = points.raw.clone()
        where = torch.full((len(inputs), 2), -1, device=inputs.device)
        standing = ~points.broken(points.scores)
        robust = standing & (points.scores.argmax(1) == labels)
        block = max(1, _BLOCK // (targets * points.x.shape[1]))
        for rows in torch.split(standing.nonzero()[:, 0], block):
            if not len(rows):
                break  # an empty tensor splits into itself
            hunt = _Hunt(guard, points.take(rows), inputs.shape[1:], side, corner, steps)
            hunt.run(places, targets)
            moved[rows], where[rows] = hunt.moved, hunt.where
            robust[rows] &= ~hunt.sound
    return Patched(
        adversarial=moved.reshape(inputs.shape),
        clean_correct=points.scores.argmax(1) == labels,
        robust=robust,
        location=where,
        side=side,
        forwards=guard.forwards,
        backwards=guard.backwards,
    )


def fitting(inputs: Tensor, side: int, location: tuple[int, int] | None) -> tuple[int, int] | None:
    """Refuse a square that does not fit the images; return its place."""
    if inputs.ndim != 4:
        raise ValueError(f"Expected inputs of shape (n, C, H, W), found {tuple(inputs.shape)}.")
    height, width = inputs.shape[2:]
    if not isinstance(side, int) or not 1 <= side <= min(height, width):
        raise ValueError(f"Expected side to be an integer from 1 to {min(height, width)}, found {side!r}.")
    if location is None:
        return None
    top, left = location
    if not (0 <= top <= height - side and 0 <= left <= width - side):
        raise ValueError(
            f"Expected location (top, left) from (0, 0) to ({height - side}, {width - side}), found {location!r}."
        )
    return int(top), int(left)


class _Hunt:
    """Tries pairs of class and place on rows none of which is broken.

    Attributes:
        moved: (m, d) the first success of a row, else its strongest attempt, in the inputs' type.
        where: (m, 2) its place.
        sound: (m,) bool, broken in a fresh forward pass.
    """

    def __init__(
        self,
        guard: Guard,
        points: Points,
        shape: torch.Size,
        side: int,
        corner: tuple[int, int] | None,
        steps: int,
    ) -> None:
        # as far as an element may go at all, so that only the square and the box bound the search
        eps = (points.up - points.down).double().amax(1) * (1 + 1e-4)
        self._guard, self._points, self._steps = guard, replace(points, eps=eps), steps
        self._shape, self._side, self._corner = shape, side, corner
        self.moved = points.raw.clone()
        self.where = torch.full((len(points), 2), -1, device=points.x.device)
        self.sound = torch.zeros(len(points), dtype=torch.bool, device=points.x.device)
        self._loss = torch.full_like(points.x[:, 0], -torch.inf)

    def run(self, places: int, targets: int) -> None:
        """Try the most promising pairs in turn; rows that break leave."""
        aims, leads = self._leads(targets)
        for _ in range(places):
            rows = (~self.sound & leads.isfinite().any(3).any(2).any(1)).nonzero()[:, 0]
            if not len(rows):
                return
            flat = leads[rows].flatten(1).argmax(1)
            index = torch.unravel_index(flat, leads.shape[1:])
            self._climb(rows, aims[rows, index[0]], torch.stack(index[1:], 1))
            self._strike(leads, rows, *index)

    def _leads(self, targets: int) -> tuple[Tensor, Tensor]:
        """Classes to aim at (m, aims), and the lead each would have at each place on a linear model (m, aims, h, w)."""
        points = self._points
        if points.goal is not None:
            aims = points.goal[:, None]
        else:
            others = points.scores.scatter(1, points.label[:, None], -torch.inf)
            aims = others.topk(min(targets, points.scores.shape[1] - 1), dim=1).indices
        maps = []
        for aim in aims.unbind(1):
            _, lead, gradient = self._guard.gradient(points.x, searches.lead(points.aiming(aim)))
            gain = torch.maximum(gradient * points.up, gradient * points.down).reshape(-1, *self._shape).sum(1)
            window = functional.avg_pool2d(gain[:, None], self._side, stride=1)[:, 0] * self._side**2
            maps.append(lead[:, None, None] + window)
        leads = torch.stack(maps, 1)
        if self._corner is not None:
            top, left = self._corner
            only = torch.full_like(leads, -torch.inf)
            only[:, :, top, left] = leads[:, :, top, left]
            leads = only
        return aims, leads

    def _strike(self, leads: Tensor, rows: Tensor, aim: Tensor, top: Tensor, left: Tensor) -> None:
        """Take a tried pair, and the same class at places that overlap it by half or more, out of the ranking."""
        far = self._side / 2
        down = (torch.arange(leads.shape[2], device=rows.device) - top[:, None]).abs() <= far
        right = (torch.arange(leads.shape[3], device=rows.device) - left[:, None]).abs() <= far
        leads[rows, aim] = leads[rows, aim].masked_fill(down[:, :, None] & right[:, None, :], -torch.inf)

    def _climb(self, rows: Tensor, aim: Tensor, corner: Tensor) -> None:
        points = self._points.take(rows)
        outside = ~squares(corner, self._side, self._shape).expand(-1, *self._shape).flatten(1)
        points = replace(points, down=points.down.masked_fill(outside, 0), up=points.up.masked_fill(outside, 0))
        found = apgd.search(self._guard, points.aiming(aim), searches.lead, self._steps)
        placed = points.place(found.delta)
        broken = found.broken.clone()
        if bool(broken.any()):
            broken[found.broken] = searches.verify(self._guard, points.take(found.broken), placed[found.broken])
        better = broken | (found.loss > self._loss[rows])
        changed = rows[better]
        self.moved[changed], self.where[changed] = placed[better], corner[better]
        self._loss[changed] = found.loss[better]
        self.sound[rows] = broken


def squares(corner: Tensor, side: int, shape: torch.Size) -> Tensor:
    """Bool (m, 1, H, W): the pixels of a square at these corners (m, 2)."""
    height, width = shape[1:]
    down = torch.arange(height, device=corner.device) - corner[:, :1]
    right = torch.arange(width, device=corner.device) - corner[:, 1:]
    return (((down >= 0) & (down < side))[:, :, None] & ((right >= 0) & (right < side))[:, None, :])[:, None]
