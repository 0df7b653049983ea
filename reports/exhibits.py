"""Numbers and what is shown with them: estimates, tables, figures."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


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


# --------------------------------------------------------------------------------------------- figures and tables

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


class Bar(Frozen):
    """One bar; `low` and `high` draw its interval."""

    label: str
    value: float
    low: float | None = None
    high: float | None = None
    #: bars of one label are grouped by series and coloured by it
    series: str = ""


class Bars(Frozen):
    """Horizontal bars with intervals, in the order given."""

    kind: Literal["bars"] = "bars"
    title: str
    x_title: str
    bars: tuple[Bar, ...]
    #: a vertical line to compare with, e.g. the overall rate
    reference: float | None = None
    percent: bool = False
    note: str = ""


class Point(Frozen):
    """One point of a curve; `low` and `high` draw its interval."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None
    series: str = ""


class Curves(Frozen):
    """One or more lines over a numeric axis."""

    kind: Literal["curves"] = "curves"
    title: str
    x_title: str
    y_title: str
    points: tuple[Point, ...]
    #: draw y = x (reliability diagrams)
    diagonal: bool = False
    #: a horizontal line to compare with, e.g. chance
    reference: float | None = None
    x_percent: bool = False
    y_percent: bool = False
    note: str = ""


class MatrixRow(Frozen):
    """One row of a matrix; None where nothing was measured."""

    label: str
    values: tuple[float | None, ...]


class Matrix(Frozen):
    """Numbers under named columns beside named rows, each shaded by its size."""

    kind: Literal["matrix"] = "matrix"
    title: str
    columns: tuple[str, ...]
    rows: tuple[MatrixRow, ...]
    percent: bool = False
    note: str = ""

    @model_validator(mode="after")
    def _is_rectangular(self) -> Matrix:
        for row in self.rows:
            if len(row.values) != len(self.columns):
                raise ValueError(
                    f"matrix {self.title!r}: expected {len(self.columns)} values in a row, found {len(row.values)}"
                )
        return self


#: what the two colours of heat maps and tokens stand for, where nothing else is said
COLOURS = ("speaks for", "speaks against; the stronger, the more")


class Panel(Frozen):
    """A picture, with an optional heat map laid over it."""

    caption: str
    #: a base64-encoded PNG, or None for the heat map alone
    image: str | None = None
    #: rows of values, positive in one colour and negative in another; scaled by the largest magnitude
    heat: tuple[tuple[float, ...], ...] | None = None


class Images(Frozen):
    """Pictures side by side, `per_row` in a row."""

    kind: Literal["images"] = "images"
    title: str
    panels: tuple[Panel, ...]
    per_row: int = 5
    #: what the two colours of the heat maps stand for
    colours: tuple[str, str] = COLOURS
    note: str = ""


class TokenLine(Frozen):
    """A text cut into tokens, each shaded by its weight (positive in one colour, negative in another)."""

    caption: str
    tokens: tuple[str, ...]
    weights: tuple[float, ...]

    @model_validator(mode="after")
    def _fits(self) -> TokenLine:
        if len(self.tokens) != len(self.weights):
            raise ValueError(f"expected one weight a token, found {len(self.tokens)} and {len(self.weights)}")
        return self


class Tokens(Frozen):
    """Shaded texts."""

    kind: Literal["tokens"] = "tokens"
    title: str
    lines: tuple[TokenLine, ...]
    #: what the two colours of the words stand for
    colours: tuple[str, str] = COLOURS
    note: str = ""


Figure = Annotated[Bars | Curves | Images | Matrix | Tokens, Field(discriminator="kind")]
