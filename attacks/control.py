"""A positive control: adversarial examples that exist by construction, for the attack to find.

Around each of a few points a black box asks for the scores of random corners of ball and box, then of corners along the
slope that those scores suggest. Whichever raises the attacker's margin most is kept, and the label's score is shifted by
a constant, so that the decision now turns just before that margin: the clean input stays right, the planted input is
wrong, and an adversarial example provably exists in ball and box. Gradient attacks that are worth their name reach more
than a few random queries do, so they must find one; an attack that is broken, or blinded by the model, does not.

The idea to test an attack on a task that is known to have a solution is that of Zimmermann, Brendel, Tramer and Carlini
2022 (https://arxiv.org/abs/2206.13991), who train a new read-out layer on the features of each point so that a chosen
random input becomes its adversarial example. Here nothing is trained and no layer is named: a constant added to the
scores does the same for any callable, leaves every gradient as it is, and makes the planted margin exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from attacks import noise, norms
from attacks.ensemble import Stage, assault
from attacks.guard import Guard
from attacks.interval import wilson
from attacks.points import Points

_SAMPLE = 32  # points planted at most
_QUERIES = 32  # of the black box at each
_STREAM = 7
#: norms whose corners move every element, so that they have a slope to follow
DENSE = ("linf", "l2")
_BEFORE = 0.01  # the decision turns this share of the planted gain before the planted margin
_ROUNDING = 16  # and at least this many units of rounding of the scores


@dataclass(frozen=True)
class Control:
    """What the gradient attacks found of what was planted.

    Attributes:
        hits: planted points that were broken.
        planted: points at which an adversarial example was planted, and confirmed by a fresh forward pass.
    """

    hits: int
    planted: int

    @property
    def rate(self) -> float | None:
        """Share of the planted points that were broken; None where nothing could be planted."""
        return self.hits / self.planted if self.planted else None

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval of the rate."""
        return wilson(self.rate or 0.0, self.planted)


def measure(guard: Guard, points: Points, stages: Mapping[str, Stage]) -> Control:
    """Plant, attack, count.

    Args:
        guard: of the model under attack.
        points: rows to draw from; which are planted depends on their keys alone, not on their order.
        stages: gradient attacks, for rows with one more element.
    """
    sample = points.take(points.key.argsort()[:_SAMPLE])
    if not len(sample):
        return Control(0, 0)
    delta, shift = _plant(guard, sample)
    task = handicapped(sample, shift)
    with guard.shifted(shift):
        tag = task.x[:, -1:]
        clean = task.broken(guard.scores(task.x))
        there = task.broken(guard.scores(torch.cat([sample.at(delta), tag], dim=1)))
        sound = (there & ~clean).nonzero()[:, 0]
        if not len(sound):
            return Control(0, 0)
        run = assault(guard, task.take(sound), dict(stages))
    return Control(sum(name is not None for name in run.broken_by), len(sound))


def handicapped(points: Points, shift: Tensor) -> Points:
    """The same points for a model whose scores are shifted: see `Guard.shifted`.

    A last element that never moves says which row of the shift (m, classes) belongs to a point.
    """
    tag = torch.arange(len(points), dtype=points.x.dtype, device=points.x.device)[:, None]
    still = torch.zeros_like(tag)
    whole = torch.cat([points.x, tag], dim=1)
    return replace(
        points,
        raw=whole,  # the tag is exact in the search's precision only
        x=whole,
        down=torch.cat([points.down, still], dim=1),
        up=torch.cat([points.up, still], dim=1),
        scores=points.scores + shift,
    )


def label_shift(points: Points, amount: Tensor) -> Tensor:
    """The shift (m, classes) of the scores that lowers the attacker's margin by an amount (m,)."""
    held, sign = (points.label, 1.0) if points.goal is None else (points.goal, -1.0)
    return torch.zeros_like(points.scores).scatter(1, held[:, None], sign * amount[:, None])


def _plant(guard: Guard, points: Points) -> tuple[Tensor, Tensor]:
    """The best perturbation the black box knows, (m, d), and the shift that makes it just adversarial.

    A row where nothing raises the margin keeps its clean input as its plant, which no shift makes adversarial.
    """
    start = points.margin(guard.scores(points.x))
    best, reached = torch.zeros_like(points.x), start
    slope = torch.zeros_like(points.x)
    for query in range(_QUERIES):
        way = noise.normal(points.key, (_STREAM, query), points.x.shape[1], points.x.dtype)
        focused = query >= _QUERIES // 2 and points.norm in DENSE
        if focused:  # near the slope known so far, at last along it
            share = (_QUERIES - 1 - query) / (_QUERIES // 2)
            way = _upright(slope) + share * _upright(way)
        delta = points.vertex(points.usable(way, (_STREAM, query, 0)))
        margin = points.margin(guard.scores(points.at(delta)))
        middle = reached if focused else start
        slope += (margin - middle).nan_to_num(0, 0, 0)[:, None] * delta
        better = margin > reached
        best, reached = torch.where(better[:, None], delta, best), torch.where(better, margin, reached)
    # measured afresh: with random scores the best of many is too good
    reached = points.margin(guard.scores(points.at(best)))
    gain = (reached - start).clamp(min=0)
    rounding = _ROUNDING * torch.finfo(points.x.dtype).eps * points.scores.abs().amax(1)
    before = torch.maximum(_BEFORE * gain, rounding)
    return best, label_shift(points, (reached - before).nan_to_num(0, 0, 0))


def _upright(rows: Tensor) -> Tensor:
    """Rows of length 1; 0 where a row is 0."""
    return rows / norms.length(rows)[:, None].clamp(min=torch.finfo(rows.dtype).tiny)
