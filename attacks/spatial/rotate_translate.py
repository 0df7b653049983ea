"""The worst small rotation and translation of each image.

Engstrom, Tran, Tsipras, Schmidt, Madry 2019, "Exploring the Landscape of Spatial Robustness",
https://arxiv.org/abs/1712.02779: gradients are of little use here, since the loss over three numbers is rugged; a grid
of them is searched whole.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from attacks import noise
from attacks.guard import Guard, Model
from attacks.points import Points, build, check
from attacks.search import count
from attacks.spatial.move import Fill, move
from attacks.threat import Threat

_STREAM = 21
# transforms a row meets between two looks at what broke: more waste less time, fewer waste fewer forwards
_BLOCK = 8


@dataclass(frozen=True, eq=False)
class Moved:
    """What rotation and translation did.

    Attributes:
        adversarial: (n, C, H, W), of the inputs' type: the first image that broke the answer, else the worst one;
            misclassified inputs are as they were.
        clean_correct: (n,) bool.
        robust: (n,) bool, right on the clean image and under everything tried.
        degrees: (n,) float64, how far `adversarial` is turned, counter-clockwise.
        pixels: (n, 2) float64, how far it is moved, down and right.
        margin: (n,) how far the best wrong class (the target) leads there; above 0 where broken.
        forwards: examples that entered the model.
        backwards: always 0; no gradient is taken.
    """

    adversarial: Tensor
    clean_correct: Tensor
    robust: Tensor
    degrees: Tensor
    pixels: Tensor
    margin: Tensor
    forwards: int
    backwards: int = 0

    @property
    def robust_accuracy(self) -> float:
        """Share of rows that are right under everything tried."""
        return float(self.robust.double().mean())


def rotate_translate(
    model: Model,
    inputs: Tensor,
    labels: Tensor,
    degrees: float = 30.0,
    pixels: float = 3.0,
    *,
    angles: int = 31,
    shifts: int = 5,
    samples: int = 20,
    refinements: int = 4,
    fill: Fill = 0.0,
    bounds: tuple[float, float] | tuple[Tensor, Tensor] = (0.0, 1.0),
    target: Tensor | int | None = None,
    seed: int = 0,
    batch_size: int | None = None,
) -> Moved:
    """Search rotations up to `degrees` and shifts up to `pixels` each way; a broken image is searched no further.

    The whole grid is tried, the largest moves first, then random moves, then the neighbourhood of the worst move found,
    ever closer. With `samples` and `refinements` 0 the result is exactly the worst over `grid`.

    Args:
        model: callable from a float batch (m, C, H, W) to (m, classes) scores.
        inputs: (n, C, H, W) float, inside `bounds`.
        labels: true classes, (n,) integers.
        degrees: largest rotation either way.
        pixels: largest shift down, up, left and right.
        angles: rotations of the grid, evenly spaced, odd so that 0 is among them.
        shifts: shifts of the grid along each axis, likewise.
        samples: random moves tried on what withstands the grid.
        refinements: rounds of six neighbours of the worst move, each closer than the last where none is worse.
        fill: what stands where the image does not reach: a number in input units, or `"border"`.
        bounds: smallest and largest value of an input.
        target: class the attacker wants, (n,) or one; None: any wrong class.
        seed: of the random moves.
        batch_size: most examples in one call of the model.

    Returns:
        What was found, see `Moved`.

    Raises:
        TypeError: an argument is of the wrong type.
        ValueError: an argument is out of its range; the message names it.
    """
    labels = check(inputs, labels, Threat("linf", 0.0, bounds, target=target), seed)
    if inputs.ndim != 4:
        raise ValueError(f"Expected inputs of shape (n, C, H, W), found {tuple(inputs.shape)}.")
    _refuse(degrees, pixels, samples, refinements, fill, bounds)
    moves = grid(degrees, pixels, angles, shifts)
    limit = moves.new_tensor([degrees, pixels, pixels])
    with Guard(model, inputs.shape[1:], inputs.dtype, batch_size, seed) as guard, torch.no_grad():
        points = build(guard, inputs, labels, Threat("linf", 0.0, bounds, target=target), seed)
        search = _Search(guard, points, inputs, fill, bounds)
        for block in torch.split(moves, _BLOCK):
            search.attempt(block[None].expand(len(search.rows), -1, -1))
        if samples:
            drawn = 2 * noise.uniform(points.key, (_STREAM,), 3 * samples, torch.float64) - 1
            drawn = drawn.reshape(-1, samples, 3) * limit.to(drawn.device)
            for start in range(0, samples, _BLOCK):
                search.attempt(drawn[search.rows, start : start + _BLOCK])
        # half the grid's spacing, then ever less
        step = torch.tensor([2 * degrees / max(angles - 1, 1), *[2 * pixels / max(shifts - 1, 1)] * 2]).double() / 2
        search.refine(refinements, step.to(inputs.device), limit.to(inputs.device))
        sound = points.broken(guard.scores(search.adversarial.flatten(1).to(points.x.dtype)))
    already = points.broken(points.scores)
    clean_correct = points.scores.argmax(1) == labels
    return Moved(
        adversarial=search.adversarial,
        clean_correct=clean_correct,
        robust=clean_correct & ~(search.broken & sound) & ~already,
        degrees=search.best[:, 0],
        pixels=search.best[:, 1:],
        margin=search.margin,
        forwards=guard.forwards,
    )


def grid(degrees: float, pixels: float, angles: int = 31, shifts: int = 5) -> Tensor:
    """Every move of the grid, (angles * shifts^2, 3): degrees, pixels down, pixels right; the largest first.

    Raises:
        ValueError: `angles` or `shifts` is not odd.
    """
    for name, value in (("angles", count("angles", angles)), ("shifts", count("shifts", shifts))):
        if value % 2 == 0:
            raise ValueError(f"Expected {name} to be odd, so that the clean image is in the grid, found {value}.")
    turns = _even(degrees, angles)
    steps = _even(pixels, shifts)
    moves = torch.cartesian_prod(turns, steps, steps)
    size = (moves / moves.new_tensor([degrees or 1.0, pixels or 1.0, pixels or 1.0])).square().sum(1)
    return moves[size.argsort(descending=True, stable=True)]


def _even(limit: float, points: int) -> Tensor:
    """Evenly spaced from -limit to limit, 0 exactly in the middle; one point is 0."""
    half = points // 2
    return torch.arange(-half, half + 1, dtype=torch.float64) * (limit / max(half, 1))


class _Search:
    """The worst move of each row so far.

    Attributes:
        rows: those not broken yet, (k,) indices.
        adversarial: (n, C, H, W).
        best: (n, 3) the move that made it.
        margin: (n,) what the model says of it.
        broken: (n,) bool.
    """

    def __init__(
        self,
        guard: Guard,
        points: Points,
        inputs: Tensor,
        fill: Fill,
        bounds: tuple[float, float] | tuple[Tensor, Tensor],
    ) -> None:
        self._guard, self._points, self._fill = guard, points, fill
        self._inputs = inputs.detach()
        self._low, self._high = (torch.as_tensor(bound).to(inputs) for bound in bounds)
        self.adversarial = self._inputs.clone()
        self.margin = points.margin(points.scores)
        self.broken = points.broken(points.scores)
        self.best = torch.zeros(len(inputs), 3, dtype=torch.float64, device=inputs.device)
        self.rows = (~self.broken).nonzero()[:, 0]

    def attempt(self, moves: Tensor) -> Tensor:
        """Try moves (k, tries, 3) on the rows still sought; rows that break leave.

        Returns:
            (k,) bool, the rows sought before that are worse off than before.
        """
        tries = moves.shape[1]
        rows = self.rows.repeat_interleave(tries)
        if not len(rows):
            return rows.bool()
        flat = moves.reshape(-1, 3).to(self._inputs.device)
        images = move(self._inputs[rows], flat[:, 0], flat[:, 1:], self._fill)
        images = torch.minimum(torch.maximum(images, self._low), self._high)
        scores = self._guard.scores(images.flatten(1).to(self._points.x.dtype))
        here = self._points.take(rows)
        margin, broken = (t.reshape(-1, tries) for t in (here.margin(scores), here.broken(scores)))
        # the first that breaks, else the worst
        pick = torch.where(broken.any(1), broken.int().argmax(1), margin.argmax(1))
        at = torch.arange(len(pick), device=pick.device)
        worse = broken[at, pick] | (margin[at, pick] > self.margin[self.rows])
        changed, chosen = self.rows[worse], (at * tries + pick)[worse]
        self.adversarial[changed], self.best[changed] = images[chosen], flat[chosen]
        self.margin[changed] = margin.reshape(-1)[chosen]
        self.broken[self.rows] = broken.any(1)
        self.rows = self.rows[~broken.any(1)]
        return worse

    def refine(self, rounds: int, step: Tensor, limit: Tensor) -> None:
        """Pattern search (Hooke and Jeeves 1961) around the worst move of each row."""
        way = torch.cat([torch.eye(3), -torch.eye(3)]).to(step)
        steps = step.expand(len(self.best), 3).clone()
        for _ in range(rounds):
            rows = self.rows
            around = self.best[rows, None] + way * steps[rows, None]
            worse = self.attempt(around.clamp(-limit, limit))
            steps[rows[~worse]] /= 2


def _refuse(
    degrees: float,
    pixels: float,
    samples: int,
    refinements: int,
    fill: Fill,
    bounds: tuple[float, float] | tuple[Tensor, Tensor],
) -> None:
    for name, value in (("degrees", degrees), ("pixels", pixels)):
        if not (isinstance(value, int | float) and math.isfinite(value) and value >= 0):
            raise ValueError(f"Expected {name} to be a finite number of at least 0, found {value!r}.")
    for name, number in (("samples", samples), ("refinements", refinements)):
        if not isinstance(number, int) or number < 0:
            raise ValueError(f"Expected {name} to be an integer of at least 0, found {number!r}.")
    if fill == "border":
        return
    if isinstance(fill, str) or not bool(
        torch.as_tensor((torch.as_tensor(bounds[0]) <= fill) & (fill <= torch.as_tensor(bounds[1]))).all()
    ):
        raise ValueError(f"Expected fill to be a number inside bounds or 'border', found {fill!r}.")
