"""What is shown with the numbers: figures as plain data."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from reports.estimates import COLOURS, Frozen, Rows
from reports.explanations import Heads, Overlays, Scoreboard, Swarm, Tokens, Waterfall


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
    #: points of one panel stand in a drawing of their own, side by side on the same axes
    panel: str = ""


class Curves(Frozen):
    """One or more lines over a numeric axis; small multiples where the points name panels."""

    kind: Literal["curves"] = "curves"
    title: str
    x_title: str
    y_title: str
    points: tuple[Point, ...]
    #: draw y = x (reliability diagrams)
    diagonal: bool = False
    #: a horizontal line to compare with, e.g. chance
    reference: float | None = None
    #: a vertical line, e.g. the setting in use
    mark: float | None = None
    x_percent: bool = False
    y_percent: bool = False
    note: str = ""


class Place(Frozen):
    """A named point of a scatter; `x_low` to `y_high` draw its intervals."""

    label: str
    x: float
    y: float
    x_low: float | None = None
    x_high: float | None = None
    y_low: float | None = None
    y_high: float | None = None
    #: no other point is better in one respect and as good in the other
    front: bool = False


class Scatter(Frozen):
    """Named points in two dimensions; those of the Pareto front are filled and joined."""

    kind: Literal["scatter"] = "scatter"
    title: str
    x_title: str
    y_title: str
    points: tuple[Place, ...]
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
    #: shaded by the distance from zero, in one colour above and another below, as heat maps are
    around_zero: bool = False
    note: str = ""

    @model_validator(mode="after")
    def _is_rectangular(self) -> Matrix:
        for row in self.rows:
            if len(row.values) != len(self.columns):
                raise ValueError(
                    f"matrix {self.title!r}: expected {len(self.columns)} values in a row, found {len(row.values)}"
                )
        return self


class Panel(Frozen):
    """A picture, with an optional heat map laid over it."""

    caption: str
    #: a base64-encoded PNG, or None for the heat map alone
    image: str | None = None
    #: rows of values, positive in one colour and negative in another; scaled by the largest magnitude
    heat: Rows | None = None


class Images(Frozen):
    """Pictures side by side, `per_row` in a row."""

    kind: Literal["images"] = "images"
    title: str
    panels: tuple[Panel, ...]
    per_row: int = 5
    #: what the two colours of the heat maps stand for
    colours: tuple[str, str] = COLOURS
    note: str = ""


Figure = Annotated[
    Bars | Curves | Heads | Images | Matrix | Overlays | Scatter | Scoreboard | Swarm | Tokens | Waterfall,
    Field(discriminator="kind"),
]
