"""`Dataset`: one split, in memory, encoded as the model wants it.

Torch-free to import; the tensors inside come from the readers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from audit.subject import Modality

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

Inputs: TypeAlias = "Tensor | list[str]"


class FeatureKind(StrEnum):
    """How a table's column is encoded."""

    NUMERIC = "numeric"
    CATEGORICAL = "categorical"


@dataclass(frozen=True)
class Feature:
    """One column of a table and where it stands in the encoded vector.

    Attributes:
        name: column name.
        kind: numeric (one standardised column) or categorical (one-hot).
        columns: positions in the encoded vector.
        mean: subtracted, in the column's own unit (numeric).
        std: divided by, in the column's own unit (numeric).
        categories: names, one a position (categorical).
        mutable: whether an attack or a counterfactual may change it.
    """

    name: str
    kind: FeatureKind
    columns: tuple[int, ...]
    mean: float = 0.0
    std: float = 1.0
    categories: tuple[str, ...] = ()
    mutable: bool = True


@dataclass(frozen=True)
class Batch:
    """Some rows of a data set: `inputs` (n, ...), `labels` (n,) int64, `groups` name -> (n,), `rows` (n,) indices."""

    inputs: Inputs
    labels: Tensor
    groups: Mapping[str, NDArray[Any]]
    rows: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Dataset:
    """One split of the data.

    Attributes:
        inputs: (n, ...) float32 tensor in input units, or n strings.
        labels: (n,) int64 class indices.
        classes: class names, in the order of the indices.
        modality: what one input is.
        groups: protected attribute -> (n,) object array of values; None marks a missing value.
        label: name of the label column.
        split: "test" or "train".
        source: path it was read from.
        digest: SHA-256 of the file(s) read, hexadecimal.
        features: for tables, the encoding; empty otherwise.
        frame: for tables, the rows as read (all columns, label included); None otherwise.
        bounds: smallest and largest value an input may take; None where undeclared.
        favourable: index of the favourable class; None where undeclared.
        constraints: for tables, what must hold between numeric columns, in their own units; see
            `attacks.tabular.constraints`.
        missing: column -> number of missing values in the file as read.
        train: the split the model was trained on, where it was given.
        masks: for pictures, (n, height, width) bool, where people marked what the answer is about; None otherwise.
        smallest_group: rows below which no table may tell how many a group or an intersection has; 0: all may.
        taken_cuts: `cuts` of the data set that these rows were taken from; None for a whole one.
    """

    inputs: Inputs
    labels: Tensor
    classes: tuple[str, ...]
    modality: Modality
    groups: Mapping[str, NDArray[Any]]
    label: str
    split: str
    source: str
    digest: str
    features: tuple[Feature, ...] = ()
    frame: pd.DataFrame | None = None
    bounds: tuple[float, float] | None = None
    favourable: int | None = None
    constraints: tuple[str, ...] = ()
    missing: Mapping[str, int] = field(default_factory=dict)
    train: Dataset | None = None
    masks: Tensor | None = None
    smallest_group: int = 0
    taken_cuts: Mapping[str, NDArray[np.float64] | None] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def cuts(self) -> Mapping[str, NDArray[np.float64] | None]:
        """Where protected numbers of many values are cut into groups: as in the data set that these rows were taken from."""
        from audit.fairness.attributes import quartiles

        if self.taken_cuts is not None:
            return self.taken_cuts
        return {name: quartiles(values) for name, values in self.groups.items()}

    def take(self, rows: Sequence[int] | NDArray[np.int64]) -> Dataset:
        """The data set of these rows, in this order; `train` stays whole."""
        import torch

        index = np.asarray(rows, dtype=np.int64)
        at = torch.from_numpy(index)
        inputs = [self.inputs[i] for i in index] if isinstance(self.inputs, list) else self.inputs[at]
        return replace(
            self,
            inputs=inputs,
            labels=self.labels[at],
            groups={name: values[index] for name, values in self.groups.items()},
            frame=None if self.frame is None else self.frame.iloc[index].reset_index(drop=True),
            masks=None if self.masks is None else self.masks[at],
            taken_cuts=self.cuts,
        )

    def sample(self, n: int, rng: np.random.Generator) -> Dataset:
        """At most n rows without replacement, in their original order."""
        if n >= len(self):
            return self
        return self.take(np.sort(rng.choice(len(self), size=n, replace=False)))

    def batches(self, size: int) -> Iterator[Batch]:
        """Consecutive batches of at most `size` rows."""
        for start in range(0, len(self), size):
            rows = np.arange(start, min(start + size, len(self)))
            part = self.take(rows)
            yield Batch(part.inputs, part.labels, part.groups, rows)

    def players(self) -> NDArray[np.int64] | None:
        """For tables, encoded position -> index of its feature (a one-hot group is one player); None otherwise."""
        if not self.features:
            return None
        out = np.empty(sum(len(f.columns) for f in self.features), dtype=np.int64)
        for index, feature in enumerate(self.features):
            out[list(feature.columns)] = index
        return out

    def mutable(self) -> NDArray[np.bool_] | None:
        """For tables, which encoded positions an attack may move (numeric and declared mutable); None otherwise."""
        if not self.features:
            return None
        out = np.zeros(sum(len(f.columns) for f in self.features), dtype=np.bool_)
        for feature in self.features:
            out[list(feature.columns)] = feature.mutable and feature.kind is FeatureKind.NUMERIC
        return out
