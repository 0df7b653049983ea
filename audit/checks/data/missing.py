"""Values that are missing, unknown or without information."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from audit import statistics
from audit.check import Check
from audit.checks.data._rows import splits
from audit.subject import Modality
from reports.record import Bar, Bars, Cell, Estimate, Measured, Table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from audit.datasets import Dataset
    from audit.subject import Subject


@dataclass(frozen=True)
class Missing(Check):
    """Missing values.

    What it measures:
        The share of rows with a missing value in any column, and the share in each column that has any. For tables
        also the share of rows with a category the encoder does not know, and the number of columns with one value
        only; for texts and images the share of inputs without content (an empty text, an image of one colour).
    Why it matters:
        A missing number is replaced by the mean and a missing or unknown category by all zeros, so the model answers
        on a guess. If values are missing more often in one split or one group, the audit compares guesses with data.
    How to read it:
        Compare the splits: a column that is complete in training and patchy in the test data is a fault of
        collection. Unknown categories ask for an encoder fitted on more data. A constant column carries nothing and
        can be left out. Values such as 0, -1, 999 or "?" that stand for missing ones are not recognised here.

    References:
        Rubin 1976 (why it matters how values come to be missing); Wilson 1927 (intervals).
    """

    shown: int = 40

    def run(self, subject: Subject, data: Dataset, rng: np.random.Generator) -> Measured:
        """See the class."""
        estimates: dict[str, Estimate] = {}
        per_column: dict[str, dict[str, NDArray[np.bool_]]] = {}
        notes: list[str] = []
        for split, part in splits(data).items():
            columns = _gaps(part)
            per_column[split] = columns
            any_gap = np.logical_or.reduce(list(columns.values())) if columns else np.zeros(len(part), dtype=np.bool_)
            estimates[f"rows_with_missing@{split}"] = _share(any_gap)
            if part.modality is Modality.TABULAR:
                unknown = _unknown(part)
                any_unknown = np.logical_or.reduce([np.zeros(len(part), dtype=np.bool_), *unknown.values()])
                estimates[f"rows_with_unknown_category@{split}"] = _share(any_unknown)
                constant = _constant(part)
                estimates[f"constant_columns@{split}"] = statistics.exact(len(constant), len(part), "columns")
                notes += [f"Constant in the {split} data: {', '.join(constant)}."] if constant else []
                notes += [
                    f"Unknown categories in {name!r} of the {split} data."
                    for name, rows in unknown.items()
                    if rows.any()
                ]
            else:
                estimates[f"blank_inputs@{split}"] = _share(_blank(part))
        patchy = [c for c in per_column["test"] if any(found[c].any() for found in per_column.values() if c in found)]
        patchy.sort(key=lambda c: -int(per_column["test"][c].sum()))
        if len(patchy) > self.shown:
            notes.append(f"Only the {self.shown} columns with the most missing values, of {len(patchy)}, are listed.")
            patchy = patchy[: self.shown]
        rows: list[tuple[Cell, ...]] = []
        for column in patchy:
            found = [_share(columns[column]) if column in columns else None for columns in per_column.values()]
            rows.append((column, *found))
            estimates[f"missing@column={column}"] = _share(per_column["test"][column])
        if not patchy:
            notes.append("No value is missing in any column.")
        return Measured(
            estimates=estimates,
            headline=tuple(name for name in estimates if name.endswith("@test")),
            tables=(Table(title="Missing values by column", columns=("column", *per_column), rows=tuple(rows)),)
            if rows
            else (),
            figures=(_bars(patchy, per_column),) if patchy else (),
            notes=tuple(notes),
        )


def _share(rows: NDArray[np.bool_]) -> Estimate:
    return statistics.proportion(int(rows.sum()), len(rows))


def _gaps(data: Dataset) -> dict[str, NDArray[np.bool_]]:
    """Column -> which rows have no value; for texts and images the protected columns and the text are known."""
    if data.frame is not None:
        return {str(c): data.frame[c].isna().to_numpy() for c in data.frame.columns}
    return {name: np.array([v is None for v in values], dtype=np.bool_) for name, values in data.groups.items()}


def _unknown(data: Dataset) -> dict[str, NDArray[np.bool_]]:
    """Categorical feature -> rows whose value is there but has no position in the encoded vector."""
    values = np.asarray(data.inputs)
    out = {}
    for feature in data.features:
        if feature.categories:
            silent = values[:, list(feature.columns)].sum(axis=1) == 0
            present = np.ones(len(data), dtype=np.bool_)
            if data.frame is not None:
                present = data.frame[feature.name].notna().to_numpy()
            out[feature.name] = silent & present
    return out


def _constant(data: Dataset) -> list[str]:
    """Names of the encoded columns' features that take one value only."""
    values = np.asarray(data.inputs)
    same = (values == values[:1]).all(axis=0)
    return [f.name for f in data.features if same[list(f.columns)].all()]


def _blank(data: Dataset) -> NDArray[np.bool_]:
    if isinstance(data.inputs, list):
        return np.array([not text.strip() for text in data.inputs], dtype=np.bool_)
    flat = data.inputs.flatten(1)
    return np.asarray((flat == flat[:, :1]).all(dim=1))


def _bars(columns: list[str], per_column: dict[str, dict[str, NDArray[np.bool_]]]) -> Bars:
    bars = []
    for split, found in per_column.items():
        for column in columns:
            if column in found:
                share = _share(found[column])
                assert share.value is not None
                bars.append(Bar(label=column, value=share.value, low=share.low, high=share.high, series=split))
    return Bars(title="Missing values by column", x_title="share of rows", bars=tuple(bars), percent=True)
