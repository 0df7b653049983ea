"""Noise, missing values and wrong units in tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from audit import statistics
from audit.check import Check, Effort
from audit.checks.robustness._grid import Answers, Grid, answers, draw_seed
from audit.checks.robustness._space import moments
from audit.subject import Modality
from reports.record import Cell, Curves, Measured, Table

if TYPE_CHECKING:
    from torch import Tensor

    from audit.datasets import Dataset
    from audit.subject import Subject

NAMES = {
    "gaussian": "measurement noise",
    "missing": "missing values",
    "category": "wrong categories",
    "sign": "lost signs",
    "swap": "two columns mixed up",
    "unit": "wrong unit in one column",
}
AXES = {
    "gaussian": "noise on numeric columns, in standard deviations",
    "missing": "share of values lost",
    "category": "share of categories replaced",
    "sign": "share of numbers whose sign is lost",
    "swap": "share of rows with two numeric columns mixed up",
}


@dataclass(frozen=True)
class Noise(Check):
    """Noise, missing values and wrong units.

    What it measures:
        Accuracy, and the share of answers that change, when the same test rows are spoilt: normal noise on the numeric
        columns, values lost (a number becomes the training mean, a category none), categories replaced by another
        that occurs, signs lost, two numeric columns of a row mixed up, and one numeric column of each row in a wrong unit
        (10 or 1,000 times too large, or 100 times too small). Columns declared immutable are left as they are.
    Why it matters:
        Forms are filled in badly, sensors drift, and joins lose values. No enemy is needed: a model whose answers turn
        on such faults fails quietly after deployment.
    How to read it:
        Answers changed counts every flip, also from wrong to right; accuracy lost counts the balance. A column whose
        wrong unit costs much deserves a range check before the model. If missing values cost much, train with some
        values missing.

    References:
        Schelter, Rukat and Biessmann 2020.
    """

    version: ClassVar[int] = 2
    modalities: ClassVar[frozenset[Modality]] = frozenset({Modality.TABULAR})
    efforts: ClassVar[Mapping[Effort, Mapping[str, Any]]] = {
        Effort.QUICK: {"rows": 1000},
        Effort.EXHAUSTIVE: {"rows": 20000},
    }

    #: test rows sampled
    rows: int = 4000
    #: standard deviations of the noise, in those of the training data
    deviations: tuple[float, ...] = (0.1, 0.25, 0.5, 1.0, 2.0)
    #: shares of values lost, of categories replaced, of signs lost, and of rows with two columns mixed up
    shares: tuple[float, ...] = (0.05, 0.1, 0.2, 0.3, 0.5)
    #: factors between the wrong and the right unit
    factors: tuple[float, ...] = (10.0, 1000.0, 0.01)
    #: columns shown in the table of wrong units
    columns: int = 20

    def unfit(self, subject: Subject, data: Dataset) -> str | None:
        """See `Check.unfit`."""
        return (
            None if any(f.mutable for f in data.features) else "no column may change: all are immutable or undescribed"
        )

    def run(self, subject: Subject, data: Dataset, rng: np.random.Generator) -> Measured:
        """See the class."""
        sample = data.sample(self.rows, rng)
        seed = draw_seed(rng)
        spoil = _Spoiler(sample, data, seed)
        clean = answers(subject, sample.inputs)
        levels = self._levels(spoil)
        cells: dict[tuple[str, float], Answers] = {
            (kind, level): answers(subject, spoil(kind, level)) for kind in levels for level in levels[kind]
        }
        grid = Grid(sample, clean, cells)
        middle = [f"{kind}:{at[len(at) // 2]:.4g}" for kind, at in levels.items()]
        headline = [f"{quantity}@{m}" for quantity in ("accuracy_drop", "changed_answers") for m in middle[:2]]
        tables = [grid.table("Accuracy under noise", "level", NAMES)]
        if spoil.numeric_names:
            tables.append(self._units(subject, spoil, sample, clean))
        return Measured(
            estimates=grid.estimates(),
            headline=("clean_accuracy", *headline),
            tables=tuple(tables),
            figures=tuple(
                Curves(
                    title=f"Accuracy under {NAMES[kind]}",
                    x_title=AXES[kind],
                    y_title="accuracy",
                    points=tuple(grid.points(kind)),
                    x_percent=kind != "gaussian",
                    y_percent=True,
                )
                for kind in AXES
                if kind in levels
            ),
            notes=(
                f"{len(sample)} of {len(data)} test rows, the same in every cell.",
                f"Columns left as they are: {', '.join(spoil.fixed) or 'none'}.",
            ),
        )

    def _levels(self, spoil: _Spoiler) -> dict[str, tuple[float, ...]]:
        """What there is to spoil."""
        found: dict[str, tuple[float, ...]] = {"missing": self.shares}
        if spoil.numeric_names:
            found = {"gaussian": self.deviations, **found, "sign": self.shares, "unit": self.factors}
        if len(spoil.numeric_names) > 1:
            found["swap"] = self.shares
        if spoil.groups:
            found["category"] = self.shares
        return {kind: found[kind] for kind in NAMES if kind in found}

    def _units(self, subject: Subject, spoil: _Spoiler, sample: Dataset, clean: Answers) -> Table:
        """What one column in a wrong unit does to all rows."""
        rows: list[tuple[Cell, ...]] = []
        truth = sample.labels.numpy()
        for name in spoil.numeric_names[: self.columns]:
            found: list[Cell] = [name]
            for factor in self.factors:
                wrong = answers(subject, spoil("unit", factor, only=name))
                found.append(statistics.proportion(int((wrong == truth).sum()), len(truth)))
                found.append(statistics.proportion(int((wrong != clean).sum()), len(truth)))
            rows.append(tuple(found))
        titles = [f"{what} at x{factor:.4g}" for factor in self.factors for what in ("accuracy", "changed")]
        return Table(
            title="One column in a wrong unit",
            columns=("column", *titles),
            rows=tuple(rows),
            note="The whole column is multiplied, in its own unit, before it is encoded.",
        )


class _Spoiler:
    """`attacks.tabular_noise` with the arguments of one data set."""

    def __init__(self, sample: Dataset, data: Dataset, seed: int) -> None:
        import torch

        from audit.datasets import FeatureKind

        assert not isinstance(sample.inputs, list)
        width = sample.inputs.shape[1]
        # standardised anew: an encoder need not have done it
        self._offset, self._scale = moments(data)
        self._inputs, self._seed = (sample.inputs - self._offset) / self._scale, seed
        self._mean, self._std = torch.zeros(width), torch.ones(width)
        self._at: dict[str, int] = {}
        self.groups: list[tuple[int, ...]] = []
        self.fixed: list[str] = []
        for feature in sample.features:
            if not feature.mutable:
                self.fixed.append(feature.name)
            elif feature.kind is FeatureKind.NUMERIC:
                (column,) = feature.columns
                self._at[feature.name] = column
                self._mean[column] = feature.mean + feature.std * self._offset[column]
                self._std[column] = feature.std * self._scale[column]
            else:
                self.groups.append(feature.columns)
        reference = (data if data.train is None else data.train).inputs
        assert not isinstance(reference, list)
        self._observed = (reference > 0.5).any(0)

    @property
    def numeric_names(self) -> list[str]:
        """Numeric columns that may change."""
        return list(self._at)

    def __call__(self, kind: str, level: float, only: str | None = None) -> Tensor:
        """The sampled rows, spoilt."""
        import torch

        from attacks.tabular import tabular_noise

        numeric = torch.zeros(self._inputs.shape[1], dtype=torch.bool)
        numeric[[self._at[only]] if only else list(self._at.values())] = True
        spoilt = tabular_noise(
            self._inputs,
            kind,
            level,
            numeric=numeric,
            groups=self.groups,
            mean=self._mean,
            std=self._std,
            observed=self._observed,
            seed=self._seed,
        )
        return spoilt * self._scale + self._offset
