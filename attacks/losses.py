"""What the attacker maximises: each loss is (m,), above 0 exactly where a point is broken (but for cross-entropy).

None of them saturates when the logits are large: the margin is linear in them, DLR is a ratio of them, and the
cross-entropy is taken after division by the spread of the clean logits.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_TINY = 1e-12
_SHARP = 10.0  # a goal's cross-entropy does not vanish while it loses, so its logits may be sharp


def others(scores: Tensor, label: Tensor) -> Tensor:
    """Largest score among the other classes, (m,)."""
    return scores.scatter(1, label[:, None], -torch.inf).amax(1)


def margin(scores: Tensor, label: Tensor, goal: Tensor | None = None) -> Tensor:
    """How far the best wrong class leads the label; with a goal, how far the goal leads every other class."""
    if goal is not None:
        return _at(scores, goal) - others(scores, goal)
    return others(scores, label) - _at(scores, label)


def lead(scores: Tensor, label: Tensor, aim: Tensor) -> Tensor:
    """How far the class aimed at leads the label; any other class may win meanwhile."""
    return _at(scores, aim) - _at(scores, label)


def dlr(scores: Tensor, label: Tensor, aim: Tensor) -> Tensor:
    """Targeted difference-of-logits ratio (Croce and Hein 2020, arXiv 2003.01690, equation 7).

    The denominator needs four classes; with fewer the lead itself is returned, which is as free of saturation.
    """
    if scores.shape[1] < 4:
        return lead(scores, label, aim)
    top = scores.topk(4, dim=1).values
    spread = top[:, 0] - (top[:, 2] + top[:, 3]) / 2
    return lead(scores, label, aim) / spread.clamp(min=_TINY)


def cross_entropy(scores: Tensor, label: Tensor, scale: Tensor, goal: Tensor | None = None) -> Tensor:
    """Cross-entropy of the label (of the goal, negated) at logits divided by `scale` (m,).

    A goal must beat every other class at once; its sharper logits keep close to that, and yet smooth where the margin
    has a kink at which a gradient search goes to and fro.
    """
    tempered = scores / scale[:, None]
    if goal is not None:
        return -functional.cross_entropy(_SHARP * tempered, goal, reduction="none")
    return functional.cross_entropy(tempered, label, reduction="none")


def spread(scores: Tensor) -> Tensor:
    """Standard deviation of the scores over the classes, (m,): the scale on which a model decides."""
    return scores.std(1, correction=0).clamp(min=_TINY)


def _at(scores: Tensor, index: Tensor) -> Tensor:
    return scores.gather(1, index[:, None])[:, 0]
