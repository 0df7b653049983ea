"""Evidence that a robust accuracy is too high because the attack was blinded, not because the model is robust.

The signs are those of Athalye, Carlini, Wagner 2018 (https://arxiv.org/abs/1802.00420, section 3.1) and Pintor et al.
2022 (https://arxiv.org/abs/2106.09947), each measured on the run itself or on a sample of its points.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from attacks import norms, search
from attacks.control import Control
from attacks.gradient import apgd
from attacks.guard import Guard
from attacks.interval import surely
from attacks.minimal import seek
from attacks.points import Points

_SAMPLE = 64  # points probed beyond the run itself
_FEW, _FEWEST = 32, 16  # points of the dear probes, and of the dearest
_SPOILED = 0.05  # share of gradients that may vanish: a dead region, not a dead model
_FLIPPED = 0.02  # share of points a black box may add: luck, not blindness
_PROMISE = 0.25  # share of the promised rise in loss that a short step must deliver ...
_BROKEN_PROMISES = 0.3  # ... on all but this share of points
_SHORT = 0.05  # a short step, as a share of the budget
_MISSED = 0.1  # share of points an unlimited search may miss
_NOISE = 1e-3  # change between two equal calls, in spreads of the scores
_RANDOM = 0.01  # change between two gradients of the same point, as a share of them
_HUGE = 1e3  # factor by which gradients a short step apart may differ
_TINY, _ROUNDING = 0.01, 4  # a tiny step, as a share of the budget, and units of rounding it must outdo
_FLAT = 0.3  # share of points whose scores may stay the same under a tiny step that a long one changes
_SATURATED = 0.05  # share of points that may be given a probability of exactly 0 or 1
_LONGER, _GAINED = 4, 0.05  # times the steps, and the share of survivors they may surely break
_CONTROL = 0.95  # share of planted examples the attack must find ...
_CONTROL_L0 = 0.5  # ... but for l0, where the best few elements are a question of combinations
_UNLIMITED = 1e30  # a budget no box uses up, whose square float64 still holds
_STREAM = 8
#: findings that blame no gradient
STOCHASTIC, UNCONVERGED = "stochastic", "more_steps_win"


@dataclass(frozen=True)
class Finding:
    """One reason not to trust a robust accuracy.

    Attributes:
        name: what was found, one word.
        measurement: how much of it, as a share.
        of: what it is a share of.
        advice: what to do.
    """

    name: str
    measurement: float
    of: str
    advice: str


_ADVICE = {
    "nan_gradients": "Gradients were NaN; find the operation (a logarithm or root of 0, 0/0) and make it finite.",
    "nan_scores": "Scores were NaN inside the ball; the model fails there in a worse way than by a wrong answer.",
    "zero_gradients": "Gradients vanished; look for rounding, thresholds, saturated outputs or a detached input, and "
    "attack through a smooth stand-in.",
    "exploding_gradients": "Gradients overflowed, or changed a thousandfold within a short step; look for a division "
    "by almost 0 or a function that shatters its input, and attack through a smooth stand-in.",
    "random_gradients": "Two gradients of the same point disagreed though its scores did not; the backward pass is "
    "not the model's. Remove what replaces it.",
    "saturated_scores": "Probabilities were exactly 0 or 1, which hides how close a decision is; hand the attack the "
    "logits instead.",
    "quantised_scores": "Scores stayed exactly the same under tiny steps and changed under long ones; they are "
    "rounded, clipped or labels only. Hand the attack the scores before rounding.",
    "stochastic": "Two equal calls disagreed. The attack averaged scores and gradients over draws (expectation over "
    "transformation), and the number is a mean over fresh draws; for a sharper one, switch randomness off.",
    "loss_not_rising": "A short step along the gradient did not raise the loss as promised; the gradient does not "
    "belong to this function (a replaced backward pass, quantised or shattered inputs).",
    "black_box_wins": "Random search broke points that gradients could not; the gradients mislead. Trust the lower "
    "number, and less than that.",
    "unlimited_fails": "Without any budget points still stood, though the model answers otherwise elsewhere in the box; "
    "the search is blind.",
    "more_steps_win": "Four times the steps broke survivors; the attack had not converged. Try a higher effort.",
    "control_missed": "The attack missed adversarial examples that were planted for it to find; what it left standing "
    "proves little.",
}
#: what a measurement is a share of, where that is not the sampled points
_OF = {
    "nan_gradients": "gradients",
    "zero_gradients": "gradients",
    "nan_scores": "forward passes",
    "black_box_wins": "attacked points",
    "more_steps_win": "sampled survivors",
    "control_missed": "planted points",
}


def finding(name: str, measurement: float) -> Finding:
    """The finding of that name, with its advice."""
    return Finding(name, float(measurement), _OF.get(name, "sampled points"), _ADVICE[name])


def examine(
    guard: Guard,
    points: Points,
    attacked: Tensor,
    black_box_share: float,
    standing: Tensor | None = None,
    steps: int = 0,
    control: Control | None = None,
) -> tuple[Finding, ...]:
    """All evidence against a finished run.

    Args:
        guard: the guard of the run, with its counts of spoiled gradients.
        points: all rows of the run.
        attacked: those that were attacked, bool (n,).
        black_box_share: share of them that only the black-box attack broke.
        standing: those that no attack broke, bool (n,); None: do not try more steps on them.
        steps: gradients of a run of the attack they withstood.
        control: what the attack found of what was planted.
    """
    found = _counted(guard)
    if surely(black_box_share, int(attacked.sum())) > _FLIPPED:
        found.append(finding("black_box_wins", black_box_share))
    if bool(attacked.any()):
        found += _probed(guard, _sample(points, attacked, _SAMPLE), points.scores.argmax(1))
    if standing is not None and bool(standing.any()):
        rest = _sample(points, standing, _FEWEST)
        gained = _share(apgd.search(guard, rest, search.margin, _LONGER * steps).broken)
        if surely(gained, len(rest)) > _GAINED:
            found.append(finding(UNCONVERGED, gained))
    least = _CONTROL_L0 if points.norm == "l0" else _CONTROL
    if control is not None and control.rate is not None and control.interval[1] < least:
        found.append(finding("control_missed", 1 - control.rate))
    if guard.nan_scores:
        found.append(finding("nan_scores", guard.nan_scores / guard.forwards))
    return tuple(found)


def stochastic(guard: Guard, points: Points) -> float:
    """Share of points whose scores differ between two equal calls; of all points, or a sample of them."""
    sample = _sample(points, torch.ones_like(points.label, dtype=torch.bool), _SAMPLE)
    change = (guard.scores(sample.x) - guard.scores(sample.x)).abs().amax(1)
    return _share(change > _NOISE * sample.scale)


def _sample(points: Points, mask: Tensor, most: int) -> Points:
    """At most so many rows of the mask: the smallest keys are a random sample that does not depend on the order."""
    rows = mask.nonzero()[:, 0]
    return points.take(rows[points.key[rows].argsort()[:most]])


def _counted(guard: Guard) -> list[Finding]:
    """What the guard saw during the run."""
    gradients = max(guard.backwards, 1)
    seen = {
        "nan_gradients": (guard.nan_gradients, 0.0),
        "exploding_gradients": (guard.infinite_gradients, 0.0),
        "zero_gradients": (guard.zero_gradients, _SPOILED),
    }
    return [finding(name, n / gradients) for name, (n, most) in seen.items() if n > most * gradients]


def _probed(guard: Guard, points: Points, answers: Tensor) -> list[Finding]:
    """Short steps, long steps and equal calls at a sample."""
    scores, loss, gradient = guard.gradient(points.x, search.margin(points))
    # a model known to be random is told so, however small the average over draws has made it
    noise = 0.0 if guard.draws > 1 else _NOISE
    changed = (guard.scores(points.x) - scores).abs().amax(1) > noise * points.scale
    # a budget of elements has no short ball, so its steps are shortened themselves
    sparse = points.norm == "l0"
    short = points if sparse else points.within(points.eps * _SHORT)
    step = short.vertex(gradient) * (_SHORT if sparse else 1)
    _, risen, there = guard.gradient(points.at(step), search.margin(points))
    promise = (gradient * step).sum(1)
    # rounding of the scores hides a rise smaller than this
    told = promise > 1e-4 * points.scale
    again = guard.gradient(points.x, search.margin(points))[2]
    size, size_there = norms.length(gradient), norms.length(there)
    drift = norms.length(again - gradient)
    signs = (
        (STOCHASTIC, _share(changed), 0.0),
        ("loss_not_rising", _share(~(risen - loss >= _PROMISE * promise)[told]), _BROKEN_PROMISES),
        ("random_gradients", _share((drift > _RANDOM * size) & ~changed), 0.0),
        ("exploding_gradients", _share(_apart(size, size_there)), _SPOILED),
        ("saturated_scores", _saturated(guard, scores), _SATURATED),
        ("quantised_scores", _flat(guard, points, scores), _FLAT),
        ("unlimited_fails", _unlimited(guard, points, answers), _MISSED),
    )
    return [finding(name, share) for name, share, most in signs if share > most]


def _apart(one: Tensor, other: Tensor) -> Tensor:
    """Lengths that differ by a huge factor; one of them may be 0, which is another sign."""
    least, most = torch.minimum(one, other), torch.maximum(one, other)
    return ~most.isfinite() | ((least > 0) & (most > _HUGE * least))


def _saturated(guard: Guard, scores: Tensor) -> float:
    """Share of points whose probabilities are 0 for all classes but one."""
    if not guard.probabilities:
        return 0.0
    return _share((scores > scores.amin(1, keepdim=True)).sum(1) <= 1)


def _flat(guard: Guard, points: Points, scores: Tensor) -> float:
    """Share of points whose scores a tiny random step leaves exactly as they are, and a long one does not."""
    move = points.sample((_STREAM,))
    near, far = guard.scores(points.at(_TINY * move)), guard.scores(points.at(move))
    # a change that rounding would swallow is not missed
    due = _TINY * (far - scores).abs().amax(1) > _ROUNDING * torch.finfo(guard.dtype).eps * scores.abs().amax(1)
    return _share((near == scores).all(1) & due)


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
    free = points.within(torch.full_like(points.eps, _UNLIMITED))
    return _share(~seek(guard, free, steps=20).broken & possible)


def _share(mask: Tensor) -> float:
    return float(mask.double().mean()) if mask.numel() else 0.0
