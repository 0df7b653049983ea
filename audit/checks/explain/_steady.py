"""Small changes that leave the answer and move the explanation. Imports torch."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from attacks.norms import project, steepest
from audit.explainers.gradients import points_per_pass
from audit.explaining.players import log_odds
from audit.subject import Capability

if TYPE_CHECKING:
    from attacks import Threat
    from audit.subject import Subject

#: sharpness of the smoothed ReLU (Dombrowski et al. 2019, section 4)
SHARPNESS = 10.0


@dataclass(frozen=True, eq=False)
class Ball:
    """Points within a budget of their centres.

    Attributes:
        centres: (n, ...) examples.
        threat: norm, size, bounds and what may move, in units of `scale`.
        scale: size of one unit in each element of an input.
    """

    centres: Tensor
    threat: Threat
    scale: Tensor

    def inside(self, points: Tensor) -> Tensor:
        """The nearest points of the ball and its bounds, shaped like the points; what does not move keeps its bits."""
        delta = ((points - self.centres) / self.scale).flatten(1)
        low, high = (torch.as_tensor(end, device=points.device) for end in self.threat.bounds)
        down, up = ((end - self.centres / self.scale).flatten(1) for end in (low, high))
        down, up = down.clamp(max=0), up.clamp(min=0)
        if self.threat.mutable is not None:
            still = ~self.threat.mutable.flatten()
            down, up = down.masked_fill(still, 0), up.masked_fill(still, 0)
        eps = torch.full((len(points),), float(self.threat.eps), device=points.device)
        delta = project(delta, self.threat.norm, eps, down, up).reshape(points.shape)
        return (self.centres + delta * self.scale).where(delta != 0, self.centres)

    def random(self, rng: np.random.Generator) -> Tensor:
        """Points at random in the cube of the ball's size, brought inside."""
        noise = torch.from_numpy(rng.uniform(-1, 1, tuple(self.centres.shape))).to(self.centres)
        return self.inside(self.centres + noise * self.threat.eps * self.scale)


def smoothed(subject: Subject) -> nn.Module:
    """The model with softplus for every ReLU module, on a copy, so that its gradient has a gradient.

    Where the weights cannot be copied, and for ReLUs that are no modules, the model is as it is.
    """
    if Capability.TRAIN not in subject.capabilities:
        return subject.model
    model = copy.deepcopy(subject.model)
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.ReLU):
                setattr(parent, name, nn.Softplus(beta=SHARPNESS))
    return model


def manipulated(
    subject: Subject, ball: Ball, targets: Tensor, member: Tensor, steps: int, keep: int, rng: np.random.Generator
) -> list[Tensor]:
    """Points at which the gradient points elsewhere: ascent on the dissimilarity of the map (Ghorbani et al. 2019).

    The map is the gradient's magnitude summed over players, its likeness the cosine with that of the centre. The sign of
    the gradient is followed with steps that shrink, from a random point, for the centre is where the likeness is flat.

    Args:
        subject: the model; differentiated is its smoothed copy.
        ball: where points may lie.
        targets: (n,) the class explained.
        member: (elements, players) 1 where an element belongs to a player.
        steps: of the ascent.
        keep: how many points of the path are returned, the last among them.
        rng: the start.

    Returns:
        (n, ...) tensors; none where there is no map (the score has no gradient) or it does not react (second derivatives
        are all zero).
    """
    model = smoothed(subject)
    start, found = ball.random(rng), []
    with torch.enable_grad():
        if not model(ball.centres[:1].clone().requires_grad_(True)).requires_grad:
            return []
    size = max(1, points_per_pass(ball.centres) // 4)  # the second derivative holds the first one's graph
    batches = torch.split(torch.arange(len(start), device=start.device), size)

    def saliency(points: Tensor, rows: Tensor) -> Tensor:
        (gradient,) = torch.autograd.grad(
            log_odds(model(points), targets[rows]).sum(), points, create_graph=True, materialize_grads=True
        )
        return gradient.abs().flatten(1) @ member

    own = [_detached(saliency, ball.centres, rows) for rows in batches]
    points, moved = start, False
    for step in range(steps):
        after = torch.empty_like(points)
        for rows, before in zip(batches, own, strict=True):
            with torch.enable_grad():
                at = points[rows].detach().requires_grad_(True)
                likeness = nn.functional.cosine_similarity(saliency(at, rows), before, dim=1).sum()
                uphill = torch.zeros_like(at)
                if likeness.requires_grad:
                    (uphill,) = torch.autograd.grad(-likeness, at, materialize_grads=True)
            moved = moved or bool(uphill.any())
            direction = steepest(uphill.flatten(1), ball.threat.norm).reshape(at.shape)
            after[rows] = at.detach() + direction * ball.threat.eps * ball.scale * 0.5 * (1 - step / steps)
        points = ball.inside(after)
        if (steps - 1 - step) % max(1, steps // keep) == 0:
            found.append(points)
    return found if moved else []


def _detached(saliency: Callable[[Tensor, Tensor], Tensor], centres: Tensor, rows: Tensor) -> Tensor:
    with torch.enable_grad():
        return saliency(centres[rows].detach().requires_grad_(True), rows).detach()
