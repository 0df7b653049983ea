"""The shared types: what an audit measured, how it was judged, and how both are written down.

A `Record` is plain data. It is written as one canonical JSON document (sorted keys, no NaN, no infinity), so equal
records are equal bytes, and everything a renderer shows can be traced to an entry here.

Schema history:
    1: the first published form.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from reports.estimates import Cell, Estimate, Frozen, Gaps, Numbers, Rows, Table
from reports.exhibits import Bar, Bars, Curves, Figure, Images, Matrix, MatrixRow, Panel, Place, Point, Scatter
from reports.explanations import (
    Head,
    HeadLayer,
    Heads,
    Metric,
    OverlayRow,
    Overlays,
    Score,
    Scoreboard,
    ScoreRow,
    Step,
    Swarm,
    SwarmRow,
    TokenLine,
    Tokens,
    Waterfall,
)
from reports.verdicts import Gate, Outcome, Severity, Verdict

__all__ = [
    "SCHEMA",
    "Bar",
    "Bars",
    "Card",
    "Cell",
    "Curves",
    "DataCard",
    "Entry",
    "Estimate",
    "Evidence",
    "Failed",
    "Figure",
    "Frozen",
    "Gaps",
    "Gate",
    "Head",
    "HeadLayer",
    "Heads",
    "Images",
    "Matrix",
    "MatrixRow",
    "Measured",
    "Metric",
    "Numbers",
    "Outcome",
    "OverlayRow",
    "Overlays",
    "Panel",
    "Place",
    "Point",
    "Record",
    "Rows",
    "Scatter",
    "Score",
    "ScoreRow",
    "Scoreboard",
    "Severity",
    "Skipped",
    "Step",
    "SubjectCard",
    "Swarm",
    "SwarmRow",
    "Table",
    "TokenLine",
    "Tokens",
    "Unit",
    "Verdict",
    "Waterfall",
    "read_record",
]

SCHEMA = 1


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
