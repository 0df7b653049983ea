"""What another threshold would do to each protected group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from audit import statistics
from audit.check import Check
from audit.checks.fairness._groups import withheld
from audit.checks.fairness._scores import histograms
from audit.fairness.attributes import NO_GROUPS, positive
from reports.record import Cell, Curves, Estimate, Measured, Point, Table

if TYPE_CHECKING:
    from audit.datasets import Dataset
    from audit.fairness import Scores
    from audit.subject import Subject

#: the threshold at which the more probable of two classes is taken
IN_USE = 0.5
TRIED = tuple(i / 100 for i in range(1, 100))
#: rate -> what its panel is called
PANELS = {
    "selection_rate": "selection rate",
    "true_positive_rate": "true positive rate",
    "false_positive_rate": "false positive rate",
}
#: figures at most, and points of all of them together, so that a report stays small
FIGURES, POINTS = 2, 190


@dataclass(frozen=True)
class Thresholds(Check):
    """Every threshold, by protected group.

    What it measures:
        Who would get the favourable answer if it were given wherever its predicted probability reaches a threshold, the
        same for everybody, for every hundredth: each group's selection rate, true and false positive rate, the ratio of
        the smallest selection rate to the largest, and the accuracy. It names the smallest ratio over the thresholds,
        those thresholds at which the ratio is at least four fifths, and what the nearest of them costs in accuracy.
    Why it matters:
        The threshold is often the cheapest thing to change. A model may look fair at the one in use and be far from it
        at the next; or no threshold may bring the groups together, and then only another model will.
    How to read it:
        The vertical line is the threshold in use. Curves of two groups that lie apart everywhere differ in their
        scores; curves that cross favour one group below the crossing and the other above. The ratio holds for the rows
        at hand: a threshold chosen by them must be tried on others before it is used. Where almost nobody or almost
        everybody is selected, ratios say little, so that the smallest one is looked for in between.

    References:
        29 CFR 1607.4(D) (four fifths); Hardt, Price and Srebro 2016; Wilson 1927 (intervals); Agresti and Min 2005 (the
        change of accuracy, paired).
    """

    #: the ratio of selection rates that is looked for
    wanted: float = 0.8
    #: the smallest ratio is looked for where at least this share of all rows is selected, and this share is not
    share: float = 0.05
    #: attributes crossed at most; 1: single attributes only
    depth: int = 2
    #: groups looked at of one attribute, the largest first, and drawn
    shown: int = 30
    drawn: int = 5

    def unfit(self, subject: Subject, data: Dataset) -> str | None:
        """Skip where nobody is to be compared."""
        return None if data.groups else NO_GROUPS

    def run(self, subject: Subject, data: Dataset, rng: np.random.Generator) -> Measured:
        """See the class."""
        estimates: dict[str, Estimate] = {}
        rows = list[tuple[Cell, ...]]()
        in_use = IN_USE if len(data.classes) == 2 else None
        found, notes = histograms(subject, data, self.depth, self.shown)
        for attribute, scores in found.items():
            own, cells = self._tried(scores, in_use)
            estimates |= {f"{name}@{attribute}": estimate for name, estimate in own.items()}
            rows.append((attribute, *cells))
        single = [name for name in found if name in data.groups]
        series = sum(min(self.drawn, len(found[name].groups)) for name in single[:FIGURES])
        figures = [self._figure(name, found[name], POINTS // (3 * max(series, 1)), in_use) for name in single[:FIGURES]]
        return Measured(
            estimates=estimates,
            headline=tuple(f"smallest_selection_ratio@{name}" for name in single),
            tables=(
                Table(
                    title=f"Thresholds and selection ratios of at least {self.wanted:g}",
                    columns=(
                        "attribute",
                        "ratio at the threshold in use",
                        "smallest ratio",
                        "at",
                        f"at least {self.wanted:g} at",
                        "nearest",
                        "accuracy in use",
                        "change of accuracy there",
                    ),
                    rows=tuple(rows),
                    note="Ratios are of the least selected group to the most selected one. Of the hundredths, those thresholds "
                    f"are looked at that select {100 * self.share:g} % to {100 * (1 - self.share):g} % of all rows.",
                ),
            ),
            figures=tuple(figures),
            notes=(
                f"Selected is whoever has a probability of {data.classes[positive(data)]!r} of at least the threshold.",
                f"The threshold in use is {IN_USE:g}: the more probable of two classes."
                if in_use
                else "There is no threshold in use: the most probable of several classes is taken.",
                "A threshold chosen on these rows looks better on them than it is; try it on others.",
                *notes,
                *withheld(data),
            ),
        )

    def _tried(self, scores: Scores, in_use: float | None) -> tuple[dict[str, Estimate], list[Cell]]:
        """Estimates of one attribute, and the cells of its row."""
        tried = scores.thresholds(TRIED)
        ratio, selected = tried.ratio("selection_rate"), tried.overall("selection_rate")
        within = np.isfinite(ratio) & (selected >= self.share) & (selected <= 1 - self.share)
        n = int(scores.rows.sum())
        if not within.any():
            none = statistics.undefined("no threshold at which two groups can be compared", n=n)
            return {"smallest_selection_ratio": none}, [None, none, None, "none", None, None, None]
        least = int(np.where(within, ratio, np.inf).argmin())
        # for the smallest of many, the level is shared between the thresholds looked at
        smallest = scores.at(TRIED[least]).disparity(
            "selection_rate", "ratio", alpha=(1 - statistics.LEVEL) / int(within.sum())
        )
        if smallest.value is not None:
            method = f"MOVER, simultaneous over groups and {int(within.sum())} thresholds, 95 %"
            smallest = smallest.model_copy(update={"method": method})
        good = np.flatnonzero(within & (ratio >= self.wanted))
        estimates = {"smallest_selection_ratio": smallest}
        cells: list[Cell] = [None, smallest, f"{TRIED[least]:.2f}", _ranges(good)]
        if in_use is None:
            return estimates, [*cells, None, None, None]
        now = scores.at(in_use)
        estimates["selection_ratio_in_use"] = cells[0] = now.disparity("selection_rate", "ratio")
        accuracy = now.overall().rate("accuracy")
        if not len(good):
            change = statistics.undefined(f"no threshold has a ratio of at least {self.wanted:g}", n=n, unit="fraction")
            nearest = None
        else:
            nearest = TRIED[int(good[np.abs(np.asarray(TRIED)[good] - in_use).argmin()])]
            change = _change(scores, in_use, nearest)
        estimates["accuracy_change_at_wanted_ratio"] = change
        return estimates, [*cells, None if nearest is None else f"{nearest:.2f}", *accuracy.values(), change]

    def _figure(self, attribute: str, scores: Scores, thresholds: int, in_use: float | None) -> Curves:
        """Three rates of the largest groups over the thresholds, as small multiples."""
        step = -(-100 // min(25, max(thresholds, 5)))
        at = [t for i, t in enumerate(TRIED, start=1) if (i - 50) % step == 0]
        drawn = scores.thresholds(at)
        largest = np.sort(np.argsort(-scores.rows.sum((1, 2)), kind="stable")[: self.drawn])
        points = []
        for name, panel in PANELS.items():
            value, (low, high) = drawn.rate(name), drawn.limits(name)
            for group in largest:
                points += [
                    Point(
                        x=x,
                        y=round(float(value[group, i]), 4),
                        low=round(float(low[group, i]), 4),
                        high=round(float(high[group, i]), 4),
                        series=str(scores.groups[group]),
                        panel=panel,
                    )
                    for i, x in enumerate(at)
                    if np.isfinite(value[group, i])
                ]
        fewer = f" The {self.drawn} largest groups are drawn." if len(scores.groups) > self.drawn else ""
        return Curves(
            title=f"Every threshold, by {attribute}",
            x_title="threshold",
            y_title="rate",
            points=tuple(points),
            mark=in_use,
            x_percent=True,
            y_percent=True,
            note=f"Each interval holds at 95 % by itself.{fewer}",
        )


def _change(scores: Scores, before: float, after: float) -> Estimate:
    """Accuracy at one threshold minus that at another, on the same rows."""
    rows = [scores.at(t).rows.sum(0) for t in (before, after)]
    # of the rows whose answer changes, those that were wrong and those that were right
    mended, broken = (0, 0)
    for true in (0, 1):
        moved = int(rows[1][true, true] - rows[0][true, true])
        mended, broken = mended + max(moved, 0), broken + max(-moved, 0)
    n = int(rows[0].sum())
    if before == after:
        return statistics.exact(0.0, n, "fraction", "the threshold in use has that ratio")
    right = np.arange(n) < mended, (np.arange(n) >= mended) & (np.arange(n) < mended + broken)
    return statistics.paired_difference(*right)


def _ranges(at: np.ndarray[tuple[int], np.dtype[np.int64]]) -> str:
    """Positions among the thresholds in words: "0.02 to 0.07, 0.91"."""
    if not len(at):
        return "none"
    parts = np.split(at, np.flatnonzero(np.diff(at) > 1) + 1)
    return ", ".join(
        f"{TRIED[part[0]]:.2f}" + (f" to {TRIED[part[-1]]:.2f}" if len(part) > 1 else "") for part in parts
    )
