"""Published definitions of fairness, by their names and numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from audit.check import Check
from audit.checks.fairness._groups import withheld
from audit.checks.fairness._published import Rows, counted, demands, excluding, impact_ratios, within
from audit.errors import DataError, nearest
from audit.fairness.attributes import NO_GROUPS, Levels, cross, groups, levels, positive
from audit.fairness.counting.cube import Cube
from audit.fairness.definitions import published as definitions
from audit.fairness.definitions.impossibility import Exclusion
from audit.fairness.definitions.published import DEFINITIONS, Distance
from audit.statistics import undefined
from reports.record import Bar, Bars, Estimate, Measured, Table

if TYPE_CHECKING:
    from audit.datasets import Dataset
    from audit.subject import Subject

#: groups listed in all tables of one kind, and in each at least
LISTED, LEAST = 32, 4


@dataclass(frozen=True)
class Definitions(Check):
    """Published definitions of fairness.

    What it measures:
        For each protected attribute, how far the groups are from equal under ten published definitions, and, where the
        groups' true rates differ, which definitions cannot hold together and what each would demand. For the attributes
        and their intersections, the impact ratios of the United States' Uniform Guidelines (29 CFR 1607.4(D), four
        fifths) and of New York City's Local Law 144 (selection, and scoring above the median).
    Why it matters:
        `Fair` means different things in different papers and laws, and for a model that errs they exclude each other
        as soon as true rates differ. Naming the definition that a use needs is a decision for people; this check lays
        out what the model does under each.
    How to read it:
        A definition is broken where the difference is significant; significance holds over all groups and all
        definitions of an attribute at once. The groups named, the one with the lower rate first, stand apart most
        clearly, or may be farthest apart where none do. A ratio below four fifths counts against the numbers behind it: the
        guidelines ask for significance too, and set small numbers aside. Local Law 144 asks for the numbers and sets no
        pass mark, so none is applied. Ratios depend on what is called the favourable answer; that of the unfavourable
        answer stands beside it.

    References:
        Dwork et al. 2012; Hardt, Price and Srebro 2016; Chouldechova 2017; Kleinberg, Mullainathan and Raghavan 2016;
        Berk et al. 2021; Corbett-Davies et al. 2017; 29 CFR 1607.4(D); New York City Administrative Code 20-870 and
        6 RCNY 5-300 to 5-304; Holm 1979.
    """

    #: 1: single attributes only; 2: their intersections too, which Local Law 144 asks for
    depth: int = 2
    #: columns that a difference may legitimately rest on, for conditional statistical parity
    legitimate: tuple[str, ...] = ()

    def unfit(self, subject: Subject, data: Dataset) -> str | None:
        """Skip where nobody is to be compared."""
        return None if data.groups else NO_GROUPS

    def run(self, subject: Subject, data: Dataset, rng: np.random.Generator) -> Measured:
        """See the class."""
        scores = subject.scores(data)
        at = positive(data)
        rows = Rows(
            data.labels.numpy(),
            scores.argmax(1).numpy(),
            scores.double().softmax(1)[:, at].numpy(),
            range(len(data.classes)),
            at,
        )
        grounds = self._grounds(data)
        estimates: dict[str, Estimate] = {}
        tables, notes, bars, headline = list[Table](), list[str](), list[Bar](), list[str]()
        sets = groups(data, self.depth)
        excluded = dict[str, tuple[Exclusion, ...]]()
        most = max(LEAST, LISTED // len(sets))
        for attribute, own in sets.items():
            cube = counted(rows, own, own.code >= 0)
            if len(cube.groups) < 2:
                continue
            if attribute in data.groups:
                distances = self._distances(rows, own, cube, grounds)
                tables.append(_defined(attribute, distances))
                estimates |= {f"{_word(name)}_difference@{attribute}": one.estimate for name, one in distances.items()}
                bars += _bars(attribute, distances)
                headline += [f"equalised_odds_difference@{attribute}", f"impact_ratio@{attribute}"]
                demanded, excluded[attribute], said = demands(attribute, cube, most)
                tables += demanded
                notes.append(said)
            ratios, smallest = impact_ratios(attribute, rows, own, most)
            tables.append(ratios)
            estimates |= smallest
        tables += [*excluding(excluded), _named()]
        return Measured(
            estimates=estimates,
            headline=tuple(headline),
            tables=tuple(tables),
            figures=(
                Bars(
                    title="Distance from each definition",
                    x_title="largest difference between groups",
                    bars=tuple(bars),
                    percent=True,
                    note="An interval that reaches 0 may be chance.",
                ),
            )
            if bars
            else (),
            notes=(_orientation(data, at), *notes, _law(data), *withheld(data)),
        )

    def _distances(self, rows: Rows, own: Levels, cube: Cube, grounds: Levels | None) -> dict[str, Distance]:
        """Every definition's distance from equal."""
        found = {}
        for definition in DEFINITIONS:
            if definition.name == definitions.CALIBRATION:
                bins = definitions.score_bins(rows.score)
                found[definition.name] = within(rows, own, Levels(bins, ()), "base_rate")
            elif definition.name == definitions.CONDITIONAL:
                found[definition.name] = (
                    Distance(undefined("no column is declared legitimate; set `legitimate`"), None, None)
                    if grounds is None
                    else within(rows, own, grounds, "selection_rate")
                )
            else:
                found[definition.name] = definitions.distance(cube, definition)
        return found

    def _grounds(self, data: Dataset) -> Levels | None:
        """The combinations of the legitimate columns."""
        if not self.legitimate:
            return None
        known = {**({} if data.frame is None else {str(c): data.frame[c].to_numpy() for c in data.frame.columns})}
        known |= dict(data.groups)
        for name in self.legitimate:
            if name not in known or name == data.label:
                raise DataError(f"Expected legitimate to name a column, found {name!r}{nearest(name, known)}")
        return cross([levels(known[name]) for name in self.legitimate])


def _word(name: str) -> str:
    return name.replace(" ", "_")


def _defined(attribute: str, found: dict[str, Distance]) -> Table:
    """One table a protected attribute."""
    clear = definitions.significant({name: one.p for name, one in found.items()})
    return Table(
        title=f"Definitions by {attribute}",
        columns=("definition", "largest difference", "clearest between", "significant"),
        rows=tuple(
            (
                name,
                one.estimate,
                "" if one.groups is None else " and ".join(str(group) for group in one.groups),
                "-" if one.estimate.value is None else "yes" if clear[name] else "no",
            )
            for name, one in found.items()
        ),
        note="The group with the lower rate stands first. The intervals hold over all groups; significance holds over all "
        "definitions too (Holm).",
    )


def _bars(attribute: str, found: dict[str, Distance]) -> list[Bar]:
    known = ((name, one.estimate) for name, one in found.items())
    return [
        Bar(label=name, value=e.value, low=e.low, high=e.high, series=attribute)
        for name, e in known
        if e.value is not None
    ]


def _named() -> Table:
    return Table(
        title="What the definitions ask to be equal between groups",
        columns=("definition", "asks to be equal", "source"),
        rows=tuple((one.name, one.compares, one.source) for one in DEFINITIONS),
    )


def _orientation(data: Dataset, at: int) -> str:
    rest = " The other classes together are the refusal." if len(data.classes) > 2 else ""
    if data.favourable is not None:
        return f"The favourable answer is {data.classes[at]!r}, declared.{rest}"
    return (
        f"The favourable answer is taken to be {data.classes[at]!r}, the last class, as none is declared: where it harms, "
        f"declare data.favourable, and every ratio turns.{rest}"
    )


def _law(data: Dataset) -> str:
    return (
        "Local Law 144 asks for categories of sex, of race and ethnicity, and of both crossed; declared are "
        f"{', '.join(data.groups)}. It sets no pass mark, and whether it applies is not for this check to say."
    )
