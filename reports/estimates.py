"""Numbers with their uncertainty, and tables of them."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema, model_validator


class Frozen(BaseModel):
    """An immutable value that refuses unknown fields, NaN and infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, populate_by_name=True)


class Estimate(Frozen):
    """A number with its uncertainty; an undefined one has `value=None` and says why in `reason`."""

    value: float | None
    #: ends of the interval; both None where the value is undefined
    low: float | None = None
    high: float | None = None
    #: independent observations behind the value
    n: int = Field(ge=0)
    #: how value and interval were made, e.g. "Wilson 95 %"
    method: str
    #: unit in words, empty for a pure number; "fraction" is shown in per cent
    unit: str = ""
    #: why `value` is None
    reason: str | None = None

    @model_validator(mode="after")
    def _is_sound(self) -> Estimate:
        if self.value is None:
            if not self.reason:
                raise ValueError("an undefined Estimate needs a reason")
            if self.low is not None or self.high is not None:
                raise ValueError("an undefined Estimate has no interval")
        elif self.low is None or self.high is None:
            raise ValueError("a defined Estimate needs low and high; use the value itself for an exact count")
        elif not self.low <= self.value <= self.high:
            raise ValueError(f"expected low <= value <= high, found {self.low} <= {self.value} <= {self.high}")
        return self


def _written(numbers: tuple[float | None, ...]) -> str:
    return " ".join("-" if x is None else repr(float(x)).removesuffix(".0") for x in numbers)


def _read(numbers: object) -> object:
    return [None if word == "-" else word for word in numbers.split()] if isinstance(numbers, str) else numbers


_AS_LINE = PlainSerializer(_written)
_FROM_LINE = BeforeValidator(_read)
_SCHEMA = WithJsonSchema({"type": "string", "description": "numbers with a space between; - where there is none"})
#: many numbers, in JSON one line ("0.25 0 -1") where a list would take a line a number
Numbers = Annotated[tuple[float, ...], _FROM_LINE, _AS_LINE, _SCHEMA]
#: the same, None where there is no number
Gaps = Annotated[tuple[float | None, ...], _FROM_LINE, _AS_LINE, _SCHEMA]
#: rows of numbers
Rows = tuple[Numbers, ...]

#: what the two colours of heat maps and tokens stand for, where nothing else is said
COLOURS = ("speaks for", "speaks against; the stronger, the more")

Cell = Estimate | str | int | float | None


class Table(Frozen):
    """Rows under named columns; a cell may be an `Estimate` and is then shown with its interval."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    #: one sentence on how to read it
    note: str = ""

    @model_validator(mode="after")
    def _is_rectangular(self) -> Table:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"table {self.title!r}: expected {len(self.columns)} cells in a row, found {len(row)}")
        return self
