"""What mitigation works on: the groups aimed at, the input that shows them, and rows to learn from and to choose on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from audit.datasets.encoding import Categorical, Encoder, Numeric, encode
from audit.datasets.labels import keys
from audit.errors import DataError, nearest
from audit.fairness.attributes import CROSS, NO_GROUPS, VALUES, Levels, crossed, levels
from audit.mitigation.reading import Reader
from audit.mitigation.remedy import Part, held_out
from audit.subject import Modality

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray
    from torch import Tensor

    from audit.datasets import Dataset, Feature

    Ints = NDArray[np.int64]

#: rows below which groups are joined to one
LEAST = 20
#: categories of an attribute that get a column each; of more, those of fewer than LEAST rows get none
CATEGORIES = 256


@dataclass(frozen=True, eq=False)
class Material:
    """The data of a mitigation.

    Attributes:
        attribute: what is aimed at: "sex", "sex x race".
        own: the data set as the audited model reads it, its training split inside.
        wide: the same with columns behind it that show the attribute; `own` where these are there already.
        added: how those columns are encoded.
        reader: tells the group from a row of `wide`; None where rows do not show it.
        levels: groups of the training rows.
        learn: training rows to learn from.
        held: training rows to set thresholds on.
        choice: training rows to choose between methods on; no method sees them.
    """

    attribute: str
    own: Dataset
    wide: Dataset
    added: tuple[Numeric | Categorical, ...]
    reader: Reader | None
    levels: Levels
    learn: Ints
    held: Ints
    choice: Ints

    def part(self, rows: Ints) -> Part:
        """Some training rows, as methods take them."""
        train = training(self.wide)
        return Part(train.inputs, train.labels.numpy(), self.levels.code).take(rows)

    def data(self, wide: bool) -> Dataset:
        """What a model that reads the group is given, or one that does not."""
        return self.wide if wide else self.own


def training(data: Dataset) -> Dataset:
    """The training split.

    Raises:
        DataError: there is none.
    """
    if data.train is None:
        raise DataError("Expected training data to mitigate with, found none in the plan; try data.train.")
    return data.train


def groups_of(data: Dataset, attribute: str, least: int = LEAST) -> Levels:
    """The groups of one attribute, or of several crossed, "sex x race"; groups of fewer rows are joined.

    Raises:
        DataError: none is declared, or this one is not.
    """
    if not data.groups:
        raise DataError(f"Expected a protected attribute to mitigate for, found none: {NO_GROUPS}.")
    names = _names(data, attribute)
    for name in names:
        if name not in data.groups:
            raise DataError(f"Expected a protected attribute, found {name!r}{nearest(name, list(data.groups))}")
    columns = {name: data.groups[name] for name in names}
    return crossed(columns, len(columns), least, data.smallest_group)[CROSS.join(columns)]


def gather(data: Dataset, attribute: str | None, kept: float, seed: int, least: int = LEAST) -> Material:
    """The material of a mitigation.

    Args:
        data: with its training split.
        attribute: whom it is for; None: the first declared.
        kept: share of the training rows kept back, half to set thresholds and half to choose on.
        seed: of the draw.
        least: rows below which groups are joined.

    Raises:
        DataError: no training data, no such attribute, or fewer than two groups of it.
    """
    train = training(data)
    attribute = attribute or next(iter(data.groups), "")
    found = groups_of(train, attribute, least)
    if len(found.names) < 2:
        raise DataError(
            f"Expected two groups of at least {least} training rows in {attribute!r}, found {len(found.names)}; try "
            "another attribute."
        )
    labels = train.labels.numpy()
    learn, back = held_out(labels, found.code, kept, seed)
    first, second = held_out(labels[back], found.code[back], 0.5, seed)
    wide, added = data, tuple[Numeric | Categorical, ...]()
    reader = None
    if data.modality is Modality.TABULAR:
        wide, added = _widened(data, attribute, least)
        reader = _reader(wide, attribute, found, sum(len(f.columns) for f in data.features))
    return Material(attribute, data, wide, added, reader, found, learn, back[first], back[second])


def _names(data: Dataset, attribute: str) -> list[str]:
    return [attribute] if attribute in data.groups else attribute.split(CROSS)


def _widened(data: Dataset, attribute: str, least: int) -> tuple[Dataset, tuple[Numeric | Categorical, ...]]:
    """The data set with columns for the attributes that its features leave out."""
    train, known = training(data), {feature.name for feature in data.features}
    assert train.frame is not None
    added = tuple(_feature(train.frame[name], least) for name in _names(data, attribute) if name not in known)
    if not added:
        return data, ()
    encoder = Encoder(features=added)
    return replace(_with(data, encoder), train=_with(train, encoder)), added


def _feature(column: pd.Series[Any], least: int) -> Numeric | Categorical:
    import pandas as pd

    name = str(column.name)
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column) and column.nunique() > VALUES:
        values = column.dropna().to_numpy(np.float64)
        return Numeric(name=name, mean=float(values.mean()), std=float(values.std()) or 1.0)
    count = pd.Series(keys(column), dtype=object).value_counts()
    if len(count) > CATEGORIES:
        count = count[count >= least]
    return Categorical(name=name, categories=tuple(sorted(str(value) for value in count.index)))


def _with(data: Dataset, encoder: Encoder) -> Dataset:
    import torch

    assert data.frame is not None and not isinstance(data.inputs, list)
    values, features = encode(data.frame, encoder, data.label, [f.name for f in encoder.features])
    start = data.inputs.shape[1]
    if data.bounds is not None and ((values < data.bounds[0]) | (values > data.bounds[1])).any():
        names = ", ".join(repr(f.name) for f in features)
        raise DataError(
            f"Expected data.bounds that leave room for {names}, found {data.bounds}; try wider ones, or none."
        )
    moved = tuple(replace(f, columns=tuple(start + column for column in f.columns)) for f in features)
    inputs: Tensor = torch.cat([data.inputs, torch.from_numpy(values)], 1)
    return replace(data, inputs=inputs, features=(*data.features, *moved))


def _reader(wide: Dataset, attribute: str, found: Levels, width: int) -> Reader:
    train = training(wide)
    assert not isinstance(train.inputs, list)
    places: dict[str, Feature] = {feature.name: feature for feature in wide.features}
    names = _names(wide, attribute)
    parts = [levels(train.groups[name]).code for name in names]
    return Reader.learn(train.inputs, [places[name] for name in names], parts, found.code, len(found.names), width)
