"""What would have to be different for another answer, and for whom more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from audit import statistics
from audit.check import Check, Effort
from audit.subject import Modality
from reports.record import Bar, Bars, Cell, Estimate, Measured, Table

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from attacks.tabular import Table as Description
    from audit.checks.robustness._tables import Layout
    from audit.datasets import Dataset
    from audit.explainers import Counterfactuals as Found
    from audit.subject import Subject

UNIT = "deviations"
#: other ways are shown where they are at most so many times as far as the nearest
FAR = 4
#: values of a number tried at each step, fewer where there are so many columns that more changes than that were tried
VALUES, TRIED = 24, 2000


@dataclass(frozen=True)
class Counterfactuals(Check):
    """Counterfactual examples.

    What it measures:
        For rows that are refused the favourable answer (where none is declared: for any row, its second answer), the
        nearest rows that get it. They differ in few columns, hold values that occur in training, keep declared constraints,
        and leave immutable columns and protected attributes as they are. Distance is what numbers move, in standard
        deviations, plus one for each category that switches. Each row found is shown to the model anew.
    Why it matters:
        It is the answer to the question people ask: what would I have to change? Where nothing that a person can change
        helps, the model leaves no way out; where one group has to change more than another for the same answer, it is
        harder on that group, whatever its error rates.
    How to read it:
        The actionable share is the share of rows for which a change was found; the others may have one that the search
        missed or that takes more columns. The gap of a group is its mean distance less that of all others: above 0, it
        has farther to go. The intervals of the gaps hold for all groups of an attribute together, so that chance
        seldom makes one exclude 0, and small groups have wide ones. A counterfactual tells what the model would answer, not what the change would do in the world.

    References:
        Wachter et al. 2018 (counterfactual explanations); Ustun et al. 2019 (actionable recourse); Mothilal et al. 2020
        (diverse counterfactuals); Gupta et al. 2019 (equal recourse across groups).
    """

    version: ClassVar[int] = 2
    modalities: ClassVar[frozenset[Modality]] = frozenset({Modality.TABULAR})
    efforts: ClassVar[Mapping[Effort, Mapping[str, Any]]] = {
        Effort.QUICK: {"rows": 100, "width": 4},
        Effort.EXHAUSTIVE: {"rows": 2000, "width": 16},
    }

    #: rows explained
    rows: int = 500
    #: counterfactuals of each row, each changing other columns
    count: int = 3
    #: most columns that may change
    changes: int = 4
    #: states the search keeps at each step
    width: int = 8
    #: rows shown
    shown: int = 6

    def unfit(self, subject: Subject, data: Dataset) -> str | None:
        """Needs columns that may change."""
        if any(f.mutable and f.name not in data.groups for f in data.features):
            return None
        return "no column may change: all are immutable, protected or undescribed"

    def run(self, subject: Subject, data: Dataset, rng: np.random.Generator) -> Measured:
        """See the class."""
        import torch

        from audit.checks.robustness._tables import layout
        from audit.explainers import counterfactuals

        # nobody should have to change the group he belongs to
        fixed = tuple(replace(f, mutable=f.mutable and f.name not in data.groups) for f in data.features)
        here = layout(replace(data, features=fixed))
        sample, wanted = self._refused(subject, data, rng)
        known = (data if data.train is None else data.train).inputs
        assert isinstance(known, torch.Tensor) and isinstance(sample.inputs, torch.Tensor)
        if not len(sample):
            nothing = statistics.undefined("every row has the favourable answer as it is", unit="fraction")
            return Measured(estimates={"actionable": nothing}, headline=("actionable",))
        found = counterfactuals(
            subject.predict,
            sample.inputs,
            wanted,
            here.table,
            known,
            here.deviations,
            count=self.count,
            changes=self.changes,
            width=self.width,
            values=max(4, min(VALUES, TRIED // len(here.table.columns))),
        )
        there = found.found.numpy()
        nearest = _Nearest(there[:, 0], found.distance[:, 0].numpy(), found.changed[:, 0].numpy())
        confirmed = subject.predict(found.rows[found.found]).argmax(1) == wanted[found.found.nonzero()[:, 0]]
        estimates = {
            "actionable": statistics.proportion(int(there[:, 0].sum()), len(sample)),
            "columns_changed": statistics.mean(nearest.changed.sum(1)[nearest.there], "columns"),
            "distance": statistics.mean(nearest.distance[nearest.there], UNIT),
            "valid": statistics.proportion(int(confirmed.sum()), len(confirmed)),
        }
        by_group, groups, figure = _groups(sample, nearest, estimates["distance"])
        gaps = [name for name in by_group if name.startswith("distance_gap@")]
        # the group that most surely has farther to go
        surest = sorted(gaps, key=lambda name: -_at_least(by_group[name]))[:1]
        options = there.sum(1)[nearest.there]
        return Measured(
            estimates={**estimates, **by_group},
            headline=("actionable", "columns_changed", "distance", *surest),
            tables=(*self._examples(sample, wanted, here, found), *groups),
            figures=(*_columns(here.table, nearest), *figure),
            notes=(
                f"{len(sample)} test rows{_whose(data)}; rows that entered the model: {found.evaluations:,}. Up to "
                f"{self.changes} columns may change; rows with a counterfactual have "
                f"{float(options.mean()) if len(options) else 0:.1f} on average, of at most {self.count} that change "
                "other columns.",
                f"Columns that never move: {', '.join(c.name for c in here.table.columns if not c.mutable) or 'none'}.",
                *(f"Every counterfactual keeps to {text}." for text in here.table.constraints),
            ),
        )

    def _refused(self, subject: Subject, data: Dataset, rng: np.random.Generator) -> tuple[Dataset, Tensor]:
        """Some rows without the answer wanted, and the answer wanted for each."""
        scores = subject.scores(data)
        answer = scores.argmax(1)
        if data.favourable is None:
            wanted = scores.scatter(1, answer[:, None], float("-inf")).argmax(1)
        else:
            wanted = answer.new_full((len(data),), data.favourable)
        rows = np.flatnonzero((answer != wanted).numpy())
        if len(rows) > self.rows:
            rows = np.sort(rng.choice(rows, size=self.rows, replace=False))
        return data.take(rows), wanted[rows]

    def _examples(self, sample: Dataset, wanted: Tensor, here: Layout, found: Found) -> tuple[Table, ...]:
        """Rows that need one change and rows that need more, with all that was found for them."""
        import torch

        assert isinstance(sample.inputs, torch.Tensor)
        names = {f.name: f.categories for f in sample.features}
        most = found.changed[:, 0].sum(1)
        ranks = [(most == k).nonzero()[:, 0].tolist() for k in range(1, self.changes + 1)]
        # in turn from those that need one column, two ...
        turns = [rank[i] for i in range(self.shown) for rank in ranks if i < len(rank)]
        rows: list[tuple[Cell, ...]] = []
        for number, row in enumerate(sorted(turns[: self.shown]), start=1):
            for option in (found.distance[row] <= FAR * found.distance[row, 0]).nonzero()[:, 0].tolist():
                before, after = sample.inputs[row], found.rows[row, option]
                change = _in_words(here.table, names, before, after)
                distance = round(float(found.distance[row, option]), 3)
                rows.append((number, sample.classes[int(wanted[row])], change, distance))
        if not rows:
            return ()
        return (
            Table(
                title="What would have changed the answer",
                columns=("example", "answer reached", "change", "distance"),
                rows=tuple(rows),
                note="Each line is a way of its own. Values in the columns' own units; all that is not named stays.",
            ),
        )


@dataclass(frozen=True)
class _Nearest:
    """The nearest counterfactual of each row: whether there is one, its distance, and which columns it changes."""

    there: NDArray[np.bool_]
    distance: NDArray[np.float64]
    changed: NDArray[np.bool_]


def _at_least(gap: Estimate) -> float:
    return float("-inf") if gap.low is None else gap.low


def _whose(data: Dataset) -> str:
    return "" if data.favourable is None else f" that the model does not answer with {data.classes[data.favourable]!r}"


def _groups(
    sample: Dataset, nearest: _Nearest, overall: Estimate
) -> tuple[dict[str, Estimate], tuple[Table, ...], tuple[Bars, ...]]:
    """How far each protected group has to go, beside all others."""
    from audit.fairness.attributes import masks

    estimates: dict[str, Estimate] = {}
    rows: list[tuple[Cell, ...]] = []
    bars = []
    rows_of = masks(sample)
    # groups of an attribute whose gap is known; an attribute of many values must not blur the others
    known: dict[str, int] = {}
    for (attribute, _), mask in rows_of.items():
        known[attribute] = known.get(attribute, 0) + int((mask & nearest.there).sum() > 1)

    def compared(mask: NDArray[np.bool_], together: int) -> list[Estimate]:
        there = nearest.there
        return [
            *(statistics.mean(nearest.distance[part & there], UNIT, together) for part in (mask, ~mask)),
            *(statistics.proportion(int(there[part].sum()), int(part.sum()), together) for part in (mask, ~mask)),
        ]

    for (attribute, group), mask in rows_of.items():
        name = f"{attribute}={group}"
        own, _, share, _ = compared(mask, 1)
        of = known[attribute] if known[attribute] > 2 else 1  # of two groups one gap says it all
        wide, wide_others, wide_share, wide_share_others = compared(mask, of)
        gap = statistics.difference(wide, wide_others, of)
        estimates |= {
            f"actionable@{name}": share,
            f"distance@{name}": own,
            f"actionable_gap@{name}": statistics.difference(wide_share, wide_share_others, of),
            f"distance_gap@{name}": gap,
        }
        rows.append((attribute, group, int(mask.sum()), share, own, gap))
        if own.value is not None:
            bars.append(Bar(label=group, value=own.value, low=own.low, high=own.high, series=attribute))
    if not rows:
        return estimates, (), ()
    table = Table(
        title="How far each group has to go",
        columns=("attribute", "group", "rows", "actionable", "mean distance", "gap to all others"),
        rows=tuple(rows),
        note="Distances of the rows that have a counterfactual, in deviations; fewer than two give no figure.",
    )
    figure = Bars(
        title="How far each group has to go",
        x_title="mean distance to the nearest counterfactual, deviations",
        bars=tuple(bars),
        reference=overall.value,
        note="The line is the mean of all rows.",
    )
    return estimates, (table,), (figure,) if bars else ()


def _columns(table: Description, nearest: _Nearest) -> tuple[Bars, ...]:
    """How often the nearest counterfactual changes each column."""
    total = int(nearest.there.sum())
    counts = nearest.changed[nearest.there].sum(0)
    shares = [(c.name, statistics.proportion(int(counts[j]), total)) for j, c in enumerate(table.columns) if c.mutable]
    if not total:
        return ()
    return (
        Bars(
            title="Columns that the nearest counterfactual changes",
            x_title="share of the rows that have one",
            bars=tuple(
                Bar(label=name, value=share.value or 0.0, low=share.low, high=share.high)
                for name, share in sorted(shares, key=lambda pair: -(pair[1].value or 0.0))
            ),
            percent=True,
        ),
    )


def _in_words(table: Description, categories: Mapping[str, tuple[str, ...]], before: Tensor, after: Tensor) -> str:
    """What changes, e.g. "hours-per-week 40 → 46; occupation Sales → Tech-support"."""
    import torch

    both = torch.stack([before, after])
    raw, codes = table.raw(both).tolist(), table.codes(both).tolist()
    changed = {c.name for c, moved in zip(table.columns, table.changed(both[:1], both[1:])[0], strict=True) if moved}
    parts = {}
    for j, number in enumerate(table.numbers):
        old, new = raw[0][j], raw[1][j]
        # digits that tell the two apart, and two more
        digits = 0 if old == new else max(0, 2 - int(np.floor(np.log10(abs(new - old)))))
        parts[number.name] = f"{round(old, digits):.10g} → {round(new, digits):.10g}"
    for j, category in enumerate(table.categories):
        old_code, new_code = codes[0][j], codes[1][j]
        names = categories[category.name]
        parts[category.name] = f"{names[old_code] if old_code >= 0 else 'none'} → {names[new_code]}"
    return "; ".join(f"{c.name} {parts[c.name]}" for c in table.columns if c.name in changed)
