"""What may change in a data set's table, as the attack on tables wants it and as people read it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from audit.checks.robustness._space import moments
from audit.datasets import FeatureKind
from reports.record import Cell, Table

if TYPE_CHECKING:
    from torch import Tensor

    from attacks.tabular import Number
    from attacks.tabular import Table as Description
    from audit.datasets import Dataset, Feature


@dataclass(frozen=True)
class Layout:
    """A table under attack.

    Attributes:
        table: for `attacks.table_search`.
        deviations: numeric column -> one standard deviation, in its own unit.
    """

    table: Description
    deviations: dict[str, float]

    def reach(self, eps: float) -> dict[str, float]:
        """How far each numeric column may move, in its own unit, at `eps` deviations."""
        return {name: eps * deviation for name, deviation in self.deviations.items()}

    @property
    def whole(self) -> list[str]:
        """Numeric columns that hold whole numbers."""
        return [c.name for c in self.table.numbers if c.whole]

    def rules(self, budgets: Sequence[float]) -> Table:
        """What each column may become, in its own unit."""
        rows: list[tuple[Cell, ...]] = []
        for column in self.table.columns:
            if column not in self.table.numbers:
                kind, choices = "category", sum(getattr(column, "allowed", None) or ())
                cells: list[Cell] = ["to another" if column.mutable else "never"] * len(budgets)
                rows.append((column.name, kind, f"{choices} observed", *cells))
                continue
            number = next(c for c in self.table.numbers if c is column)
            moves = [_within(number, eps * self.deviations[number.name]) for eps in budgets]
            seen = f"{number.low:.6g} to {number.high:.6g}"
            rows.append((number.name, "whole number" if number.whole else "number", seen, *moves))
        return Table(
            title="What an attack may change",
            columns=("column", "holds", "values", *(f"at {eps:.4g} deviations" for eps in budgets)),
            rows=tuple(rows),
            note="Numbers move by at most so much, in the column's own unit, and stay among the values seen in training.",
        )


def _within(number: Number, reach: float) -> str:
    if not number.mutable or (number.whole and reach < 1):
        return "never" if not number.mutable else "too little for a whole step"
    return f"± {int(reach) if number.whole else reach:.4g}"


def layout(data: Dataset) -> Layout:
    """How the table is encoded, with units, ranges, whole numbers and categories as the training rows show them."""
    from attacks.tabular import Category, Number
    from attacks.tabular import Table as Description

    known = (data if data.train is None else data.train).inputs
    assert not isinstance(known, list)
    _, scale = moments(data)
    columns: list[Number | Category] = []
    deviations = {}
    for feature in data.features:
        at = feature.columns
        if feature.kind is FeatureKind.NUMERIC:
            values, whole = _raw(data, feature, known)
            low, high = float(values.min()), float(values.max())
            columns.append(
                Number(feature.name, at[0], feature.mean, feature.std, low, high, whole=whole, mutable=feature.mutable)
            )
            deviations[feature.name] = float(scale[at[0]]) * feature.std
        else:
            seen = (known[:, list(at)] > 0.5).any(0).tolist()
            columns.append(Category(feature.name, at, tuple(seen), mutable=feature.mutable))
    return Layout(Description(tuple(columns), data.constraints), deviations)


def _raw(data: Dataset, feature: Feature, known: Tensor) -> tuple[np.ndarray[tuple[int], np.dtype[np.float64]], bool]:
    """A numeric column's training values in its own unit, and whether they are whole numbers."""
    import pandas as pd

    frame = (data if data.train is None else data.train).frame
    if frame is not None and feature.name in frame:
        values = pd.to_numeric(frame[feature.name], errors="coerce").dropna().to_numpy(np.float64)
        if len(values):
            return values, bool((values == np.round(values)).all())
    from attacks.tabular import Number
    from attacks.tabular import Table as Description

    column = Number(feature.name, feature.columns[0], feature.mean, feature.std, whole=True)
    values = Description((column,)).raw(known)[:, 0].cpu().numpy()
    return values, bool((values == np.round(values)).all())
