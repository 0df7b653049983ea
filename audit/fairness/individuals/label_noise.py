"""Wrong labels by group, by confident learning (Northcutt, Jiang and Chuang 2021), with intervals.

A label is doubted where the model is surer of another class than it is of that class on average. What is doubted is only
as good as the model: overlapping classes look like errors, and errors that the model has learnt do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from audit.errors import DataError
from audit.statistics import LEVEL, undefined
from reports.record import Estimate

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

#: rows of a class below which its mean probability says little
FEWEST = 10


def thresholds(probabilities: Floats, labels: Ints, weights: Floats | None = None) -> Floats:
    """Mean probability of each class over the rows that carry it (eq. 2), (classes,); NaN for a class of no rows.

    Args:
        probabilities: (n, classes), of rows the model did not learn from.
        labels: (n,) as given.
        weights: (n,) how often each row counts; once where left out.
    """
    w = np.ones(len(labels)) if weights is None else weights
    classes = probabilities.shape[1]
    own = probabilities[np.arange(len(labels)), labels]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.bincount(labels, w * own, classes) / np.bincount(labels, w, classes))


def suspected(probabilities: Floats, limits: Floats) -> Ints:
    """The class that the model is sure of for each row (eq. 1), (n,); -1 where it is sure of none.

    Among classes whose probability reaches their limit, the likeliest.
    """
    reached = probabilities >= limits
    best = np.where(reached, probabilities, -1.0).argmax(1)
    return np.where(reached.any(1), best, -1)


def joint(probabilities: Floats, labels: Ints, weights: Floats | None = None) -> Floats:
    """Share of rows by given and by true class (eq. 3), (classes, classes), rows scaled to how often labels are given.

    A class without a sure row keeps its labels.
    """
    w = np.ones(len(labels)) if weights is None else weights
    classes = probabilities.shape[1]
    true = suspected(probabilities, thresholds(probabilities, labels, w))
    sure = true >= 0
    counts = np.bincount(labels[sure] * classes + true[sure], w[sure], classes**2).reshape(classes, classes)
    given = np.bincount(labels, w, classes)
    total = counts.sum(1, keepdims=True)
    shares = np.where(total > 0, counts / np.where(total > 0, total, 1), np.eye(classes))
    return np.asarray(shares * given[:, None] / w.sum())


@dataclass(frozen=True, eq=False)
class Noise:
    """Estimated share of wrong labels, by group.

    Attributes:
        shares: one a group.
        by_class: (group) -> one a class, among the rows that carry its label.
        overlap: one a group: what the method finds where labels are drawn from the model's own probabilities, so that
            none is wrong.
        beyond: one a group: its share less that mean.
        differences: one a group: its share less that of all other groups together; they hold together.
        p: one a group: adjusted for all groups, of its difference being chance.
    """

    shares: tuple[Estimate, ...]
    by_class: tuple[tuple[Estimate, ...], ...]
    overlap: tuple[Estimate, ...]
    beyond: tuple[Estimate, ...]
    differences: tuple[Estimate, ...]
    p: tuple[float | None, ...]


def label_noise(
    probabilities: ArrayLike,
    labels: ArrayLike,
    groups: ArrayLike,
    names: Sequence[str],
    rng: np.random.Generator,
    replicates: int = 500,
) -> Noise:
    """Estimate the share of wrong labels of every group.

    The method runs within each group, so that a group for which the model is less sure has limits of its own. A group is
    undefined that has fewer than ten rows of a class that it has at all.

    Args:
        probabilities: (n, classes) of held-out rows, each row summing to 1.
        labels: (n,) class indices as given.
        groups: (n,) group of each row, -1 for none.
        names: what the groups are called.
        rng: source of the bootstrap.
        replicates: bootstrap resamples, and draws of labels.

    Raises:
        DataError: probabilities do not sum to 1, or lengths differ.
    """
    p, y, g = np.asarray(probabilities, dtype=np.float64), np.asarray(labels), np.asarray(groups)
    _refuse(p, y, g)
    shares, by_class, overlap, beyond = [], [], [], []
    drawn = np.full((len(names), replicates), np.nan)
    sizes = np.zeros(len(names))
    for group in range(len(names)):
        own = np.flatnonzero(g == group)
        counts = np.bincount(y[own], minlength=p.shape[1])
        present = counts > 0
        reason = _lacking(counts)
        if reason:
            nothing = undefined(reason, n=len(own), unit="fraction")
            shares.append(nothing)
            by_class.append((nothing,) * p.shape[1])
            overlap.append(nothing)
            beyond.append(nothing)
            continue
        sizes[group] = len(own)
        # classes that the group has not at all are none that its rows could carry
        within = p[own][:, present]
        within = within / np.maximum(within.sum(1, keepdims=True), 1e-300)
        place = (np.cumsum(present) - 1)[y[own]]
        whole, draws, null = _resampled(within, place, replicates, rng)
        wrong, wrongs = 1 - np.trace(whole), 1 - np.trace(draws, axis1=1, axis2=2)
        drawn[group] = wrongs
        shares.append(_estimate(float(wrong), wrongs, len(own)))
        found = iter(_classes(whole, draws, counts[present]))
        absent = undefined("no rows of this class", unit="fraction")
        by_class.append(tuple(next(found) if there else absent for there in present))
        overlap.append(_estimate(float(null.mean()), null, len(own), f"{replicates} draws of labels, range of 95 %"))
        beyond.append(_estimate(float(wrong - null.mean()), wrongs - null.mean(), len(own)))
    differences, adjusted = _apart(shares, drawn, sizes, replicates)
    return Noise(tuple(shares), tuple(by_class), tuple(overlap), tuple(beyond), differences, adjusted)


def doubtful(probabilities: ArrayLike, labels: ArrayLike, groups: ArrayLike, most: int) -> Ints:
    """Rows whose labels are most in doubt, first the most: suspected of another class, by how much surer the model is.

    Ranked by normalised margin (Northcutt et al. 2021, section 3.2), within limits of their own group.

    Args:
        probabilities: (n, classes).
        labels: (n,).
        groups: (n,), -1 for none.
        most: rows at most.
    """
    p, y, g = np.asarray(probabilities, dtype=np.float64), np.asarray(labels), np.asarray(groups)
    _refuse(p, y, g)
    margin = np.full(len(y), np.inf)
    for group in np.unique(g[g >= 0]):
        own = np.flatnonzero(g == group)
        true = suspected(p[own], thresholds(p[own], y[own]))
        rows = own[(true >= 0) & (true != y[own])]
        margin[rows] = p[rows, y[rows]] - p[rows].max(1)
    order = np.argsort(margin, kind="stable")[:most]
    return np.asarray(order[np.isfinite(margin[order])])


def _refuse(p: Floats, y: NDArray[np.int64], g: NDArray[np.int64]) -> None:
    if not len(p) == len(y) == len(g):
        raise DataError(
            f"Expected probabilities, labels and groups of one length, found {len(p)}, {len(y)} and {len(g)}; try the "
            f"same rows for all."
        )
    if not np.allclose(p.sum(1), 1, atol=1e-4) or (p < 0).any():
        raise DataError(
            "Expected probabilities >= 0 that sum to 1 in every row, found others; try a softmax of scores."
        )


def _lacking(counts: Ints) -> str | None:
    present = counts[counts > 0]
    if len(present) < 2:
        return "needs rows of two classes"
    return f"needs {FEWEST} rows of every class it has, found {present.min()}" if present.min() < FEWEST else None


def _resampled(p: Floats, y: Ints, replicates: int, rng: np.random.Generator) -> tuple[Floats, Floats, Floats]:
    """The joint, its bootstrap (replicates, classes, classes), and shares found where no label is wrong (replicates,)."""
    n = len(y)
    draws = np.empty((replicates, p.shape[1], p.shape[1]))
    null = np.empty(replicates)
    cumulated = p.cumsum(1)
    for i in range(replicates):
        draws[i] = joint(p, y, np.bincount(rng.integers(0, n, n), minlength=n).astype(np.float64))
        true = np.minimum((cumulated < rng.random(n)[:, None]).sum(1), p.shape[1] - 1)
        null[i] = 1 - np.trace(joint(p, true))
    return joint(p, y), draws, null


def _classes(whole: Floats, draws: Floats, counts: Ints) -> list[Estimate]:
    found = []
    for i, count in enumerate(counts):
        given = draws[:, i].sum(1)
        share = np.where(given > 0, 1 - draws[:, i, i] / np.where(given > 0, given, 1), np.nan)
        found.append(_estimate(float(1 - whole[i, i] / whole[i].sum()), share, int(count)))
    return found


def _apart(
    shares: Sequence[Estimate], drawn: Floats, sizes: Floats, replicates: int
) -> tuple[tuple[Estimate, ...], tuple[float | None, ...]]:
    """Each group against all others, by the largest studentised difference of a resample (max-T)."""
    defined = np.flatnonzero(sizes)
    missing = undefined("needs two groups with an estimate", unit="fraction")
    differences = [undefined(e.reason, n=e.n, unit="fraction") if e.reason else missing for e in shares]
    p: list[float | None] = [None] * len(shares)
    if len(defined) < 2:
        return tuple(differences), tuple(p)
    value = np.array([shares[group].value for group in defined.tolist()])
    size, draws = sizes[defined], drawn[defined]

    def rest(x: Floats) -> Floats:
        return np.asarray((size @ x - (size * x.T).T) / ((size.sum() - size) * np.ones_like(x.T)).T)

    apart, resampled = value - rest(value), draws - rest(draws)
    error = resampled.std(1, ddof=1) * _stretch(value, size)
    scale = np.where(error > 0, error, np.inf)
    largest = np.abs((resampled - resampled.mean(1, keepdims=True)) / scale[:, None]).max(0)
    critical = float(np.quantile(largest, LEVEL))
    for at, group in enumerate(defined.tolist()):
        half = critical * error[at]
        differences[group] = Estimate(
            value=float(apart[at]),
            low=max(float(apart[at] - half), -1.0),
            high=min(float(apart[at] + half), 1.0),
            n=int(size[at]),
            method=f"bootstrap 95 %, max-T over {len(defined)} groups ({replicates} resamples)",
            unit="fraction",
        )
        p[group] = float((1 + (largest >= abs(apart[at]) / scale[at]).sum()) / (1 + replicates))
    return tuple(differences), tuple(p)


def _stretch(value: Floats, size: Floats) -> Floats:
    """By how much the error of a share would be larger at the share of all: one that came out small looks too sure."""
    usual = float(value @ size / size.sum())
    own = np.maximum(value * (1 - value), 0.5 / size)
    return np.asarray(np.sqrt(np.maximum(usual * (1 - usual) / own, 1.0)))


def _estimate(value: float, draws: Floats, n: int, method: str = "") -> Estimate:
    draws = draws[np.isfinite(draws)]
    low, high = np.quantile(draws, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2])
    method = method or f"confident learning, bootstrap 95 % ({len(draws)} resamples)"
    return Estimate(
        value=value, low=min(float(low), value), high=max(float(high), value), n=n, method=method, unit="fraction"
    )
