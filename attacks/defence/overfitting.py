"""Catastrophic overfitting of one-step training: told within an epoch, on rows held out.

A model that overfits withstands the single step it is trained with and falls to several (Wong, Rice, Kolter 2020,
https://arxiv.org/abs/2001.03994, section 5.4): within a few batches the gap between the two opens.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from attacks.defence.recipes import Passes
from attacks.gradient import fgsm, pgd
from attacks.guard import Guard
from attacks.points import build
from attacks.search import cross_entropy
from attacks.threat import Threat

_STEPS = 10  # of the held-out attack
_BLIND = 0.5  # share of the rows that withstand one step and fall to several
_SIGMAS = 2.0
_LEAST_JUMP = 0.05


@dataclass(frozen=True)
class Trial:
    """How the held-out rows fared, as shares of all of them.

    Attributes:
        clean: classified rightly.
        one_step: still right after one full step along the gradient.
        robust: right after that and after projected gradient descent.
        rows: how many there are.
    """

    clean: float
    one_step: float
    robust: float
    rows: int

    @property
    def gap(self) -> float:
        """Share that withstands one step only."""
        return self.one_step - self.robust


def judge(network: nn.Module, inputs: Tensor, labels: Tensor, threat: Threat, seed: int, passes: Passes) -> Trial:
    """Attack held-out rows with one step and with ten; each row leaves once it is broken."""
    with Guard(network, inputs.shape[1:], inputs.dtype, seed=seed) as guard, torch.no_grad():
        points = build(guard, inputs, labels, threat, seed)
        stands = ~points.broken(points.scores)
        counts = [int(stands.sum())]
        for search, steps in ((fgsm.search, 1), (pgd.search, _STEPS)):
            left = stands.nonzero()[:, 0]
            if len(left):
                stands[left] = ~search(guard, points.take(left), cross_entropy, steps).broken
            counts.append(int(stands.sum()))
        passes.forwards += guard.forwards
        passes.backwards += guard.backwards
    clean, one_step, robust = (count / len(inputs) for count in counts)
    return Trial(clean, one_step, robust, len(inputs))


def caught(good: Trial, now: Trial) -> bool:
    """Whether a model that was `good` overfits catastrophically `now`.

    Most rows that withstand one step fall to several, and the gap is wider than before by more than chance explains.
    """
    spread = (good.gap * (1 - good.gap) / good.rows + now.gap * (1 - now.gap) / now.rows) ** 0.5
    jump = now.gap - good.gap
    return now.gap > _BLIND * now.one_step and jump > max(_SIGMAS * spread, _LEAST_JUMP)
