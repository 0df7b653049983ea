"""One adversarial patch for all images, printed once and put anywhere.

Brown, Mane, Roy, Abadi, Gilmer 2017, "Adversarial Patch", https://arxiv.org/abs/1712.09665: the patch maximises the
expected loss over images, places, rotations and sizes (section 2, the trained patch p-hat).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from attacks import losses, noise
from attacks.guard import Guard, Model
from attacks.points import Points, build, check
from attacks.spatial.patch import fitting
from attacks.threat import Threat

_STREAM = 22
_HELD_OUT = 23
_DECAY = 0.9  # of Adam's first moment, and below of its second
_DECAY_2 = 0.99


@dataclass(frozen=True, eq=False)
class Universal:
    """One patch, and what it does to images it was not made from.

    Attributes:
        patch: (C, side, side) in the inputs' type.
        adversarial: (k, C, H, W) the held-out images with the patch, each at a place, turn and size of its own.
        clean_correct: (k,) bool.
        robust: (k,) bool, right without and with the patch.
        trained: share of the images right before training that the patch broke in its last step.
        forwards: examples that entered the model.
        backwards: examples whose gradient was taken.
    """

    patch: Tensor
    adversarial: Tensor
    clean_correct: Tensor
    robust: Tensor
    trained: float
    forwards: int
    backwards: int

    @property
    def robust_accuracy(self) -> float:
        """Share of held-out rows that are right without and with the patch."""
        return float(self.robust.double().mean())


def universal_patch(
    model: Model,
    inputs: Tensor,
    labels: Tensor,
    side: int,
    *,
    held_out: tuple[Tensor, Tensor],
    location: tuple[int, int] | None = None,
    degrees: float = 20.0,
    scale: float = 0.1,
    steps: int = 100,
    rate: float = 0.1,
    bounds: tuple[float, float] = (0.0, 1.0),
    target: int | None = None,
    seed: int = 0,
    batch_size: int | None = None,
) -> Universal:
    """Train one square patch on a batch, and put it on images it has not seen.

    Every step draws for each image a place, a turn and a size, so that the patch works wherever it ends up.

    Args:
        model: callable from a float batch (m, C, H, W) to (m, classes) scores.
        inputs: (n, C, H, W) float, inside `bounds`, to train on.
        labels: their true classes, (n,) integers.
        side: of the square, in pixels.
        held_out: images (k, C, H, W) and labels to judge the patch on.
        location: top and left of the square; None: anywhere it fits, drawn for each image anew.
        degrees: largest turn either way.
        scale: largest change of size, as a share.
        steps: gradients an image; with 0 the patch stays random, which shows what covering alone does.
        rate: step size, as a share of the range of an input.
        bounds: smallest and largest value of an input.
        target: class the attacker wants; None: any wrong class.
        seed: of the draws.
        batch_size: most examples in one call of the model.

    Returns:
        The patch and what it did, see `Universal`.

    Raises:
        TypeError: an argument is of the wrong type.
        ValueError: an argument is out of its range; the message names it.
    """
    corner = fitting(inputs, side, location)
    _refuse(steps, degrees, scale, rate, bounds)
    unseen, truth = held_out
    threat = Threat("linf", 0.0, bounds, target=target)
    labels, truth = check(inputs, labels, threat, seed), check(unseen, truth, threat, seed)
    if unseen.shape[1:] != inputs.shape[1:]:
        raise ValueError(f"Expected held-out images of shape {tuple(inputs.shape[1:])}, found {tuple(unseen.shape)}.")
    with Guard(model, inputs.shape[1:], inputs.dtype, batch_size, seed) as guard, torch.no_grad():
        points = build(guard, inputs, labels, threat, seed)
        judged = build(guard, unseen, truth, threat, seed)
        place = _Placing(inputs.shape[1:], side, corner, degrees, scale)
        found, trained = _train(guard, points, place, steps, rate, bounds, seed)
        adversarial = place(judged.raw.to(judged.x.dtype), found, judged.key, (_HELD_OUT,)).to(inputs.dtype)
        broken = judged.broken(guard.scores(adversarial.flatten(1).to(judged.x.dtype)))
    clean_correct = judged.scores.argmax(1) == truth
    return Universal(
        patch=found.to(inputs.dtype),
        adversarial=adversarial,
        clean_correct=clean_correct,
        robust=clean_correct & ~broken,
        trained=trained,
        forwards=guard.forwards,
        backwards=guard.backwards,
    )


class _Placing:
    """Puts a patch (C, side, side) on flat images, each at a place, turn and size drawn from its key."""

    def __init__(
        self, shape: torch.Size, side: int, corner: tuple[int, int] | None, degrees: float, scale: float
    ) -> None:
        self.shape, self.side = shape, side
        self._corner, self._degrees, self._scale = corner, degrees, scale

    def __call__(self, flat: Tensor, patch: Tensor, key: Tensor, stream: noise.Stream) -> Tensor:
        """Images (m, C, H, W); differentiable in the patch."""
        height, width = self.shape[1:]
        lot = noise.uniform(key, stream, 4, torch.float64)
        if self._corner is None:
            # whole pixels, so that an upright patch of its own size is put down unblurred
            top, left = (lot[:, 0] * (height - self.side + 1)).floor(), (lot[:, 1] * (width - self.side + 1)).floor()
        else:
            top, left = (torch.full_like(lot[:, 0], at) for at in self._corner)
        turn = (2 * lot[:, 2] - 1) * math.radians(self._degrees)
        size = self.side * (1 + (2 * lot[:, 3] - 1) * self._scale)
        down = (torch.arange(height, device=flat.device) + 0.5 - self.side / 2 - top[:, None])[:, :, None]
        right = (torch.arange(width, device=flat.device) + 0.5 - self.side / 2 - left[:, None])[:, None, :]
        cos, sin, half = (v[:, None, None] for v in (turn.cos(), turn.sin(), size / 2))
        grid = torch.stack([(cos * right - sin * down) / half, (sin * right + cos * down) / half], -1).to(flat.dtype)
        inside = (grid.abs() <= 1).all(-1)[:, None]
        shown = functional.grid_sample(
            patch.expand(len(flat), -1, -1, -1), grid, mode="bilinear", padding_mode="border", align_corners=False
        )
        return torch.where(inside, shown, flat.reshape(-1, *self.shape))


def _train(
    guard: Guard,
    points: Points,
    place: _Placing,
    steps: int,
    rate: float,
    bounds: tuple[float, float],
    seed: int,
) -> tuple[Tensor, float]:
    """Adam (Kingma and Ba 2015) on the mean hinge loss; a row that is broken clearly pulls no more."""
    low, high = bounds
    channels, side = place.shape[0], place.side
    key = noise.row_keys(torch.zeros(1, dtype=torch.int64, device=points.x.device), seed, "universal patch")
    start = noise.uniform(key, (0,), channels * side**2, points.x.dtype)
    patch = (low + (high - low) * start).reshape(channels, side, side)
    first, second = torch.zeros_like(patch), torch.zeros_like(patch)
    right = ~points.broken(points.scores)
    broken = torch.zeros_like(right)

    def loss(scores: Tensor, rows: slice) -> Tensor:
        goal = None if points.goal is None else points.goal[rows]
        return (losses.margin(scores, points.label[rows], goal) / points.scale[rows]).clamp(max=1.0)

    for step in range(1, steps + 1):
        with torch.enable_grad():
            leaf = patch.clone().requires_grad_()
            shown = place(points.x, leaf, points.key, (_STREAM, step))
        scores, _, gradient = guard.gradient(shown.detach().flatten(1), loss)
        (slope,) = torch.autograd.grad(shown, leaf, gradient.reshape(shown.shape))
        broken = points.broken(scores) & right
        first = _DECAY * first + (1 - _DECAY) * slope
        second = _DECAY_2 * second + (1 - _DECAY_2) * slope.square()
        size = (second / (1 - _DECAY_2**step)).sqrt().clamp(min=torch.finfo(slope.dtype).tiny)
        # a rate that falls to a tenth settles what it has found
        pace = rate * (high - low) * (1 - 0.9 * (step - 1) / steps)
        patch = (patch + pace * first / (1 - _DECAY**step) / size).clamp(low, high)
    return patch, float(broken.double().sum() / max(int(right.sum()), 1))


def _refuse(steps: int, degrees: float, scale: float, rate: float, bounds: tuple[float, float]) -> None:
    if not isinstance(steps, int) or steps < 0:
        raise ValueError(f"Expected steps to be an integer of at least 0, found {steps!r}.")
    if not (isinstance(degrees, int | float) and 0 <= degrees <= 180):
        raise ValueError(f"Expected degrees to be a number from 0 to 180, found {degrees!r}.")
    if not (isinstance(scale, int | float) and 0 <= scale < 1):
        raise ValueError(f"Expected scale to be a number of at least 0 and below 1, found {scale!r}.")
    if not (isinstance(rate, int | float) and rate > 0):
        raise ValueError(f"Expected rate to be a number above 0, found {rate!r}.")
    if not all(isinstance(bound, int | float) and math.isfinite(bound) for bound in bounds):
        raise ValueError(f"Expected bounds to be two finite numbers, found {bounds!r}.")
