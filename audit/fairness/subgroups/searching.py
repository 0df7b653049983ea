"""Subgroup search: which conjunctions of attributes fare worse, discovered on some rows and confirmed on others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from audit.errors import DataError
from audit.fairness.subgroups.coding import Column, Condition, coded
from audit.fairness.subgroups.confirming import confirm
from audit.fairness.subgroups.counting import Losses, worst
from audit.fairness.subgroups.findings import Search, Subgroup, subgroup
from audit.fairness.subgroups.folding import Members, Slice, membership

Floats = NDArray[np.float64]

#: conjunctions that folding starts from, and candidates that one test takes
POOL, CANDIDATES = 1000, 60
#: score that a candidate needs on the rows that choose it, and standard deviations by which a subgroup must be worse than
#: what is known already to be listed beside it
CHOSEN, FRESH = 2.7, 2.0
#: searches of what is left unexplained at most
ROUNDS = 4
#: smallest subgroup looked at: a share of the rows, and rows
SHARE, ROWS = 0.005, 40


def search(
    outcome: ArrayLike,
    columns: Mapping[str, ArrayLike] | pd.DataFrame,
    depth: int = 3,
    least: int | None = None,
    alpha: float = 0.05,
    seed: int = 0,
    rows: ArrayLike | None = None,
    bins: int = 5,
    held_out: float = 0.5,
    draws: int = 999,
) -> Search:
    """Find the conjunctions of attribute values whose rows fare worse than all others.

    Every conjunction of at most `depth` conditions with enough rows is counted on one part of the rows, those that say
    nothing beyond a worse one are folded into it, and the 60 most promising are tested on the other part, together
    (`confirming.confirm`). At most `alpha` of searches in data without any difference confirm something.

    The idea of listing all frequent itemsets by their divergence is DivExplorer's (Pastor, de Alfaro and Baralis 2021),
    that of stopping at problematic slices is Slice Finder's (Chung et al. 2019): the first tests each itemset by
    itself, the second spends its error budget in the order of its walk, and both test on the rows that chose the slice.

    Args:
        outcome: (n,) losses, the larger the worse: 0/1 (an error, a refusal) or any real numbers.
        columns: name -> (n,) values; numbers are cut at quantiles, missing values are a level of their own.
        depth: conditions at most, 1 to 3.
        least: rows that a subgroup needs; 0.5 % of them, at least 40, where left out.
        alpha: chance of any false finding.
        seed: of the parting of the rows and of the test.
        rows: (n,) bool, the rows to search (e.g. those that deserve the favourable class); all where left out.
        bins: parts that a number is cut into, 2 to 12.
        held_out: share of the rows that the candidates are tested on.
        draws: permutations of the test.

    Raises:
        DataError: an argument does not fit; the message names it.
    """
    values, frame = _examined(outcome, columns, rows, depth, bins, held_out)
    n = len(values)
    least = max(ROWS, round(SHARE * n)) if least is None else max(int(least), 2)
    found, left_out = coded(frame, least, bins)
    rng = np.random.default_rng(seed)
    order = rng.permutation(n)
    cut = min(max(round(n * (1 - held_out)), 1), n - 1)
    parts = [np.sort(order[:cut]), np.sort(order[cut:])]
    whole, first, second = Losses(values), *(Losses(values[at]) for at in parts)
    here, there = (_part(found, at) for at in parts)
    chosen, folded, looked, reach = _discovered(here, first, depth, max(round(least * (1 - held_out)), 2))
    tested: list[Subgroup] = []
    confirmed: list[int] = []
    critical = float("nan")
    if chosen:
        result = confirm(membership(there, chosen), second, alpha, draws, rng)
        critical = float(result.critical[-1])
        for i, inside in enumerate(membership(here, chosen)):
            conditions = tuple(_condition(found, *x) for x in chosen[i])
            tested.append(subgroup(conditions, inside, first, second, result, i, folded[i], alpha))
        passed = [i for i in range(len(chosen)) if result.p[i] <= alpha]
        if passed:
            # the rows that chose a part of a subgroup flatter it against the whole: the others say whether it adds anything
            every = Members(found, [chosen[i] for i in passed], whole)
            passed = [passed[i] for i in np.argsort(-whole.score(every.rows, every.lost), kind="stable")]
            confirmed = [k.place for k in Members(there, chosen, second).folded(passed, FRESH, len(passed))]
    return Search(
        confirmed=tuple(tested[i] for i in confirmed),
        candidates=tuple(tested),
        looked=looked,
        discovery=first.n,
        held_out=second.n,
        rate=second.mean,
        left_out=left_out,
        least=least,
        columns=found,
        binary=whole.binary,
        reach=reach,
        critical=critical,
    )


def _examined(
    outcome: ArrayLike,
    columns: Mapping[str, ArrayLike] | pd.DataFrame,
    rows: ArrayLike | None,
    depth: int,
    bins: int,
    held_out: float,
) -> tuple[Floats, dict[str, pd.Series]]:
    """The losses and attributes of the rows to search.

    Raises:
        DataError: an argument does not fit.
    """
    values = np.asarray(outcome, dtype=np.float64)
    if values.ndim != 1 or not np.isfinite(values).all():
        bad = f"an array of shape {values.shape}" if values.ndim != 1 else f"{int((~np.isfinite(values)).sum())} others"
        raise DataError(f"Expected outcome: one finite number a row, found {bad}; try leaving such rows out by rows.")
    for name, value, low, high in (("depth", depth, 1, 3), ("bins", bins, 2, 12), ("held_out", held_out, 0.1, 0.9)):
        if not low <= value <= high:
            raise DataError(f"Expected {name} from {low} to {high}, found {value}.")
    frame = {str(name): pd.Series(column).reset_index(drop=True) for name, column in columns.items()}
    for name, column in frame.items():
        if len(column) != len(values):
            raise DataError(f"Expected {len(values)} values in column {name!r}, found {len(column)}.")
    if rows is not None:
        mask = np.asarray(rows)
        if mask.dtype != bool or mask.shape != values.shape:
            raise DataError(f"Expected rows: {len(values)} of True or False, found {mask.dtype} of shape {mask.shape}.")
        values, frame = values[mask], {name: column[mask] for name, column in frame.items()}
    if len(values) < 2:
        raise DataError(f"Expected outcome to have at least 2 rows to search, found {len(values)}.")
    return values, frame


def _discovered(
    columns: Sequence[Column], losses: Losses, depth: int, least: int
) -> tuple[list[Slice], list[int], int, float]:
    """The candidates, how many conjunctions are folded into each, how many had enough rows, and the score needed.

    Where one strong effect fills the pool with its own parts and neighbours, what the candidates so far explain, each by
    itself and together, is taken from the losses, and what is left is searched again.
    """
    chosen: list[Slice] = []
    folded: dict[Slice, int] = {}
    left, looked, reach = losses, 0, CHOSEN
    for _ in range(ROUNDS):
        pool = worst(columns, left, depth, least, CHOSEN, POOL)
        looked, reach = pool.looked, pool.floor
        every = [*chosen, *(one for one in pool.slices if one not in folded)]
        if len(every) == len(chosen):
            break
        members = Members(columns, every, losses)
        kept = members.folded(range(len(every)), FRESH, CANDIDATES)
        before, chosen = chosen, [every[k.place] for k in kept]
        folded = {every[k.place]: k.folded + folded.get(every[k.place], 0) for k in kept}
        if pool.floor <= CHOSEN or len(chosen) == CANDIDATES or chosen == before:
            break
        left = Losses(_unexplained(membership(columns, chosen), losses))
    return chosen, [folded[one] for one in chosen], looked, reach


def _unexplained(member: NDArray[np.bool_], losses: Losses) -> Floats:
    """Losses less what belonging to the slices explains, by least squares."""
    design = np.vstack([np.ones(losses.n), member]).astype(np.float32)
    gram = (design @ design.T).astype(np.float64)
    weight = np.linalg.lstsq(gram, (design @ losses.values.astype(np.float32)).astype(np.float64), rcond=1e-6)[0]
    return np.asarray(losses.values - weight.astype(np.float32) @ design, dtype=np.float64)


def _part(columns: Sequence[Column], at: NDArray[np.int64]) -> list[Column]:
    return [Column(c.name, c.code[at], c.size, c.conditions) for c in columns]


def _condition(columns: Sequence[Column], column: int, first: int, last: int) -> Condition:
    return next(c for c in columns[column].conditions if (c.first, c.last) == (first, last))
