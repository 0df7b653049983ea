"""Calibration within groups: Platt 1999 for two classes, temperature (Guo et al. 2017) with a bias for more."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from audit.errors import DataError
from audit.mitigation.methods._network import readable, scores
from audit.mitigation.methods._rates import LEAST, listed
from audit.mitigation.processors import attach
from audit.mitigation.remedy import Bench, Processor, Remedy, Step

#: deviations tried: how far groups are expected to be from what suits all together, in log-odds and the log of the scale
SPREADS = (0.0, 0.1, 0.2, 0.5, 1.0)
_FOLDS, _LARGEST = 5, 50  # groups beyond the largest ones would cost time and change no choice
_BINS = 10


def calibration(bench: Bench) -> Remedy:
    """Stretch and move the scores of each group so that its probabilities hold on the held rows.

    Two numbers a group, the scale a and the favourable log-odds b, are the most likely ones under a normal prior around
    what suits all rows together: a small group stays near the others. The prior's deviation is the one under which rows
    left out are likeliest. It aims at calibration within groups and not at the aim's definition, with which it conflicts
    where base rates differ (Kleinberg et al. 2017). The aim's strength multiplies log a and b.

    Raises:
        AssayError: the input does not show the group, or no held row has one.
    """
    reader, aim, held = readable(bench, "calibration"), bench.aim, bench.held
    if not (held.groups >= 0).any():
        raise DataError(f"Expected held rows with a group of {aim.attribute!r}, found none; try more rows.")
    found = scores(bench, None, held.inputs)
    found -= found.mean(1, keepdims=True)
    spread = _spread(bench, found)
    bench.tell(Step("calibration", 1, 2, "how far groups may differ"))
    lines = _lines(bench, found, np.ones(len(held), dtype=np.bool_), range(len(bench.groups)), spread)
    bench.tell(Step("calibration", 2, 2, "calibrated"))
    lines *= aim.strength
    processor = Processor(
        "grouped",
        {"reader": reader.plain(), "classes": len(bench.classes), "favourable": aim.favourable},
        {"scale": torch.from_numpy(np.exp(lines[:, 0])).float(), "shift": torch.from_numpy(lines[:, 1]).float()},
    )
    after = moved(found, lines[held.groups], aim.favourable)
    sizes = np.bincount(held.groups[held.groups >= 0], minlength=len(bench.groups))
    shrunk = [bench.groups[group] for group in np.flatnonzero(sizes < LEAST)]
    return Remedy(
        "calibration",
        attach(processor, bench.subject.model),
        None,
        processor,
        group_at_prediction=True,
        figures={
            "scale": dict(zip(bench.groups, np.exp(lines[:-1, 0]).tolist(), strict=True)),
            "shift": dict(zip(bench.groups, lines[:-1, 1].tolist(), strict=True)),
            "common": {"scale": float(np.exp(lines[-1, 0])), "shift": float(lines[-1, 1])},
            "spread": spread,
            "gap_before": _gaps(bench, found),
            "gap_after": _gaps(bench, after),
        },
        notes=(f"{listed(shrunk)}: fewer than {LEAST} held rows, so nearly what suits all together.",)
        if shrunk
        else (),
    )


def _spread(bench: Bench, found: NDArray[np.float64]) -> float:
    """The deviation of `SPREADS` under which held rows that were left out are likeliest."""
    held, favourable = bench.held, bench.aim.favourable
    fold = np.random.default_rng([bench.seed, 0xCA1]).permutation(len(held)) % _FOLDS
    sizes = np.bincount(held.groups[held.groups >= 0], minlength=len(bench.groups))
    groups = [int(group) for group in np.argsort(-sizes, kind="stable")[:_LARGEST] if sizes[group] >= LEAST]
    counted = np.isin(held.groups, groups)
    surprise = np.zeros(len(SPREADS))
    for left in range(_FOLDS):
        out = np.flatnonzero((fold == left) & counted)
        for index, spread in enumerate(SPREADS):
            lines = _lines(bench, found, fold != left, groups, spread)
            z = log_softmax(moved(found[out], lines[held.groups[out]], favourable), axis=1)
            surprise[index] -= z[np.arange(len(out)), held.labels[out]].sum()
    return SPREADS[int(surprise.argmin())]


def _lines(
    bench: Bench, found: NDArray[np.float64], rows: NDArray[np.bool_], groups: Iterable[int], spread: float
) -> NDArray[np.float64]:
    """(groups + 1, 2) fits on some held rows; the last, and those of groups not asked for, is what suits all together."""
    held, favourable = bench.held, bench.aim.favourable
    common = fit(found[rows], held.labels[rows], favourable)
    lines = np.tile(common, (len(bench.groups) + 1, 1))
    for group in groups:
        of = rows & (held.groups == group)
        if spread and of.any():
            lines[group] = fit(found[of], held.labels[of], favourable, common, spread)
    return lines


def fit(
    scores: NDArray[np.float64],
    labels: NDArray[np.int64],
    favourable: int,
    centre: NDArray[np.float64] | None = None,
    spread: float = 10.0,
) -> NDArray[np.float64]:
    """(log a, b) that are likeliest given the labels.

    Args:
        scores: (n, classes), each row of mean 0.
        labels: (n,).
        favourable: index of the class that b moves.
        centre: of the prior; None: no change.
        spread: deviation of the prior; a wide one only keeps the fit finite.
    """
    centre = np.zeros(2) if centre is None else centre
    rows = np.arange(len(labels))

    def surprise(line: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        z = moved(scores, line[None], favourable)
        error = softmax(z, axis=1)
        error[rows, labels] -= 1
        slope = np.array([(error * scores).sum() * np.exp(line[0]), error[:, favourable].sum()])
        away = (line - centre) / spread**2
        value = -log_softmax(z, axis=1)[rows, labels].sum() + (away * (line - centre)).sum() / 2
        return value / len(labels), (slope + away) / len(labels)

    bounds = [(-5.0, 5.0), (-20.0, 20.0)]  # of a perfect ranking the likeliest scale is infinite
    found = minimize(surprise, centre, jac=True, method="L-BFGS-B", bounds=bounds, options={"gtol": 1e-8})
    return np.asarray(found.x, dtype=np.float64)


def moved(scores: NDArray[np.float64], lines: NDArray[np.float64], favourable: int) -> NDArray[np.float64]:
    """Scores (n, classes) under each row's (log a, b), (n or 1, 2)."""
    out = scores * np.exp(lines[:, :1])
    out[:, favourable] += lines[:, 1]
    return out


def gap(probability: NDArray[np.float64], truth: NDArray[np.bool_], bins: int = _BINS) -> float:
    """Expected calibration error of the favourable class, over bins of equally many rows."""
    order = np.argsort(probability, kind="stable")
    parts = [rows for rows in np.array_split(order, min(bins, len(order))) if len(rows)]
    return float(sum(abs(probability[rows].mean() - truth[rows].mean()) * len(rows) for rows in parts) / len(order))


def _gaps(bench: Bench, found: NDArray[np.float64]) -> dict[str, float]:
    """`gap` of each group with enough held rows; on the rows that calibrated, so on new ones it is larger."""
    p, favourable = softmax(found, axis=1)[:, bench.aim.favourable], bench.held.labels == bench.aim.favourable
    rows = {name: bench.held.groups == group for group, name in enumerate(bench.groups)}
    return {name: gap(p[of], favourable[of]) for name, of in rows.items() if of.sum() >= LEAST}
