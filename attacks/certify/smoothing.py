"""Randomised smoothing: a radius within which the answer, averaged over noise, cannot change."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import special
from torch import Tensor

from attacks import noise
from attacks.certify.sequential import (
    Counts,
    Reals,
    anytime_lower,
    clopper_pearson,
    log_evidence_above,
    log_evidence_below,
    looks,
)
from attacks.guard import Guard, Model

_SELECT, _ESTIMATE = 0, 1  # streams of draws: the class must not be chosen by the draws that count for it
_ROWS = 1024  # noisy examples held at a time
_ODD = 0x2545F4914F6CDD1D  # the keys of successive draws lie this far apart before they are hashed
#: chance of giving up a point that the fixed number of draws would have certified; costs power, never validity
_GIVE_UP = 0.005

#: from successes (m,) and draws so far to a lower bound of p and whether more draws are worth while, each (m,)
_Rule = Callable[[Counts, int], tuple[Reals, NDArray[np.bool_]]]


@dataclass(frozen=True, eq=False)
class Certificate:
    """What noise proves about the smoothed model.

    The smoothed model answers with the class that the model gives most often under normal noise. It is another model
    than the one given: the certificate says nothing about the latter.

    Attributes:
        label: class of the smoothed model, (n,) int64; -1 where it abstains.
        radius: the smoothed answer is the same everywhere within this Euclidean distance, (n,) float64, in input
            units; 0 where it abstains, for nothing is certified there.
        p_lower: lower bound of the chance of the class under noise, (n,) float64; where it abstains, whatever was
            reached.
        samples: draws spent on each example, (n,) int64, selection included.
        forwards: examples that entered the model.
        sigma: standard deviation of the noise, in input units.
        alpha: chance that the certificate of a point is wrong.
    """

    label: Tensor
    radius: Tensor
    p_lower: Tensor
    samples: Tensor
    forwards: int
    sigma: float
    alpha: float

    @property
    def abstained(self) -> Tensor:
        """Bool (n,)."""
        return self.label < 0


def certify_smoothing(
    model: Model,
    inputs: Tensor,
    sigma: float = 0.25,
    n: int = 10_000,
    alpha: float = 0.001,
    seed: int = 0,
    n0: int = 100,
    radius: float | None = None,
    tolerance: float | None = None,
    mutable: Tensor | None = None,
    batch_size: int | None = None,
) -> Certificate:
    """Certify the smoothed model (Cohen, Rosenfeld and Kolter 2019, algorithm CERTIFY).

    The class is chosen by `n0` draws; fresh draws bound its chance p from below, and the radius is sigma times the
    normal quantile of that bound (https://arxiv.org/abs/1902.02918, theorem 1). Noise leaves the range of the inputs,
    as the theorem asks. Without `radius` and `tolerance` all `n` draws are spent and the bound is Clopper and
    Pearson's. With either, draws stop early at the same alpha: one half of it goes to a bound that may be looked at
    after every draw, the other half to Clopper and Pearson's bound at all n draws.

    Args:
        model: callable from a float batch (m, ...) to (m, classes) scores.
        inputs: (n, ...) float.
        sigma: standard deviation of the noise, in input units.
        n: draws that estimate p; the most there may be.
        alpha: chance that the certificate of a point is wrong; over many points use alpha / points for all together.
        seed: of every draw; the draws of an example depend on its values and the seed alone.
        n0: draws that choose the class.
        radius: decide whether the radius is at least this, and no more: a certified point gets exactly this radius,
            and the smoothed model abstains on the others. A point that is hopeless is given up early.
        tolerance: stop where all n draws would promise to raise the radius by no more than this, in input units.
        mutable: bool mask shaped like one input; noise, and so the certificate, is for changes of these elements alone.
            None: of all.
        batch_size: most examples in one call of the model; None chooses.

    Raises:
        TypeError: an argument is of the wrong type.
        ValueError: an argument is out of its range.
    """
    _check(inputs, sigma, n, alpha, seed, n0, radius, tolerance)
    if mutable is not None and (mutable.dtype != torch.bool or mutable.shape != inputs.shape[1:]):
        raise ValueError(
            f"Expected mutable to be a bool mask of shape {tuple(inputs.shape[1:])}, found {mutable.dtype} of shape "
            f"{tuple(mutable.shape)}."
        )
    flat = inputs.detach().clone().flatten(1)
    key = noise.keys(flat, torch.zeros(len(flat), dtype=torch.int64), seed)
    x = flat.to(torch.promote_types(flat.dtype, torch.float32))
    with Guard(model, inputs.shape[1:], inputs.dtype, batch_size, seed) as guard, torch.no_grad():
        votes = _Votes(guard, x, key, sigma if mutable is None else sigma * mutable.to(x).flatten())
        chosen = votes.select(n0)
        rule, stops = _rule(sigma, n, alpha, radius, tolerance)
        p_lower, draws = _estimate(votes, chosen, rule, stops)
    found = sigma * special.ndtri(p_lower)
    shown = p_lower > 0.5 if radius is None else p_lower >= special.ndtr(radius / sigma)
    if radius is not None:
        found = np.full_like(found, radius)
    label = np.where(shown, chosen.cpu().numpy(), -1)

    def tensor(values: NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(values).to(inputs.device)

    return Certificate(
        label=tensor(label),
        radius=tensor(np.where(shown, found, 0.0)),
        p_lower=tensor(p_lower),
        samples=tensor(draws + n0),
        forwards=guard.forwards,
        sigma=sigma,
        alpha=alpha,
    )


class _Votes:
    """Answers under noise."""

    def __init__(self, guard: Guard, x: Tensor, key: Tensor, sigma: Tensor | float) -> None:
        self._guard, self._x, self._key, self._sigma = guard, x, key, sigma

    def select(self, n0: int) -> Tensor:
        """The class given most often, (n,); the first of equals."""
        counts: Tensor | None = None
        for rows, answers in self._answers(torch.arange(len(self._x), device=self._x.device), _SELECT, 0, n0):
            if counts is None:
                counts = torch.zeros(len(self._x), answers.shape[1], dtype=torch.int64, device=self._x.device)
            counts.index_add_(0, rows, answers)
        assert counts is not None
        return counts.argmax(1)

    def count(self, rows: Tensor, chosen: Tensor, start: int, stop: int) -> Counts:
        """How often the chosen class (n,) is given among draws start, ..., stop - 1 of some rows, (m,)."""
        hits = torch.zeros(len(self._x), dtype=torch.int64, device=self._x.device)
        for at, answers in self._answers(rows, _ESTIMATE, start, stop):
            hits.index_add_(0, at, answers.gather(1, chosen[at, None])[:, 0])
        found: Counts = hits[rows].cpu().numpy()
        return found

    def _answers(self, rows: Tensor, stream: int, start: int, stop: int) -> Iterator[tuple[Tensor, Tensor]]:
        """For draws of rows: the rows, (m,), and the answers as 0 and 1, (m, classes); no answer where it is NaN."""
        each = stop - start
        for first in range(0, len(rows) * each, _ROWS):
            index = torch.arange(first, min(first + _ROWS, len(rows) * each), device=rows.device)
            at = rows[index // each]
            key = self._key[at] + (start + index % each) * _ODD
            x = self._x[at]
            scores = self._guard.scores(x + self._sigma * noise.normal(key, (stream,), x.shape[1], x.dtype))
            answers = torch.zeros(scores.shape, dtype=torch.int64, device=rows.device)
            answers.scatter_(1, scores.argmax(1, keepdim=True), (~scores.isnan().any(1, keepdim=True)).long())
            yield at, answers


def _estimate(votes: _Votes, chosen: Tensor, rule: _Rule, stops: tuple[int, ...]) -> tuple[Reals, Counts]:
    """Draw until the rule is content or the stops are over: lower bounds of p and draws spent, each (n,)."""
    successes, draws = np.zeros(len(chosen), np.int64), np.zeros(len(chosen), np.int64)
    p_lower, going, before = np.zeros(len(chosen)), np.arange(len(chosen)), 0
    for stop in stops:
        rows = torch.from_numpy(going).to(chosen.device)
        successes[going] += votes.count(rows, chosen, before, stop)
        draws[going], before = stop, stop
        p_lower[going], unsure = rule(successes[going], stop)
        going = going[unsure]
        if not len(going):
            break
    return p_lower, draws


def _rule(
    sigma: float, n: int, alpha: float, radius: float | None, tolerance: float | None
) -> tuple[_Rule, tuple[int, ...]]:
    """When to stop, and the numbers of draws at which to ask."""
    if radius is None and tolerance is None:
        return (lambda k, t: (clopper_pearson(k, t, alpha), np.zeros(len(k), np.bool_))), (n,)
    # p must reach this for an answer; as little as 1/2 where any radius is welcome
    wanted = float(special.ndtr(0.0 if radius is None else radius / sigma))
    half = alpha / 2

    def hopeless(k: Counts, t: int) -> NDArray[np.bool_]:
        given_up: NDArray[np.bool_] = log_evidence_below(k, t, wanted) >= -math.log(_GIVE_UP)
        # not even successes alone would do any more
        return given_up | (clopper_pearson(k + n - t, n, half) < wanted)

    def decide(k: Counts, t: int) -> tuple[Reals, NDArray[np.bool_]]:
        if t == n:
            enough = (log_evidence_above(k, t, wanted) >= -math.log(half)) | (clopper_pearson(k, t, half) >= wanted)
            return np.where(enough, wanted, 0.0), np.zeros(len(k), np.bool_)
        enough = log_evidence_above(k, t, wanted) >= -math.log(half)
        return np.where(enough, wanted, 0.0), ~enough & ~hopeless(k, t)

    def widen(k: Counts, t: int) -> tuple[Reals, NDArray[np.bool_]]:
        lower = anytime_lower(k, t, half)
        if t == n:
            return np.maximum(lower, clopper_pearson(k, t, half)), np.zeros(len(k), np.bool_)
        promised = clopper_pearson(k * n // t, n, half)  # were the share of successes to stay as it is
        gain = sigma * (special.ndtri(promised) - special.ndtri(np.maximum(lower, wanted)))
        assert tolerance is not None
        return lower, (gain > tolerance) & ~hopeless(k, t)

    return (widen if radius is None else decide), tuple(looks(n))


def _check(
    inputs: Tensor,
    sigma: float,
    n: int,
    alpha: float,
    seed: int,
    n0: int,
    radius: float | None,
    tolerance: float | None,
) -> None:
    if not isinstance(inputs, Tensor):
        raise TypeError(f"Expected inputs to be a torch tensor, found {type(inputs).__name__}; try torch.as_tensor.")
    if not inputs.is_floating_point():
        raise TypeError(f"Expected inputs of a float type, found {inputs.dtype}; try inputs.float().")
    if inputs.ndim < 2 or inputs.numel() == 0 or not bool(inputs.isfinite().all()):
        raise ValueError(
            f"Expected finite inputs of shape (n, ...) with at least one element, found shape {tuple(inputs.shape)}."
        )
    if not isinstance(seed, int):
        raise TypeError(f"Expected seed to be an integer, found {type(seed).__name__}.")
    for name, count in (("n", n), ("n0", n0)):
        if not isinstance(count, int) or count < 1:
            raise ValueError(f"Expected {name} to be an integer of at least 1, found {count!r}.")
    if not (isinstance(alpha, float) and 0 < alpha < 1):
        raise ValueError(f"Expected alpha between 0 and 1, found {alpha!r}.")
    for name, size in (("sigma", sigma), ("radius", radius), ("tolerance", tolerance)):
        if size is not None and not (isinstance(size, float | int) and math.isfinite(size) and size > 0):
            raise ValueError(f"Expected {name} to be a finite number above 0, found {size!r}.")
    if radius is not None and tolerance is not None:
        raise ValueError("Expected radius or tolerance, found both; try one of them.")
