"""Duplicates within a split, and leakage from the training data into the test data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from audit import statistics
from audit.check import Check, Effort
from audit.checks.data._near import Close, coordinates, near_images, near_points, near_texts
from audit.checks.data._pairs import Pair, pair_figures, pair_table
from audit.checks.data._rows import conflicting, fingerprints, records, repeated, splits
from audit.subject import Modality
from reports.record import Bar, Bars, Estimate, Measured

if TYPE_CHECKING:
    from audit.datasets import Dataset
    from audit.subject import Subject


@dataclass(frozen=True)
class Duplicates(Check):
    """Duplicates and leakage.

    What it measures:
        The share of test rows whose input also stands in the training data, exactly (exact leakage) or nearly (near
        leakage, exact included), and the share of rows in each split that have such a twin in their own split. Inputs
        are the same when the model sees the same: for tables the encoded row, for texts the text up to case and
        spaces, for images the pixels. They are nearly the same when, in a table, all categories agree and the numbers
        lie within a tenth of a standard deviation; when two texts share 80 % of their runs of five characters
        (Jaccard); when two images correlate to 0.98 after brightness and contrast are removed. Excess leakage is
        leakage minus the share of training rows with a twin in the training data: coincidence alone makes both equal.
        Conflicts are rows whose exact twin carries another label. For tables, record leakage counts the test rows
        whose whole row as read, label and unused columns included, stands in the training data.
    Why it matters:
        A model that has seen the test rows in training is examined on answers it was shown: accuracy, calibration and
        robustness all look better than they are. Repeated rows within a split weigh more than others and make every
        interval too narrow. Twins with different labels bound the accuracy any model can reach.
    How to read it:
        Exact leakage in texts or images is a mistake in splitting: remove the rows, or split by source before
        anything else. In a table of few columns, twins arise by chance; look at excess leakage, which is near 0 where
        rows were split at random, and at record leakage. A negative excess points to rows repeated in training
        (oversampling). Look at the pairs shown: they tell whether the twins are real.

    References:
        Barz and Denzler 2020 (duplicates in image benchmarks); Broder 1997 (shingles and Jaccard similarity); Kapoor
        and Narayanan 2023 (leakage).
    """

    queries: int = 10_000
    references: int = 50_000
    distance: float = 0.1
    correlation: float = 0.98
    jaccard: float = 0.8
    characters: int = 1000
    shown: int = 10

    efforts: ClassVar[Mapping[Effort, Mapping[str, Any]]] = {
        Effort.QUICK: {"queries": 2000, "references": 10_000, "characters": 400},
        Effort.EXHAUSTIVE: {"queries": 100_000, "references": 500_000, "characters": 10_000},
    }

    def run(self, subject: Subject, data: Dataset, rng: np.random.Generator) -> Measured:
        """See the class."""
        parts = {name: _Part(part, self, rng) for name, part in splits(data).items()}
        test, train = parts["test"], parts.get("train")
        estimates: dict[str, Estimate] = {}
        notes: list[str] = []
        leaked = self._leakage(test, train, estimates)
        within: dict[str, Close] = {}
        for name, part in parts.items():
            twins = repeated(part.prints)
            within[name] = self._close(part, part)
            estimates[f"exact_duplicates@{name}"] = statistics.proportion(int(twins.sum()), len(twins))
            near = twins[part.query] | (within[name][0] >= 0)
            estimates[f"near_duplicates@{name}"] = statistics.proportion(int(near.sum()), len(near))
            split = conflicting(part.prints, part.data.labels.numpy())
            estimates[f"conflicts@{name}"] = statistics.proportion(int(split.sum()), len(split))
            notes += part.notes(name, self.characters)
        if train is None:
            notes.append("No training data was given, so leakage could not be looked for.")
        else:
            for kind in ("exact", "near"):
                estimates[f"excess_leakage@{kind}"] = statistics.difference(
                    estimates[f"{kind}_leakage"], estimates[f"{kind}_duplicates@train"]
                )
        if train is not None and leaked:
            pairs, twin_of, title = leaked, train.data, "Test rows and their twins in the training data"
        else:
            pairs, twin_of = _pairs(test, test, within["test"], self.shown), data
            title = "Twins within the test data"
        return Measured(
            estimates=estimates,
            headline=(
                *(("exact_leakage", "near_leakage", "excess_leakage@near") if train else ()),
                "near_duplicates@test",
            ),
            tables=(pair_table(pairs, data, twin_of, title),) if pairs else (),
            figures=(_bars(estimates), *pair_figures(pairs, data, twin_of, title)),
            notes=tuple(notes),
        )

    def _leakage(self, test: _Part, train: _Part | None, estimates: dict[str, Estimate]) -> list[Pair]:
        if train is None:
            return []
        exact = np.isin(test.prints, train.prints)
        close = self._close(test, train)
        near = exact[test.query] | (close[0] >= 0)
        estimates["exact_leakage"] = statistics.proportion(int(exact.sum()), len(exact))
        estimates["near_leakage"] = statistics.proportion(int(near.sum()), len(near))
        if test.data.frame is not None and train.data.frame is not None:
            copied = np.isin(records(test.data.frame), records(train.data.frame))
            estimates["record_leakage"] = statistics.proportion(int(copied.sum()), len(copied))
        return _pairs(test, train, close, self.shown)

    def _close(self, part: _Part, other: _Part) -> Close:
        """The closest row of `other` that is near a queried row of `part` but not its exact twin."""
        identical = _positions(part.prints[part.query], other.prints[other.reference])
        if part.data.modality is Modality.TABULAR:
            points = coordinates([part.data, other.data], self.distance)
            return near_points(points[0][part.query], points[1][other.reference], identical, self.distance)
        a, b = part.data.inputs, other.data.inputs
        if isinstance(a, list) and isinstance(b, list):
            queries, references = [a[i] for i in part.query], [b[i] for i in other.reference]
            return near_texts(queries, references, identical, self.jaccard, self.characters)
        assert not isinstance(a, list) and not isinstance(b, list)
        return near_images(a[part.query], b[other.reference], identical, self.correlation)


class _Part:
    """One split with its fingerprints, the distinct rows that are searched and the rows that are looked up."""

    def __init__(self, data: Dataset, check: Duplicates, rng: np.random.Generator) -> None:
        self.data = data
        self.prints = fingerprints(data.inputs)
        _, first = np.unique(self.prints, return_index=True)
        self.distinct = len(first)
        self.reference = np.sort(_sample(first, check.references, rng))
        self.query = np.sort(_sample(np.arange(len(data)), check.queries, rng))

    def notes(self, name: str, characters: int) -> list[str]:
        """What was sampled or cut."""
        out = []
        long = sum(len(text) > characters for text in self.data.inputs) if isinstance(self.data.inputs, list) else 0
        if long:
            out.append(f"Near twins were judged by the first {characters} characters; {long} {name} texts are longer.")
        if len(self.query) < len(self.data):
            out.append(f"Near twins of the {name} data were sought for {len(self.query)} of {len(self.data)} rows.")
        if len(self.reference) < self.distinct:
            out.append(
                f"They were sought among {len(self.reference)} of {self.distinct} distinct {name} rows, so near shares "
                f"that refer to this split are lower bounds; exact shares are complete."
            )
        return out


def _sample(rows: NDArray[np.int64], n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    return rows if n >= len(rows) else rng.choice(rows, size=n, replace=False)


def _positions(prints: NDArray[np.uint64], among: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Where each fingerprint stands among distinct others, -1 where it does not."""
    order = np.argsort(among)
    at = np.minimum(np.searchsorted(among, prints, sorter=order), len(among) - 1)
    found = order[at]
    return np.where(among[found] == prints, found, -1)


def _pairs(part: _Part, other: _Part, close: Close, shown: int) -> list[Pair]:
    """Up to `shown` pairs, the exact twins first, then the closest near ones, no pair twice."""
    first: dict[Any, int] = {}
    pairs: list[Pair] = []
    same = part is other
    for row, mark in enumerate(other.prints.tolist()):
        if mark not in first:
            first[mark] = row
        elif same and len(pairs) < shown:
            pairs.append(Pair(row, first[mark], "exact"))
    if not same:
        twins = ((row, first.get(mark)) for row, mark in enumerate(part.prints.tolist()))
        pairs = [Pair(row, at, "exact") for row, at in twins if at is not None][:shown]
    partner, closeness = close
    found = np.flatnonzero(partner >= 0)
    smaller_is_closer = part.data.modality is Modality.TABULAR
    for i in found[np.argsort(closeness[found] if smaller_is_closer else -closeness[found], kind="stable")]:
        pair = Pair(int(part.query[i]), int(other.reference[partner[i]]), f"{closeness[i]:.3f}")
        mirrored = same and any((p.row, p.twin) == (pair.twin, pair.row) for p in pairs)
        if len(pairs) < shown and not mirrored:
            pairs.append(pair)
    return pairs


def _bars(estimates: dict[str, Estimate]) -> Bars:
    return Bars(
        title="Rows with a twin",
        x_title="share of rows",
        bars=tuple(
            Bar(label=name.replace("_", " ").replace("@", " in "), value=e.value, low=e.low, high=e.high)
            for name, e in estimates.items()
            if e.value is not None and not name.startswith("excess")
        ),
        percent=True,
        note="Leakage: test rows with a twin in the training data. Duplicates: rows with a twin in their own split.",
    )
