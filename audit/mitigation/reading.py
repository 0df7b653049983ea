"""How a model tells a person's group from one encoded row of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from audit.errors import DataError

if TYPE_CHECKING:
    from audit.datasets.types import Feature

_CELLS = 65_536  # combinations beyond which a row's memberships would not fit in memory


@dataclass(frozen=True)
class Place:
    """Where one attribute stands in the encoded row.

    Attributes:
        name: the attribute.
        columns: its one-hot columns, or the one column of its number.
        cuts: for a number, what parts its levels, ascending, in encoded units; None for one-hot columns.
    """

    name: str
    columns: tuple[int, ...]
    cuts: tuple[float, ...] | None = None

    @property
    def levels(self) -> int:
        """How many there are; of one-hot columns the last stands for a row that has none set."""
        return len(self.columns if self.cuts is None else self.cuts) + 1

    def member(self, inputs: Tensor) -> Tensor:
        """(n, columns) -> (n, levels) weights that sum to 1; linear in one-hot columns, so that gradients reach them."""
        if self.cuts is None:
            hot = inputs[:, list(self.columns)].clamp(0, 1)
            return torch.cat([hot, (1 - hot.sum(1, keepdim=True)).clamp(0, 1)], 1)
        value = inputs[:, self.columns[0]].detach().contiguous()
        level = torch.bucketize(value, torch.tensor(self.cuts, dtype=value.dtype, device=value.device))
        return F.one_hot(level, self.levels).to(inputs.dtype)


@dataclass(frozen=True)
class Reader:
    """One encoded row -> one group.

    Attributes:
        width: columns that are the audited model's own; what stands behind them is only read here.
        places: of the attributes that make the groups.
        table: the group of each combination of their levels, the last attribute fastest; `groups` where none is known.
        groups: how many there are.
    """

    width: int
    places: tuple[Place, ...]
    table: tuple[int, ...]
    groups: int

    def __post_init__(self) -> None:
        cells = prod(place.levels for place in self.places)
        whole = [self.width, self.groups, *self.table, *(c for place in self.places for c in place.columns)]
        if not all(type(number) is int and number >= 0 for number in whole):
            raise ValueError("a reader's width, groups, table and columns are whole numbers of at least 0")
        if not self.places or cells > _CELLS or len(self.table) != cells or max(self.table) > self.groups:
            raise ValueError(
                f"a reader of {cells} combinations has a table of {len(self.table)}, or unknown groups in it"
            )

    @classmethod
    def learn(
        cls,
        inputs: Tensor,
        features: Sequence[Feature],
        parts: Sequence[NDArray[np.int64]],
        codes: NDArray[np.int64],
        groups: int,
        width: int,
    ) -> Reader:
        """The reader that agrees with these rows; a missing number reads as the value that stands in for it.

        Args:
            inputs: (n, columns) encoded rows.
            features: where each attribute stands.
            parts: (n,) codes of each attribute by itself, -1 where none counts.
            codes: (n,) codes of the groups, -1 where none counts.
            groups: how many there are.
            width: columns that are the audited model's own.

        Raises:
            DataError: there are too many combinations.
        """
        places = tuple(_place(inputs, feature, part) for feature, part in zip(features, parts, strict=True))
        cells = prod(place.levels for place in places)
        if cells > _CELLS:
            raise DataError(
                f"Expected at most {_CELLS} combinations of {', '.join(p.name for p in places)}, found {cells}; try fewer "
                "attributes at once."
            )
        cell = _cells(inputs, places)
        seen, count = np.unique(np.stack([cell, codes], 1), axis=0, return_counts=True)
        table = np.full(cells, groups, dtype=np.int64)
        order = np.argsort(count, kind="stable")  # what most rows of a combination say is written last
        table[seen[order, 0]] = np.where(seen[order, 1] < 0, groups, seen[order, 1])
        return cls(width, places, tuple(table.tolist()), groups)

    def codes(self, inputs: Tensor) -> NDArray[np.int64]:
        """(n, columns) -> (n,) groups; -1 where none is known."""
        found = np.array(self.table, dtype=np.int64)[_cells(inputs, self.places)]
        return np.where(found == self.groups, -1, found)

    def own(self, inputs: Tensor) -> Tensor:
        """(n, columns) -> (n, width): what the audited model sees."""
        return inputs[:, : self.width]

    def look_up(self, inputs: Tensor, values: Tensor) -> Tensor:
        """Each row's own line of `values`.

        Args:
            inputs: (n, columns).
            values: (groups + 1, k), the last line for rows of no known group.

        Returns:
            (n, k); between one-hot rows it changes in a straight line.
        """
        member = self.places[0].member(inputs)
        for place in self.places[1:]:
            member = (member[:, :, None] * place.member(inputs)[:, None, :]).flatten(1)
        lines = values[torch.tensor(self.table, device=values.device)]
        return member.to(lines.dtype) @ lines

    def plain(self) -> dict[str, Any]:
        """What JSON can hold."""
        return asdict(self)

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Reader:
        """The reader that `plain` described, after JSON too."""
        places = tuple(
            Place(p["name"], tuple(p["columns"]), None if p["cuts"] is None else tuple(p["cuts"]))
            for p in plain["places"]
        )
        return cls(plain["width"], places, tuple(plain["table"]), plain["groups"])


def _place(inputs: Tensor, feature: Feature, part: NDArray[np.int64]) -> Place:
    from audit.datasets.types import FeatureKind

    if feature.kind is FeatureKind.CATEGORICAL:
        return Place(feature.name, tuple(feature.columns))
    column = feature.columns[0]
    value = inputs[:, column].double().cpu().numpy()
    seen, place = np.unique(value, return_inverse=True)
    pairs, count = np.unique(np.stack([place.ravel(), part], 1), axis=0, return_counts=True)
    level = np.full(len(seen), -1, dtype=np.int64)
    order = np.argsort(count, kind="stable")
    level[pairs[order, 0]] = pairs[order, 1]
    at = np.flatnonzero(np.diff(level))
    middle = ((seen[at] + seen[at + 1]) / 2).astype(np.float32)
    cuts = np.where(middle >= seen[at + 1], seen[at], middle)  # between neighbours in single precision lies nothing
    return Place(feature.name, (column,), tuple(cuts.tolist()))


def _cells(inputs: Tensor, places: Sequence[Place]) -> NDArray[np.int64]:
    """(n,) which combination of levels each row is."""
    cell = np.zeros(len(inputs), dtype=np.int64)
    for place in places:
        cell = cell * place.levels + place.member(inputs).argmax(1).cpu().numpy()
    return cell
