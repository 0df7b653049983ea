"""What every format is read into, before labels are matched and tables encoded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Raw:
    """One split as stored.

    Attributes:
        frame: columns with one value a row.
        arrays: columns with an array a row, name -> (n, ...).
        names: column -> class names in the order their data set declares.
    """

    frame: pd.DataFrame
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values()))) if self.arrays else len(self.frame)

    def columns(self) -> list[str]:
        """All names, those of arrays first."""
        return [*self.arrays, *(str(c) for c in self.frame.columns)]
