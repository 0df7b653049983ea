"""Who is in the data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from audit import statistics
from audit.check import Check
from audit.checks.data._rows import splits
from audit.checks.fairness._groups import withheld
from audit.fairness.attributes import NO_GROUPS, crossed, group_name, positive
from reports.record import Bar, Bars, Cell, Estimate, Figure, Measured, Table

if TYPE_CHECKING:
    from audit.datasets import Dataset
    from audit.fairness import Cube
    from audit.subject import Subject


@dataclass(frozen=True)
class Representation(Check):
    """Representation of protected groups.

    What it measures:
        For each group of each protected attribute, and for their intersections: its share of the rows, how that
        differs between test and training data, and its base rate, the share of the group whose true label is the
        favourable class (the last class where none is declared). Per attribute also the rows of the smallest group
        and the largest difference of base rates, with an interval that holds for all pairs of groups at once.
    Why it matters:
        A model learns little about groups it rarely saw, and an audit can say little about them. Where base rates
        differ, fairness criteria contradict each other, and a choice between them has to be argued.
    How to read it:
        A group of fewer than about 100 rows gives intervals wider than 20 points, too wide for most fairness gates.
        Compare shares with the people the model will be used on, not with equality. A difference of base rates may
        be a fact of the world, of the sampling, or of biased labels: the data alone cannot tell which.

    References:
        Kleinberg, Mullainathan and Raghavan 2017 (criteria that contradict); Wilson 1927 and Newcombe 1998
        (intervals); Buolamwini and Gebru 2018 (intersections).
    """

    #: 1: single attributes only; 2: their intersection too
    depth: int = 2
    shown: int = 40

    def unfit(self, subject: Subject, data: Dataset) -> str | None:
        """Skip where nobody is to be counted."""
        return None if data.groups else NO_GROUPS

    def run(self, subject: Subject, data: Dataset, rng: np.random.Generator) -> Measured:
        """See the class."""
        estimates: dict[str, Estimate] = {}
        headline: list[str] = []
        tables, figures, notes = [], list[Figure](), list[str]()
        cubes = _cubes(splits(data), self.depth)
        for attribute, cube in cubes["test"].items():
            base = cube.rate("base_rate")
            sizes = {group: rate.n for group, rate in base.items()}
            smallest = min(sizes.values())
            estimates[f"smallest_group@{attribute}"] = statistics.exact(smallest, len(data), "rows")
            estimates[f"base_rate_gap@{attribute}"] = cube.disparity("base_rate")
            headline += [f"smallest_group@{attribute}", f"base_rate_gap@{attribute}"]
            train = (
                {g: r.n for g, r in cubes["train"][attribute].rate("base_rate").items()} if "train" in cubes else None
            )
            order = sorted(sizes, key=lambda group: -sizes[group])
            if len(order) > self.shown:
                notes.append(f"Of the {len(order)} groups of {attribute}, the {self.shown} smallest are listed.")
                order = order[-self.shown :]
            rows: list[tuple[Cell, ...]] = []
            bars: list[Bar] = []
            for group in order:
                name = group_name(group)
                share = statistics.proportion(sizes[group], len(data))
                estimates[f"share@{attribute}={name}"] = share
                estimates[f"base_rate@{attribute}={name}"] = base[group]
                bars += _bar(name, share, "test")
                cells: list[Cell] = [name, sizes[group], share]
                if train is not None and data.train is not None:
                    trained = statistics.proportion(train.get(group, 0), len(data.train))
                    shift = statistics.difference(share, trained)
                    estimates[f"share_gap@{attribute}={name}"] = shift
                    bars += _bar(name, trained, "train")
                    cells += [trained, shift]
                rows.append((*cells, base[group]))
            tables.append(
                Table(
                    title=f"Groups of {attribute}",
                    columns=(
                        "group",
                        "rows",
                        "share",
                        *(("share in training", "difference") if train is not None else ()),
                        "base rate",
                    ),
                    rows=tuple(rows),
                    note=f"Base rate: share of the group whose true label is {data.classes[positive(data)]!r}.",
                )
            )
            figures.append(
                Bars(
                    title=f"Share of each group of {attribute}", x_title="share of rows", bars=tuple(bars), percent=True
                )
            )
        return Measured(
            estimates=estimates,
            headline=tuple(headline),
            tables=tuple(tables),
            figures=tuple(figures),
            notes=(*notes, *withheld(data)),
        )


def _cubes(parts: Mapping[str, Dataset], depth: int) -> dict[str, dict[str, Cube]]:
    """One cube a split and attribute; the labels stand for the predictions, which play no part here.

    Groups are made over all splits together, so that numbers are cut at the same places.
    """
    from audit.fairness import Cube

    first = next(iter(parts.values()))
    named = [name for name in first.groups if all(name in part.groups for part in parts.values())]
    columns = {name: np.concatenate([part.groups[name] for part in parts.values()]) for name in named}
    of = np.repeat(np.arange(len(parts)), [len(part) for part in parts.values()])
    found = crossed(columns, depth, smallest=first.smallest_group, part=of, cuts=first.cuts)
    out: dict[str, dict[str, Cube]] = {}
    start = 0
    for split, part in parts.items():
        labels, own = part.labels.numpy(), slice(start, start + len(part))
        start += len(part)
        out[split] = {
            name: Cube.count(
                labels, labels, groups.column()[own], classes=range(len(part.classes)), positive=positive(part)
            )
            for name, groups in found.items()
        }
    return out


def _bar(name: str, share: Estimate, series: str) -> list[Bar]:
    return (
        []
        if share.value is None
        else [Bar(label=name, value=share.value, low=share.low, high=share.high, series=series)]
    )
