"""The shared types: what an audit measured, how it was judged, and how both are written down.

A `Record` is plain data. It is written as one canonical JSON document (sorted keys, no NaN, no infinity), so equal
records are equal bytes, and everything a renderer shows can be traced to an entry here.

Schema history:
    1: the first published form.
"""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

SCHEMA = 1


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
    note: str = ""


Figure = Annotated[Bars | Curves | Images | Tokens, Field(discriminator="kind")]

# -------------------------------------------------------------------------------------------------------- evidence


class Measured(Frozen):
    """What a check found.

    Estimates are named `quantity` or `quantity@slice`, e.g. `robust_accuracy@linf:0.1` or
    `selection_rate@sex=Female`. Policies gate on `check.id/name`.
    """

    kind: Literal["measured"] = "measured"
    estimates: dict[str, Estimate]
    #: names of the estimates that answer the section's question, most important first
    headline: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    figures: tuple[Figure, ...] = ()
    #: what a reader must know to read the numbers rightly (an assumption, a sample taken)
    notes: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _headline_exists(self) -> Measured:
        missing = [name for name in self.headline if name not in self.estimates]
        if missing:
            raise ValueError(f"headline names no estimate: {missing}")
        return self


class Skipped(Frozen):
    """A check that does not apply here."""

    kind: Literal["skipped"] = "skipped"
    reason: str


class Failed(Frozen):
    """A check that broke; the audit went on without it."""

    kind: Literal["failed"] = "failed"
    error: str


Evidence = Annotated[Measured | Skipped | Failed, Field(discriminator="kind")]


class Unit(Frozen):
    """A work item: one check with its parameters. Equal keys mean equal model, data, check, parameters and seed."""

    key: str
    check: str
    version: int
    params: dict[str, Any]
    seed: int


class Entry(Frozen):
    """A unit and what came of it."""

    unit: Unit
    evidence: Evidence


# --------------------------------------------------------------------------------------------------------- verdicts


class Severity(StrEnum):
    """What a missed gate means: an `error` decides the exit code, a `warning` is shown only."""

    ERROR = "error"
    WARNING = "warning"


class Outcome(StrEnum):
    """PASS and FAIL are claims the interval supports; everything else is INSUFFICIENT."""

    PASS = "PASS"
    FAIL = "FAIL"
    INSUFFICIENT = "INSUFFICIENT"


class Gate(Frozen):
    """A bound on an estimate, from a policy."""

    #: `check.id/estimate`, shell wildcards allowed
    estimate: str
    at_least: float | None = None
    at_most: float | None = None
    severity: Severity = Severity.ERROR
    #: whether a skipped or absent check makes it INSUFFICIENT; otherwise such a gate gives no verdict
    required: bool = False
    #: why the policy asks for it, shown beside the verdict
    why: str = ""

    @model_validator(mode="after")
    def _one_bound(self) -> Gate:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError(f"gate {self.estimate!r}: expected exactly one of at_least and at_most")
        return self


class Verdict(Frozen):
    """A gate held against one estimate."""

    gate: Gate
    #: the `check.id/estimate` it was held against, one of those the gate's pattern matches
    subject: str
    outcome: Outcome
    observed: Estimate | None
    #: the key of the evidence the number comes from
    evidence: str | None
    why: str


# ----------------------------------------------------------------------------------------------------------- record


class Card(Frozen):
    """What a check says of itself; the report's text."""

    id: str
    section: str
    version: int
    title: str
    what: str
    why: str
    how: str
    references: str = ""


class SubjectCard(Frozen):
    """The audited model."""

    name: str
    source: str
    format: str
    digest: str
    task: str
    modality: str
    classes: tuple[str, ...]
    capabilities: tuple[str, ...]


class DataCard(Frozen):
    """One split of the audited data."""

    split: str
    source: str
    digest: str
    rows: int
    label: str
    protected: tuple[str, ...] = ()


class Record(Frozen):
    """Everything one audit knows: enough to render every report and to judge again under another policy."""

    schema_version: int = Field(default=SCHEMA, alias="schema")
    subject: SubjectCard
    data: tuple[DataCard, ...]
    environment: dict[str, str]
    #: effort and seed of the run
    settings: dict[str, str | int | float | bool | None]
    cards: tuple[Card, ...]
    evidence: tuple[Entry, ...]
    #: ids of planned checks without evidence (an interrupted run)
    missing: tuple[str, ...] = ()
    policy: str = ""
    verdicts: tuple[Verdict, ...] = ()

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, two-space indent, UTF-8, a newline at the end."""
        return (
            json.dumps(
                self.model_dump(mode="json", by_alias=True),
                sort_keys=True,
                indent=2,
                ensure_ascii=False,
                allow_nan=False,
            )
            + "\n"
        )

    def write(self, path: Path) -> None:
        """Write `to_json()` to `path`."""
        path.write_text(self.to_json(), encoding="utf-8")

    def card(self, check: str) -> Card:
        """Return the card of the check with this id.

        Raises:
            KeyError: there is none.
        """
        for card in self.cards:
            if card.id == check:
                return card
        raise KeyError(check)


def read_record(path: Path) -> Record:
    """Read a record that `Record.write` wrote.

    Raises:
        ValueError: the file is no record, or one of a newer schema.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"Expected a record written by `audit run`, found no JSON in {path} ({error}).") from None
    schema = document.get("schema") if isinstance(document, dict) else None
    if schema != SCHEMA:
        raise ValueError(
            f"Expected a record of schema {SCHEMA}, found {schema!r} in {path}; try the version of assay that wrote it."
        )
    return Record.model_validate(document)
