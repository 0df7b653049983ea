"""How well a matrix tells which group a row is of: ridge probes read out of fold, and their null by permutation.

A probe's predictions for a row come from rows of other folds. That the folds share rows makes their errors go together:
where nothing is to be told, dealing the groups anew while the predictions stay as they are rejects one time in ten at a level
of 5 %, for the true spread is sqrt(2) times as large. So each permutation fits the probe anew, which a
linear smoother allows at the price of a matrix product; a logistic regression would not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, stats

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: parts of the rows, and strength of the ridge as a share of what the columns hold
FOLDS, RIDGE = 5, 0.05
#: numbers worked on at once
TOGETHER = 2**22


@dataclass(frozen=True)
class Told:
    """How well one matrix tells the groups.

    Attributes:
        scores: (n, groups) out of fold, above 0 where a group is likelier than its share.
        areas: (groups,) area under the ROC curve of each group against all others.
        p: (groups,) of a larger area by chance, adjusted over groups and matrices.
    """

    scores: Floats
    areas: Floats
    p: Floats


def standardised(matrix: Floats) -> Floats:
    """Columns of mean 0 and standard deviation 1; constant ones are dropped."""
    spread = matrix.std(0)
    kept = spread > 1e-12 * np.maximum(1.0, np.abs(matrix).max(0, initial=0.0))
    return np.asarray((matrix[:, kept] - matrix[:, kept].mean(0)) / spread[kept])


def lifted(matrix: Floats, features: int, rng: np.random.Generator) -> Floats:
    """The columns, and random cosines of them that make a linear probe a smooth one (Rahimi and Recht 2007)."""
    columns = standardised(matrix)
    turn = rng.normal(size=(columns.shape[1], features)) / max(columns.shape[1], 1) ** 0.5
    waves = np.cos(columns @ turn + rng.uniform(0, 2 * np.pi, features))
    return np.hstack([columns, waves])


def folds(code: Ints, rng: np.random.Generator) -> Ints:
    """A fold for each row, so that every fold holds as much of each group as can be."""
    fold = np.empty(len(code), dtype=np.int64)
    order = rng.permutation(len(code))
    order = order[np.argsort(code[order], kind="stable")]
    fold[order] = np.arange(len(code)) % FOLDS
    return fold


class Probe:
    """Ridge regression on a matrix, ready to be fitted to any targets; every fold is read by a fit to the others.

    Args:
        matrix: (n, columns).
        fold: (n,) of each row.
    """

    def __init__(self, matrix: Floats, fold: Ints) -> None:
        columns = standardised(matrix)
        n, width = columns.shape
        self._fold = [np.flatnonzero(fold == i) for i in range(FOLDS)]
        self._columns = columns
        #: (rows of the fold, rows of the others) that turn the others' targets into scores
        self._parts: list[tuple[Ints, Ints, Floats, Floats]] = []
        for own in self._fold:
            others = np.setdiff1d(np.arange(n), own)
            centre = columns[others].mean(0) if width else np.zeros(0)
            fit, read = columns[others] - centre, columns[own] - centre
            penalty = RIDGE * len(others)
            if width <= len(others):
                system = linalg.cho_factor(fit.T @ fit + penalty * np.eye(width)) if width else None
                turn = linalg.cho_solve(system, fit.T) if system is not None else np.zeros((0, len(others)))
            else:
                dual = linalg.cho_factor(fit @ fit.T + penalty * np.eye(len(others)))
                read, turn = read @ fit.T, linalg.cho_solve(dual, np.eye(len(others)))
            self._parts.append((own, others, read, turn))

    def scores(self, targets: Floats) -> Floats:
        """(n, targets) out of fold, for targets (n, targets)."""
        out = np.empty_like(targets)
        for own, others, read, turn in self._parts:
            centred = targets[others] - targets[others].mean(0)
            out[own] = read @ (turn @ centred)
        return out


def areas(scores: Floats, inside: NDArray[np.bool_]) -> Floats:
    """Area under the ROC curve of each column: `scores` (n, columns) against `inside` (n, columns)."""
    ranks = stats.rankdata(scores, axis=0)
    members = inside.sum(0)
    others = len(scores) - members
    return np.asarray(((ranks * inside).sum(0) - members * (members + 1) / 2) / (members * others))


def told(
    matrices: Mapping[str, Floats], code: Ints, groups: int, permutations: int, rng: np.random.Generator
) -> dict[str, Told]:
    """Probe several matrices for the groups of their rows.

    Groups are dealt anew within the folds, to all matrices alike, and each probe fitted anew; the largest standardised
    area of each deal, over groups and matrices, is what an observed one is held against (max-T, Westfall and Young 1993).

    Args:
        matrices: name -> (n, columns).
        code: (n,) group of each row, 0 to groups - 1, each at least `FOLDS` times.
        groups: how many.
        permutations: deals.
        rng: their source, and that of the folds.
    """
    fold = folds(code, rng)
    compared = [1] if groups == 2 else list(range(groups))
    dealt = dealings(code, fold, permutations, rng)
    own: dict[str, Floats] = {}
    areas_of: dict[str, Floats] = {}
    chance: list[Floats] = []
    observed: list[Floats] = []
    for name, matrix in matrices.items():
        probe = Probe(matrix, fold)
        own[name] = probe.scores(_targets(code[:, None], range(groups)))
        inside = code[:, None] == np.arange(groups)
        areas_of[name] = areas(own[name], inside)
        drawn = np.empty((permutations, len(compared)))
        step = max(1, TOGETHER // (len(code) * len(compared)))
        for start in range(0, permutations, step):
            some = dealt[:, start : start + step]
            found = probe.scores(_targets(some, compared))
            hits = (some[:, :, None] == np.array(compared)).reshape(len(code), -1)
            drawn[start : start + step] = areas(found, hits).reshape(-1, len(compared))
        # the observed one is a deal like the others, without which the test would not be exact
        every = np.vstack([areas_of[name][compared], drawn])
        centre, spread = every.mean(0), np.maximum(every.std(0), 1e-12)
        chance.append(((drawn - centre) / spread).max(1))
        observed.append((areas_of[name][compared] - centre) / spread)
    most = np.max(chance, axis=0)
    out = {}
    for name, score in zip(matrices, observed, strict=True):
        p = (1 + (most[:, None] >= score - 1e-12).sum(0)) / (permutations + 1)
        out[name] = Told(own[name], areas_of[name], np.broadcast_to(p, groups) if groups == 2 else p)
    return out


def dealings(code: Ints, fold: Ints, permutations: int, rng: np.random.Generator) -> Ints:
    """(n, permutations) groups dealt to other rows of the same fold."""
    out = np.empty((len(code), permutations), dtype=np.int64)
    for part in range(FOLDS):
        rows = np.flatnonzero(fold == part)
        out[rows] = rng.permuted(np.tile(code[rows][:, None], (1, permutations)), axis=0)
    return out


def singled(matrix: Floats, players: Sequence[Sequence[int]], code: Ints, dealt: Ints) -> tuple[Floats, Floats]:
    """How much of the groups each input explains by itself, and p adjusted over inputs.

    Args:
        matrix: (n, columns).
        players: columns of each input.
        code: (n,) group of each row.
        dealt: (n, permutations) groups dealt anew.

    Returns:
        (players,) share of the groups' variance that lies along the input's columns, averaged over the groups, and p.
    """
    groups = int(code.max()) + 1
    bases, owner = [], []
    for i, columns in enumerate(players):
        own = standardised(matrix[:, list(columns)])
        basis, sizes, _ = np.linalg.svd(own, full_matrices=False)
        kept = sizes > 1e-9 * max(float(sizes.max(initial=0.0)), 1e-300)
        bases.append(basis[:, kept])
        owner += [i] * int(kept.sum())
    basis = np.hstack(bases) if owner else np.zeros((len(code), 0))

    def explained(labels: Ints) -> Floats:
        targets = _targets(labels, range(groups))
        along = (basis.T @ targets) ** 2 / (targets**2).sum(0)
        out = np.zeros((len(players), targets.shape[1]))
        np.add.at(out, np.array(owner, dtype=np.int64), along)
        return np.asarray(out.reshape(len(players), -1, groups).mean(2))

    observed = explained(code[:, None])[:, 0]
    step = max(1, TOGETHER // (len(code) * groups))
    drawn = np.hstack([explained(dealt[:, i : i + step]) for i in range(0, dealt.shape[1], step)])
    every = np.hstack([observed[:, None], drawn])
    centre, spread = every.mean(1, keepdims=True), np.maximum(every.std(1, keepdims=True), 1e-12)
    most = ((drawn - centre) / spread).max(0)
    score = (observed - centre[:, 0]) / spread[:, 0]
    return observed, (1 + (most >= score[:, None] - 1e-12).sum(1)) / (dealt.shape[1] + 1)


def _targets(labels: Ints, groups: Sequence[int]) -> Floats:
    """Indicators less their share, over that share: what is above 0 speaks for a group; (n, labellings x groups)."""
    inside = (labels[:, :, None] == np.asarray(groups)).astype(np.float64)
    share = inside.mean(0)
    return np.asarray((inside / share - 1).reshape(len(labels), -1))
