"""Evidence that a robust accuracy is too high because the attack was blinded, not because the model is robust.

The signs are those of Athalye, Carlini, Wagner 2018 (https://arxiv.org/abs/1802.00420, section 3.1) and Pintor et al.
2022 (https://arxiv.org/abs/2106.09947), each measured on the run itself or on a sample of its points.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from attacks import losses, search
from attacks.guard import Guard
from attacks.minimal import shortest
from attacks.points import Points

_SAMPLE = 64  # points probed beyond the run itself
_SPOILED = 0.05  # share of gradients that may vanish: a dead region, not a dead model
_FLIPPED = 0.02  # share of points a black box may add: luck, not blindness
_PROMISE = 0.25  # share of the promised rise in loss that a short step must deliver ...
_BROKEN_PROMISES = 0.3  # ... on all but this share of points
_SHORT = 0.05  # a short step, as a share of the budget
_MISSED = 0.1  # share of points an unlimited search may miss
_NOISE = 1e-3  # change between two equal calls, in spreads of the scores


@dataclass(frozen=True)
class Finding:
    """One reason not to trust a robust accuracy.

    Attributes:
        name: what was found, one word.
        measurement: how much of it, as a share of what was looked at.
        advice: what to do.
    """

    name: str
    measurement: float
    advice: str


_ADVICE = {
    "nan_gradients": "Gradients were NaN or infinite; find the operation (a logarithm or root of 0, an overflow) and "
    "make it finite.",
    "nan_scores": "Scores were NaN inside the ball; the model fails there in a worse way than by a wrong answer.",
    "zero_gradients": "Gradients vanished; look for rounding, thresholds, saturated outputs or a detached input, and "
    "attack through a smooth stand-in.",
    "stochastic": "Two equal calls disagreed; switch randomness off, or average the model over draws before attacking.",
    "loss_not_rising": "A short step along the gradient did not raise the loss as promised; the gradient does not "
    "belong to this function (a replaced backward pass, quantised or shattered inputs).",
    "black_box_wins": "Random search broke points that gradients could not; the gradients mislead. Trust the lower "
    "number, and less than that.",
    "unlimited_fails": "Without any budget points still stood, though the model answers otherwise elsewhere in the box; "
    "the search is blind.",
}


def finding(name: str, measurement: float) -> Finding:
    """The finding of that name, with its advice."""
    return Finding(name, float(measurement), _ADVICE[name])


def examine(guard: Guard, points: Points, attacked: Tensor, black_box_share: float) -> tuple[Finding, ...]:
    """All evidence against a finished run.

    Args:
        guard: the guard of the run, with its counts of spoiled gradients.
        points: all rows of the run.
        attacked: those that were attacked, bool (n,).
        black_box_share: share of them that only the black-box attack broke.
    """
    found = []
    gradients = max(guard.backwards, 1)
    if guard.nan_gradients:
        found.append(finding("nan_gradients", guard.nan_gradients / gradients))
    if guard.zero_gradients > _SPOILED * gradients:
        found.append(finding("zero_gradients", guard.zero_gradients / gradients))
    if _surely(black_box_share, int(attacked.sum())) > _FLIPPED:
        found.append(finding("black_box_wins", black_box_share))
    if bool(attacked.any()):
        # the smallest keys are a random sample that does not depend on the order
        rows = attacked.nonzero()[:, 0]
        sample = points.take(rows[points.key[rows].argsort()[:_SAMPLE]])
        found += [
            finding(name, share)
            for name, share, most in (
                ("stochastic", _disagreement(guard, sample), 0.0),
                ("loss_not_rising", _broken_promises(guard, sample), _BROKEN_PROMISES),
                ("unlimited_fails", _unlimited(guard, sample, points.scores.argmax(1)), _MISSED),
            )
            if share > most
        ]
    if guard.nan_scores:
        found.append(finding("nan_scores", guard.nan_scores / guard.forwards))
    return tuple(found)


def _disagreement(guard: Guard, points: Points) -> float:
    """Share of points whose scores differ between two equal calls."""
    change = (guard.scores(points.x) - guard.scores(points.x)).abs().amax(1)
    return _share(change > _NOISE * points.scale)


def _broken_promises(guard: Guard, points: Points) -> float:
    """Share of points where a short step rises by less than a quarter of what the gradient promises."""
    _, loss, gradient = guard.gradient(points.x, search.margin(points))
    short = points.within(points.eps * _SHORT) if points.norm != "l0" else points
    step = short.vertex(gradient)
    promise = (gradient * step).sum(1)
    rise = losses.margin(guard.scores(points.at(step)), points.label, points.goal) - loss
    # rounding of the scores hides a rise smaller than this
    told = promise > 1e-4 * points.scale
    return _share(~(rise >= _PROMISE * promise)[told])


def _unlimited(guard: Guard, points: Points, answers: Tensor) -> float:
    """Share of points that a search without budget cannot break though it must be possible.

    It must be where every element may move and the model gives another of the run's inputs the answer wanted: that
    input lies in the box.
    """
    if bool(((points.up == 0) & (points.down == 0)).any()):
        return 0.0
    if points.goal is None:
        possible = (answers != points.label[:, None]).any(1)
    else:
        possible = (answers == points.goal[:, None]).any(1)
    _, distance = shortest(guard, points, steps=20)
    return _share(distance.isinf() & possible)


def _surely(share: float, n: int, z: float = 1.96) -> float:
    """Lower end of the Wilson interval (Wilson 1927): what a share over few points shows for certain."""
    if n == 0:
        return 0.0
    centre, half = share + z * z / (2 * n), z * (share * (1 - share) / n + z * z / (4 * n * n)) ** 0.5
    return max(0.0, float(centre - half) / (1 + z * z / n))


def _share(mask: Tensor) -> float:
    return float(mask.double().mean()) if mask.numel() else 0.0
