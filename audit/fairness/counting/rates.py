"""What each rate counts: cells of the (true, predicted) table, the proportion they give and its gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from audit.errors import DataError, nearest

if TYPE_CHECKING:
    from audit.fairness.counting.cube import Cube

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


class Cells(NamedTuple):
    """Which cells of the (true, predicted) table a rate counts; entries are "positive", "negative" or None (both)."""

    given_true: str | None
    given_predicted: str | None
    hit_true: str | None
    hit_predicted: str | None


#: rate -> rows it is taken over, and rows that count as hits
RATES: dict[str, Cells] = {
    "selection_rate": Cells(None, None, None, "positive"),
    "base_rate": Cells(None, None, "positive", None),
    "true_positive_rate": Cells("positive", None, "positive", "positive"),
    "false_negative_rate": Cells("positive", None, "positive", "negative"),
    "false_positive_rate": Cells("negative", None, "negative", "positive"),
    "true_negative_rate": Cells("negative", None, "negative", "negative"),
    "positive_predictive_value": Cells(None, "positive", "positive", "positive"),
    "negative_predictive_value": Cells(None, "negative", "negative", "negative"),
    "false_discovery_rate": Cells(None, "positive", "negative", "positive"),
    "false_omission_rate": Cells(None, "negative", "positive", "negative"),
}
ACCURACY = "accuracy"
ERROR = "error_rate"
BALANCED = "balanced_accuracy"
F1 = "f1"
#: every name that `Cube.rate` knows
NAMES: tuple[str, ...] = (*RATES, ACCURACY, ERROR, BALANCED, F1)
#: rates of which less is better
ERRORS = frozenset(
    {
        "false_negative_rate",
        "false_positive_rate",
        "false_discovery_rate",
        "false_omission_rate",
        ERROR,
    }
)


class Part(NamedTuple):
    """One proportion: its rows and its hits among the cells, each a (k, k) mask."""

    given: Mask
    hit: Mask


class Proportions(NamedTuple):
    """A proportion of each group.

    Attributes:
        value: (g,) hits / total; NaN where there are no rows to take it over.
        hits: (g,) weighted rows that count.
        total: (g,) weighted rows it is taken over.
        effective: (g,) Kish's effective number of rows (sum w)^2 / sum w^2; 0 where there are none.
    """

    value: Floats
    hits: Floats
    total: Floats
    effective: Floats


def parts(cube: Cube, name: str) -> tuple[Part, ...]:
    """The proportions that a rate is made of: itself, or those that `combine` puts together.

    Balanced accuracy is the mean of one recall a class, which are taken over different rows and so are independent. F1
    is 2J / (1 + J) of the share J of true positives among all rows but the true negatives, which is a proportion.

    Raises:
        DataError: the rate is unknown.
    """
    k = len(cube.classes)
    everywhere, right = np.ones((k, k), dtype=bool), np.eye(k, dtype=bool)
    if name == ACCURACY:
        return (Part(everywhere, right),)
    if name == ERROR:
        return (Part(everywhere, ~right),)
    positive = np.arange(k) == cube.positive
    sides = {None: np.ones_like(positive), "positive": positive, "negative": ~positive}
    if name == BALANCED:
        return tuple(Part(np.outer(row, sides[None]), np.outer(row, row)) for row in right)
    if name == F1:
        return (Part(~np.outer(~positive, ~positive), np.outer(positive, positive)),)
    if name not in RATES:
        raise DataError(f"Expected the name of a rate, found {name!r}{nearest(name, NAMES)}")
    cells = RATES[name]
    given = np.outer(sides[cells.given_true], sides[cells.given_predicted])
    return (Part(given, given & np.outer(sides[cells.hit_true], sides[cells.hit_predicted])),)


def combine(name: str, values: Floats) -> Floats:
    """From the values of a rate's parts (parts, ...) to the rate (...): the identity, a mean, or F1 of its share.

    It is increasing in every part, so that limits of the one part of F1 map to limits of F1.
    """
    if name == BALANCED:
        return np.asarray(values.mean(0))
    return np.asarray(2 * values[0] / (1 + values[0]) if name == F1 else values[0])


def proportions(cube: Cube, part: Part) -> Proportions:
    """One proportion of every group."""
    total = cube.counts[:, part.given].sum(1)
    hits = cube.counts[:, part.hit].sum(1)
    squares = cube.squares[:, part.given].sum(1)
    there = total > 0
    value = np.divide(hits, total, out=np.full_like(total, np.nan), where=there)
    effective = np.divide(total**2, squares, out=np.zeros_like(total), where=there)
    return Proportions(np.clip(value, 0, 1), hits, total, effective)


def values(cube: Cube, name: str) -> Floats:
    """(g,) a rate of every group; NaN where a part of it has no rows."""
    return combine(name, np.stack([proportions(cube, part).value for part in parts(cube, name)]))


def gradient(cube: Cube, name: str) -> Floats:
    """The derivative of a rate by each cell's weighted count, (g, k, k); NaN where the rate is undefined.

    The linearised (sandwich) variance of a rate is a' M a of this gradient a and the second moments M of the sampling
    units' cell totals: `cube.squares` on the diagonal for independent rows, `cube.moments` for clusters (Binder 1983).
    """
    own = [proportions(cube, part) for part in parts(cube, name)]
    out = np.zeros_like(cube.counts)
    for part, found in zip(parts(cube, name), own, strict=True):
        total = np.where(found.total > 0, found.total, np.nan)[:, None, None]
        slope = (part.hit - found.value[:, None, None] * part.given) / total
        if name == F1:
            slope = slope * (2 / (1 + found.value) ** 2)[:, None, None]
        out += slope / len(own)
    return out
