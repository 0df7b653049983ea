"""Auto-PGD along the slope of the loss smoothed by noise, estimated from score queries alone.

The gradient of a loss averaged over normal moves is an expectation of its finite differences (Nesterov and Spokoiny
2017); Ilyas et al. 2018 (https://arxiv.org/abs/1804.08598) attack with it. It exists where the loss is a staircase
(rounded scores, quantised inputs) and follows the coarse shape where the loss is shattered, so it stands in for every
gradient that is missing or misleads.
"""

from __future__ import annotations

import math

from attacks.gradient import apgd
from attacks.guard import Guard
from attacks.points import Points
from attacks.search import Hunt, margin

#: standard deviation of a move, in budgets
_WIDTHS = 0.5, 0.1


def search(guard: Guard, points: Points, steps: int, moves: int) -> Hunt:
    """Run on points none of which is broken: climb by wide moves, then go on from there by narrow ones.

    Args:
        guard: of the model; asked for scores only.
        points: rows to break.
        steps: gradients at each width.
        moves: pairs of queries a gradient.
    """
    elements = (points.up > points.down).double().sum(1).median().item()
    reach = float(points.eps.median())
    if points.norm == "l0":  # as far as a typical element may go
        far = (points.up - points.down).median().item()
        unit = far if math.isfinite(far) else 1.0
    else:
        unit = reach / {"linf": 1.0, "l2": math.sqrt(max(elements, 1)), "l1": max(elements, 1)}[points.norm]
    hunt = Hunt(points)
    for run, width in enumerate(_WIDTHS):
        left = (~hunt.broken).nonzero()[:, 0]
        if not len(left) or unit <= 0:
            break
        with guard.estimating(width * unit, moves):
            here = points.take(left).starting(hunt.delta[left])
            found = apgd.resume(guard, here, margin, steps) if run else apgd.search(guard, here, margin, steps)
        hunt.delta[left], hunt.loss[left] = found.delta, found.loss
    return hunt
