"""Which combinations of attribute values the model serves worst."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from audit import statistics
from audit.check import Check, Effort
from audit.checks.fairness._groups import percent, told, withheld
from audit.fairness import attributes
from reports.record import Bar, Bars, Cell, Estimate, Measured, Table

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from audit.datasets import Dataset
    from audit.fairness.subgroups import Search, Subgroup
    from audit.subject import Subject

#: shares of the rows for which it is said what would have been found
SUPPORTS = (0.01, 0.05, 0.2)


class Side(NamedTuple):
    """One way to be served badly: what it is called, which rows can suffer it, and which of them do."""

    name: str
    words: str
    rows: NDArray[np.bool_]
    suffers: NDArray[np.bool_]


@dataclass(frozen=True)
class Subgroups(Check):
    """Worst subgroups.

    What it measures:
        Every combination of up to three attribute values (of a table's features and the protected attributes; numbers in
        ranges between quantiles) is looked at for an error rate above that of all other rows, and, among the rows that
        deserve the favourable class, for how often it is denied. Half of the rows choose the most striking
        combinations, the other half tests them, all of them together, against the same errors dealt to rows at random.
    Why it matters:
        A model that is fair to each attribute by itself can fail people at an intersection that nobody thought of.
    How to read it:
        The difference is that of the rows that had no part in choosing the subgroup; the one seen when it was chosen is
        always flattered. Intervals hold for all candidates at once: where nothing is, at most one search in twenty confirms
        anything, and there are two, one for errors and one for denials. A subgroup that says nothing beyond one already listed is folded into it. What was not confirmed is
        not proven fair: the last table says how large an excess had to be to be found.

    References:
        Westfall and Young 1993 (max-T); Chung et al. 2019 (Slice Finder) and Pastor et al. 2021 (DivExplorer), which test
        on the rows that chose the slice; Cox 1975 (parting the data).
    """

    efforts: ClassVar[Mapping[Effort, Mapping[str, Any]]] = {
        Effort.QUICK: {"draws": 499},
        Effort.EXHAUSTIVE: {"draws": 9999, "bins": 8},
    }

    #: conditions of a subgroup at most, 1 to 3
    depth: int = 3
    #: parts that a number is cut into, 2 to 12
    bins: int = 5
    draws: int = 1999
    #: chance of a false finding, for each way to be served badly
    alpha: float = 0.05
    #: subgroups shown
    top: int = 8

    def unfit(self, subject: Subject, data: Dataset) -> str | None:
        """Needs attributes."""
        return None if data.features or data.groups else attributes.NO_GROUPS

    def run(self, subject: Subject, data: Dataset, rng: np.random.Generator) -> Measured:
        """See the class."""
        from audit.fairness.subgroups import search
        from audit.fairness.subgroups.searching import ROWS, SHARE

        columns = _columns(data)
        estimates: dict[str, Estimate] = {}
        tables, figures, notes = [], [], []
        headline: list[str] = []
        for side in _sides(subject, data):
            names = [f"subgroups_confirmed@{side.name}", f"largest_excess@{side.name}"]
            headline += names
            if side.rows.sum() < 2:
                reason = f"fewer than two rows can suffer a {side.words}"
                estimates |= dict.fromkeys(names, statistics.undefined(reason, n=int(side.rows.sum())))
                continue
            # half of a subgroup's rows choose it: they alone are as many as may be told
            least = max(ROWS, round(SHARE * int(side.rows.sum())), 2 * data.smallest_group)
            found = search(
                side.suffers,
                columns,
                depth=self.depth,
                least=least,
                alpha=self.alpha,
                seed=int(rng.integers(2**32)),
                rows=side.rows,
                bins=self.bins,
                draws=self.draws,
            )
            shown = _shown(found, self.top)
            count = statistics.exact(len(found.confirmed), found.looked, method="confirmed of those looked at")
            estimates |= dict(zip(names, (count, _largest(found)), strict=True))
            estimates |= {f"excess@{side.name}={one.words}": one.difference for one in shown}
            tables += [_listed(side, found, shown), *_power(side, found)]
            figures += _drawn(side, shown)
            title = side.words[0].upper() + side.words[1:]
            notes.append(
                f"{title}: {found.looked:,} combinations of some {found.least} rows or more, "
                f"{len(found.candidates)} candidates from {found.discovery:,} rows, tested on {found.held_out:,} others."
            )
            if found.left_out:
                gone = "; ".join(f"{name}: {why}" for name, why in found.left_out.items())
                notes.append(f"{title}: left out {gone}.")
        return Measured(
            estimates=estimates,
            headline=tuple(headline),
            tables=tuple(tables),
            figures=tuple(figures),
            notes=(*notes, *withheld(data)),
        )


def _columns(data: Dataset) -> dict[str, pd.Series]:
    """The attributes that subgroups are made of, by name."""
    import pandas as pd

    groups = {name: pd.Series(found.column()) for name, found in attributes.groups(data).items()}
    if data.frame is None:
        return groups
    names = [feature.name for feature in data.features if feature.name in data.frame and feature.name not in groups]
    return {name: data.frame[name] for name in names} | groups


def _sides(subject: Subject, data: Dataset) -> list[Side]:
    import numpy as np

    predicted, labels = subject.scores(data).argmax(1).numpy(), data.labels.numpy()
    favourable = attributes.positive(data)
    deserving = labels == favourable
    return [
        Side("error", "error", np.ones(len(labels), dtype=bool), predicted != labels),
        Side(
            "denied", f"denial of {data.classes[favourable]!r} to those it is true of", deserving, predicted != labels
        ),
    ]


def _largest(found: Search) -> Estimate:
    """The excess that is surely largest, confirmed or not."""
    sure = [(one.difference.low, one.difference) for one in found.candidates if one.difference.low is not None]
    if not sure:
        return statistics.undefined(
            "no combination stood out on the rows that choose", n=found.held_out, unit="fraction"
        )
    return max(sure, key=lambda pair: pair[0])[1]


def _shown(found: Search, top: int) -> list[Subgroup]:
    """Of the confirmed, the first by effect and the first by what they explain, the worst effect first."""

    def effect(one: Subgroup) -> float:
        return one.difference.value or 0.0

    most = sorted(found.confirmed, key=lambda one: -one.explained)[: max(top // 2, 1)]
    rest = [one for one in sorted(found.confirmed, key=lambda one: -effect(one)) if one not in most]
    return sorted([*most, *rest[: max(top - len(most), 0)]], key=lambda one: -effect(one))


def _listed(side: Side, found: Search, shown: list[Subgroup]) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (
            one.words,
            one.rows,
            percent(one.share),
            one.rate,
            one.difference,
            f"{100 * one.discovered:+.1f} points",
            percent(one.explained),
            told(one.p),
            one.folded,
        )
        for one in shown
    ]
    return Table(
        title=f"Subgroups with more of this than all others: {side.words}",
        columns=(
            "subgroup",
            "rows",
            "of all",
            "rate",
            "difference",
            "seen when chosen",
            "of all such errors",
            "p",
            "folded in",
        ),
        rows=tuple(rows),
        note=f"{len(found.confirmed)} confirmed, {len(shown)} shown. Rates and differences are of the rows that did not "
        "choose the subgroup; 'of all such errors' is the share that would not happen at the others' rate; 'folded in' "
        "are combinations that say nothing more.",
    )


def _power(side: Side, found: Search) -> list[Table]:
    if not found.candidates:
        return []
    rows: list[tuple[Cell, ...]] = []
    for share in SUPPORTS:
        excess = found.detectable(share)
        said = "none, it is too small" if excess is None else f"{100 * excess:+.1f} points"
        rows.append((f"{100 * share:g} %", round(share * (found.discovery + found.held_out)), said))
    return [
        Table(
            title=f"Smallest excess that four of five such audits find: {side.words}",
            columns=("subgroup's share", "rows", "excess"),
            rows=tuple(rows),
        )
    ]


def _drawn(side: Side, shown: list[Subgroup]) -> list[Bars]:
    bars = tuple(
        Bar(label=one.words, value=one.difference.value, low=one.difference.low, high=one.difference.high)
        for one in shown
        if one.difference.value is not None
    )
    if not bars:
        return []
    return [Bars(title=f"Worst subgroups: {side.words}", x_title="difference from all others", bars=bars, percent=True)]
