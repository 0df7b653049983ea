"""What a feature tells of a person's group, and what the model makes of that. Imports torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from audit.datasets.types import FeatureKind
from audit.explaining.players import log_odds
from audit.fairness.attributes import VALUES

if TYPE_CHECKING:
    from audit.datasets import Dataset, Feature
    from audit.fairness.attributes import Levels
    from audit.subject import Subject

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

#: changes of the log-odds that are rounding, as a share of their largest magnitude
ROUNDING = 1e-5


def cells(inputs: Tensor, feature: Feature) -> tuple[Ints, Tensor]:
    """Which of its values a feature has in each row, (n,), and those values as encoded, (values, columns).

    A number of more than `VALUES` values is cut at its quantiles; the median stands for each part.
    """
    own = inputs[:, list(feature.columns)]
    values, code = torch.unique(own, dim=0, return_inverse=True)
    if feature.kind is not FeatureKind.NUMERIC or len(values) <= VALUES:
        return code.numpy(), values
    number = own[:, 0].double().numpy()
    cuts = np.unique(np.quantile(number, np.linspace(0, 1, VALUES + 1)[1:-1]))
    _, place = np.unique(np.searchsorted(cuts, number, side="left"), return_inverse=True)
    middle = [float(np.quantile(number[place == i], 0.5, method="lower")) for i in range(place.max() + 1)]
    return place.astype(np.int64), torch.tensor(middle, dtype=inputs.dtype)[:, None]


@dataclass(frozen=True)
class Response:
    """What the model says when one feature alone takes each of its values.

    Attributes:
        code: (n,) the value each row of the data has.
        moves: (rows, values) change of the log-odds against the row's mean over values; 0 where it is rounding.
        changed: (rows,) chance that a row's answer changes when it is dealt another row's value.
        flips: (rows,) whether some value changes a row's answer.
    """

    code: Ints
    moves: Floats
    changed: Floats
    flips: NDArray[np.bool_]


def respond(subject: Subject, data: Dataset, rows: Ints, targets: Tensor, feature: Feature) -> Response:
    """Give some rows every value of a feature, all else as it is (individual conditional expectations).

    Args:
        subject: the model.
        data: a table; its rows say how frequent each value is.
        rows: those whose answers are watched.
        targets: (len(rows),) the class whose log-odds are watched.
        feature: the feature.
    """
    assert isinstance(data.inputs, Tensor)
    code, values = cells(data.inputs, feature)
    base = data.inputs[torch.from_numpy(rows)]
    batch = base.repeat_interleave(len(values), dim=0)
    batch[:, list(feature.columns)] = values.repeat(len(base), 1)
    scores = subject.predict(batch)
    found = log_odds(scores, targets.repeat_interleave(len(values))).double().numpy().reshape(len(base), -1)
    answer = scores.argmax(1).numpy().reshape(len(base), -1)
    frequent = np.bincount(code, minlength=len(values)) / len(code)
    before = subject.predict(base).argmax(1).numpy()
    moves = found - (found @ frequent)[:, None]
    moves[np.abs(moves) <= ROUNDING * np.abs(found).max(initial=0.0)] = 0.0
    other = answer != before[:, None]
    return Response(code, moves, other @ frequent, other.any(1))


def tallies(code: Ints, group: Ints, values: int, groups: int) -> Floats:
    """How many rows of each group have each value, (groups, values); rows of no group (-1) are left out."""
    counted = group >= 0
    flat = np.bincount(group[counted] * values + code[counted], minlength=groups * values)
    return flat.reshape(groups, values).astype(np.float64)


def telling(tally: Floats) -> Floats:
    """How far each group's values differ from the others': Pearson's chi-square of group against rest, (groups,)."""
    rest = tally.sum(0) - tally
    total = tally.sum(0)
    n, size = total.sum(), tally.sum(1, keepdims=True)
    expected, beside = size * total / n, (n - size) * total / n
    seen = total > 0
    return np.asarray(
        ((tally - expected)[:, seen] ** 2 / expected[:, seen]).sum(1)
        + ((rest - beside)[:, seen] ** 2 / beside[:, seen]).sum(1)
    )


def carried(moves: Floats, tally: Floats) -> Floats:
    """Mean change of a row's log-odds if its feature came from one group instead of from the others, (groups,)."""
    rest = tally.sum(0) - tally
    shift = tally / tally.sum(1, keepdims=True) - rest / rest.sum(1, keepdims=True)
    return np.asarray(np.abs(moves @ shift.T).mean(0))


def exceeding(observed: Floats, null: Floats) -> Floats:
    """P-values of many statistics together, adjusted so that one false alarm in all is as rare as stated.

    Westfall and Young's (1993) step-down maximum: Holm's procedure with the dependence between the tests taken from the
    permutations.

    Args:
        observed: (tests,).
        null: (permutations, tests), the same statistics under joint permutations.
    """
    spread = null.std(0)
    centre, scale = null.mean(0), np.where(spread > 0, spread, 1.0)
    # a statistic that never varies says nothing
    seen = np.where(spread > 0, (observed - centre) / scale, -np.inf)
    drawn = np.where(spread > 0, (null - centre) / scale, -np.inf)
    order = np.argsort(-seen, kind="stable")
    largest = np.maximum.accumulate(drawn[:, order[::-1]], axis=1)[:, ::-1]
    p = (1 + (largest >= seen[order]).sum(0)) / (1 + len(null))
    out = np.empty_like(seen)
    out[order] = np.maximum.accumulate(p)
    return np.where(spread > 0, out, 1.0)


@dataclass(frozen=True)
class Tested:
    """Statistics of features and compared groups, (features, groups) each, and their adjusted p-values."""

    carries: Floats
    low: Floats
    high: Floats
    tells: Floats
    p_tells: Floats
    p_carries: Floats


def tested(
    responses: list[Response], groups: Levels, permutations: int, resamples: int, rng: np.random.Generator
) -> Tested:
    """Hold every feature against permutations of the groups among the rows.

    Args:
        responses: one a feature.
        groups: of the same rows.
        permutations: draws from the null hypothesis that a feature has nothing to do with the groups.
        resamples: bootstrap draws of the rows, for the intervals of what is carried.
        rng: source of both.
    """
    compared = list(groups.compared)

    def statistics_of(code: Ints, rows: Ints | None = None, watched: Ints | None = None) -> tuple[Floats, Floats]:
        told, moved = [], []
        for response in responses:
            value = response.code if rows is None else response.code[rows]
            moves = response.moves if watched is None else response.moves[watched]
            tally = tallies(value, code, moves.shape[1], len(groups.names))
            told.append(telling(tally)[compared])
            moved.append(carried(moves, tally)[compared])
        return np.stack(told), np.stack(moved)

    tells, carries = statistics_of(groups.code)
    null = [statistics_of(rng.permutation(groups.code)) for _ in range(permutations)]
    drawn = []
    for _ in range(resamples):
        rows = rng.integers(0, len(groups.code), len(groups.code))
        number = len(responses[0].moves)
        drawn.append(statistics_of(groups.code[rows], rows, rng.integers(0, number, number))[1])
    low, high = np.nanquantile(np.stack(drawn), [0.025, 0.975], axis=0)
    shape = carries.shape
    p_tells, p_carries = (
        exceeding(observed.ravel(), np.stack([one[k].ravel() for one in null])).reshape(shape)
        for k, observed in enumerate((tells, carries))
    )
    return Tested(carries, np.minimum(low, carries), np.maximum(high, carries), tells, p_tells, p_carries)
