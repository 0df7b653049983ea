"""Differences between groups, adjusted for each other variable in turn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from audit.check import Check, Effort
from audit.checks.fairness._groups import percent, told, withheld
from audit.fairness.attributes import NO_GROUPS, Levels, groups, levels, positive
from audit.fairness.counting.cube import Cube
from audit.fairness.strata import stratified as strata
from audit.fairness.strata.mantel_haenszel import Finding, Pair
from audit.fairness.strata.simultaneous import critical
from audit.statistics import exact
from reports.record import Bar, Bars, Cell, Estimate, Measured, Table

if TYPE_CHECKING:
    from audit.datasets import Dataset
    from audit.subject import Subject

Floats = NDArray[np.float64]
RATES = ("selection_rate", "true_positive_rate")
#: rows from which the correlation of the comparisons is taken
CORRELATED = 20_000
#: rows of the table, those of the strongest changes; reversals named in words; controls drawn
SHOWN, NAMED, DRAWN = 32, 6, 14


class Comparison(NamedTuple):
    """A group against the largest one, adjusted for one control."""

    attribute: str
    group: str
    reference: str
    rate: str
    control: str
    pair: Pair
    #: (rows of the sample,) what each adds to the crude and to the adjusted difference
    crude: Floats
    adjusted: Floats

    @property
    def what(self) -> str:
        """The rate in words."""
        return self.rate.replace("_", " ")


@dataclass(frozen=True)
class Strata(Check):
    """Differences between groups, crude and adjusted.

    What it measures:
        For each protected attribute, the selection rate and the true positive rate of each group minus those of the
        largest group: first over all rows, then comparing only rows that are alike in one other variable (every other
        column of a table, numbers cut at their quartiles; for pictures and texts the other protected attributes).
    Why it matters:
        Two groups can differ because they are treated differently where they are alike, or because they stand in
        different places. Averages cannot tell which, and can even point the wrong way: Berkeley admitted fewer women
        overall, and department by department no fewer than men.
    How to read it:
        A change is the adjusted difference minus the crude one. `Reversed` means that both directions are clear of chance, and opposite. `No longer clear` means that the
        difference cannot be told from chance once rows are alike in that variable; `appears only within strata` the
        reverse. The intervals hold for all comparisons of this check at once. Adjusting for a control is not a
        justification: where the control is itself shaped by the attribute, or stands in for it, adjusting hides what
        should be found.

    References:
        Mantel and Haenszel 1959; Greenland and Robins 1985; Sato 1989; Klingenberg 2014 (the common difference); Tarone
        1985 (whether strata agree); Bickel, Hammel and O'Connell 1975 (Berkeley); Westfall and Young 1993 (many
        comparisons at once).
    """

    #: groups held against the largest one, those of most rows
    compared: int = 8
    #: groups of fewer rows, of those a rate is taken over, are compared with nobody
    least: int = 30
    #: controls taken, in the order of the columns
    controls: int = 60
    #: draws of the largest of all comparisons under no difference
    draws: int = 20_000

    efforts: ClassVar[Mapping[Effort, Mapping[str, int]]] = {Effort.QUICK: {"draws": 5_000}}

    def unfit(self, subject: Subject, data: Dataset) -> str | None:
        """Skip where nobody is to be compared, or nothing to adjust for."""
        if not data.groups:
            return NO_GROUPS
        if data.frame is None and len(data.groups) < 2:
            return "adjusting needs another variable: a table's columns, or a second protected attribute"
        return None

    def run(self, subject: Subject, data: Dataset, rng: np.random.Generator) -> Measured:
        """See the class."""
        controls, useless = self._controls(data)
        found = list(self._comparisons(subject, data, controls, rng))
        if not found:
            return Measured(
                estimates={}, notes=("No attribute has two groups that a control could be held fixed for.",)
            )
        z = self._critical(found, rng)
        changes = [part.pair.change(z) for part in found]
        order = sorted(range(len(found)), key=lambda i: _sureness(changes[i]), reverse=True)
        estimates: dict[str, Estimate] = {}
        headline, strongest, warnings = [], list[str](), list[str]()
        for attribute in dict.fromkeys(part.attribute for part in found):
            own = [i for i in order if found[i].attribute == attribute]
            for rate in RATES:
                at = next((i for i in own if found[i].rate == rate), None)
                if at is None:
                    continue
                estimates |= {
                    f"{rate}_crude_difference@{attribute}": found[at].pair.crude(z),
                    f"{rate}_adjusted_difference@{attribute}": found[at].pair.difference(z),
                    f"{rate}_change@{attribute}": changes[at],
                }
                headline.append(f"{rate}_change@{attribute}")
                strongest.append(_sentence(found[at], "brings the strongest change", z))
            reversed_ = [found[i] for i in own if found[i].pair.finding(z) is Finding.REVERSED]
            estimates[f"reversals@{attribute}"] = exact(len(reversed_), len(own), method="comparisons that reverse")
            warnings += [_sentence(part, "reverses the direction", z) for part in reversed_[:NAMED]]
        favourable = data.classes[positive(data)]
        return Measured(
            estimates=estimates,
            headline=tuple(headline),
            tables=(_table(found, order, z),),
            figures=tuple(_figure(found, order, name, z) for name in dict.fromkeys(p.attribute for p in found))[:2],
            notes=(
                f"The favourable class is {favourable!r}. Every group is held against the largest one of its attribute.",
                "Adjusting for a control is not a justification: a control that the attribute shapes, or that stands in "
                "for it, hides what should be found.",
                *(warnings or ("No control reverses the direction of a difference beyond chance.",)),
                *strongest,
                *((f"Not used as controls, as no two rows are alike: {', '.join(useless)}.",) if useless else ()),
                *withheld(data),
            ),
        )

    def _controls(self, data: Dataset) -> tuple[dict[str, Levels], list[str]]:
        """Every variable to adjust for, by name, and those of which no two rows are alike."""
        columns = {name: np.asarray(values) for name, values in data.groups.items()}
        if data.frame is not None:
            named = {str(name): name for name in data.frame.columns if str(name) != data.label}
            columns |= {name: data.frame[key].to_numpy() for name, key in named.items() if name not in columns}
        found, useless = dict[str, Levels](), list[str]()
        for name, values in list(columns.items())[: self.controls]:
            cut = groups(data)[name] if name in data.groups else levels(values)
            if cut.sizes().max(initial=0) < 2:
                useless.append(name)
            elif len(cut.names) > 1:
                found[name] = cut
        return found, useless

    def _comparisons(
        self, subject: Subject, data: Dataset, controls: dict[str, Levels], rng: np.random.Generator
    ) -> Iterator[Comparison]:
        true, answer, at = data.labels.numpy(), subject.scores(data).argmax(1).numpy(), positive(data)
        n = len(true)
        rows = np.arange(n) if n <= CORRELATED else np.sort(rng.choice(n, CORRELATED, replace=False))
        hit = (answer[rows] == at).astype(np.int64)
        for attribute, own in groups(data).items():
            ranked = np.argsort(-own.sizes(), kind="stable")[: self.compared + 1].tolist()
            for control, other in controls.items():
                keep = (own.code >= 0) & (other.code >= 0)
                if control == attribute or len(ranked) < 2 or not keep.any():
                    continue
                cube = Cube.count(
                    true[keep],
                    answer[keep],
                    {attribute: own.code[keep], control: other.code[keep]},
                    classes=range(len(data.classes)),
                    positive=at,
                )
                for rate in RATES:
                    given = keep[rows] if rate == RATES[0] else keep[rows] & (true[rows] == at)
                    table = strata.Strata.of(cube, rate, attribute)
                    place = np.zeros(len(other.names), dtype=np.int64)
                    place[np.array(table.strata, dtype=np.int64)] = np.arange(len(table.strata))
                    for group in ranked[1:]:
                        if not {group, ranked[0]} <= set(table.groups):
                            continue
                        pair = table.pair(group, ranked[0])
                        if min(pair.n.sum(), pair.m.sum()) < self.least:
                            continue
                        code = own.code[rows]
                        side = np.where(code == group, 0, 1)
                        cell = side, hit
                        counted = given & ((code == group) | (code == ranked[0]))
                        crude = np.where(counted, pair.crude_influence()[cell], 0.0)
                        adjusted = np.where(counted, pair.influence()[(place[other.code[rows]], *cell)], 0.0)
                        names = own.names[group], own.names[ranked[0]]
                        yield Comparison(attribute, *names, rate, control, pair, crude, adjusted)

    def _critical(self, found: list[Comparison], rng: np.random.Generator) -> float:
        """One critical value for every crude and adjusted difference and every change (max-T)."""
        parts = [np.stack([part.crude, part.adjusted, part.adjusted - part.crude]) for part in found]
        return critical(np.concatenate(parts), rng, self.draws)


def _sureness(change: Estimate) -> tuple[float, float]:
    """How large a change surely is; ties by its size."""
    if change.value is None or change.low is None or change.high is None:
        return -1.0, 0.0
    return max(change.low, -change.high, 0.0), abs(change.value)


def _sentence(part: Comparison, does: str, z: float) -> str:
    crude, adjusted = part.pair.crude(z).value, part.pair.difference(z).value
    if crude is None or adjusted is None:
        return f"{part.control} cannot be held fixed for {part.group} and {part.reference}: they share no level of it."
    return (
        f"{part.control} {does}: the {part.what} of {part.group} is {_points(crude)} that of {part.reference} over all "
        f"rows, and {_points(adjusted)} it among rows of like {part.control} ({part.pair.finding(z)})."
    )


def _points(difference: float) -> str:
    return f"{abs(difference) * 100:.1f} points {'above' if difference > 0 else 'below'}"


def _table(found: list[Comparison], order: list[int], z: float) -> Table:
    rows = list[tuple[Cell, ...]]()
    for part in (found[i] for i in order[:SHOWN]):
        same = part.pair.homogeneity()
        rows.append(
            (
                part.attribute,
                part.what,
                f"{part.group} - {part.reference}",
                part.control,
                percent(part.pair.kept),
                part.pair.crude(z),
                part.pair.difference(z),
                str(part.pair.finding(z)),
                None if same is None else told(same),
            )
        )
    return Table(
        title="Differences, crude and among rows alike in one control",
        columns=(
            "attribute",
            "rate",
            "groups",
            "alike in",
            "rows compared",
            "crude difference",
            "adjusted difference",
            "direction",
            "p, levels agree",
        ),
        rows=tuple(rows),
        note=f"The strongest changes first; {len(rows)} of {len(found)} comparisons. Intervals hold for all of them at "
        "once. Rows compared: those in levels of the control that hold both groups. Where levels do not agree (a small "
        "p), the adjusted difference is an average of unlike ones.",
    )


def _figure(found: list[Comparison], order: list[int], attribute: str, z: float) -> Bars:
    """The difference that changes most, adjusted for each control."""
    first = next(found[i] for i in order if found[i].attribute == attribute)
    own = [found[i] for i in order if found[i][:4] == first[:4]][:DRAWN]
    bars = []
    for part in own:
        adjusted = part.pair.difference(z)
        if adjusted.value is not None:
            bars.append(Bar(label=part.control, value=adjusted.value, low=adjusted.low, high=adjusted.high))
    return Bars(
        title=f"{first.what.capitalize()} of {first.group} minus {first.reference}, adjusted",
        x_title="difference among rows alike in the control",
        bars=tuple(bars),
        reference=first.pair.crude(z).value,
        percent=True,
        note="The line is the difference over all rows. Intervals hold for all comparisons at once.",
    )
