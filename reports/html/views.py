"""What the templates show: plain values, worded and placed; every number knows the evidence it comes from."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from reports import words
from reports.record import Cell, Entry, Estimate, Gate, Measured, Outcome, Record, Severity, Table, Verdict

OUTCOMES = {Outcome.PASS: "Passed", Outcome.FAIL: "Failed", Outcome.INSUFFICIENT: "Insufficient"}
#: rows of a table that are shown at once; a longer one is folded
FOLDED = 14


@dataclass(frozen=True)
class Number:
    """A number as it is shown, and where it comes from."""

    shown: words.Shown
    #: the number itself, unrounded; empty where it is undefined
    exact: str
    #: key of the evidence; empty where what it stands in names it
    evidence: str
    #: name of the estimate, empty for a number in a table or figure
    name: str
    #: how value and interval were made
    method: str


def number(estimate: Estimate, evidence: str, name: str = "", label: str = "") -> Number:
    """An estimate for the page.

    Args:
        estimate: what to show.
        evidence: key of the evidence it comes from.
        name: its name in the evidence.
        label: what tells a difference from a share where it has no name, e.g. a column.
    """
    exact = "" if estimate.value is None else repr(estimate.value)
    return Number(words.show(estimate, name or label), exact, evidence, name, estimate.method)


@dataclass(frozen=True)
class CellView:
    """One cell: a number with its interval, or a text."""

    number: Number | None
    text: str
    numeric: bool


@dataclass(frozen=True)
class TableView:
    """A table; `numeric` says which columns are set right."""

    title: str
    columns: tuple[str, ...]
    numeric: tuple[bool, ...]
    rows: tuple[tuple[CellView, ...], ...]
    note: str
    folded: bool


def table(table: Table, evidence: str) -> TableView:
    """A table for the page."""
    rows = tuple(
        tuple(_cell(cell, evidence, name) for cell, name in zip(row, table.columns, strict=True)) for row in table.rows
    )
    numeric = tuple(
        bool(rows) and all(row[i].numeric or row[i].text == "" for row in rows) for i in range(len(table.columns))
    )
    return TableView(table.title, table.columns, numeric, rows, table.note, len(rows) > FOLDED)


def _cell(cell: Cell, evidence: str, column: str) -> CellView:
    match cell:
        case Estimate():
            return CellView(number(cell, evidence, label=column), "", numeric=True)
        case bool() | str():
            return CellView(None, str(cell), numeric=False)
        case int() | float():
            shown = words.Shown(words.number(float(cell)))
            return CellView(Number(shown, repr(cell), evidence, "", ""), "", numeric=True)
        case None:
            return CellView(None, "", numeric=False)


def estimates(measured: Measured, evidence: str) -> TableView:
    """Every estimate of a check, in the order of their names, which is the same before and after a file."""
    rows = tuple(
        (
            CellView(None, name, numeric=False),
            CellView(number(estimate, evidence, name), "", numeric=True),
            CellView(None, estimate.method, numeric=False),
        )
        for name, estimate in sorted(measured.estimates.items())
    )
    return TableView("All estimates", ("name", "value", "method"), (False, True, False), rows, "", len(rows) > FOLDED)


@dataclass(frozen=True)
class Gauge:
    """An interval against its bound; positions in per cent of the width."""

    value: float
    low: float
    high: float
    bound: float
    #: the side that is allowed: from `bound` to the right, or from the left to `bound`
    at_least: bool


def gauge(gate: Gate, observed: Estimate | None) -> Gauge | None:
    """Place an interval and its bound on one line; None where there is no interval."""
    if observed is None or observed.value is None or observed.low is None or observed.high is None:
        return None
    limit = gate.at_least if gate.at_least is not None else gate.at_most
    assert limit is not None
    points = (observed.low, observed.high, limit)
    spread = (max(points) - min(points)) or abs(limit) or 1.0
    start, width = min(points) - 0.15 * spread, 1.3 * spread

    def place(x: float) -> float:
        return round(100 * (x - start) / width, 2)

    return Gauge(
        place(observed.value), place(observed.low), place(observed.high), place(limit), gate.at_least is not None
    )


@dataclass(frozen=True)
class VerdictView:
    """A verdict in words."""

    outcome: Outcome
    word: str
    warning: bool
    asked: str
    subject: str
    observed: Number | None
    gauge: Gauge | None
    why: str
    policy_why: str
    anchor: str


def verdict(verdict: Verdict, anchors: dict[str, str]) -> VerdictView:
    """A verdict for the page; `anchors` maps evidence keys to the places that show them."""
    name = verdict.subject.partition("/")[2]
    observed = verdict.observed
    return VerdictView(
        outcome=verdict.outcome,
        word=OUTCOMES[verdict.outcome],
        warning=verdict.gate.severity is Severity.WARNING,
        asked=words.asked(verdict.gate, verdict.subject, observed),
        subject=verdict.subject,
        observed=None if observed is None else number(observed, verdict.evidence or "", name),
        gauge=gauge(verdict.gate, observed),
        why=verdict.why,
        policy_why=verdict.gate.why,
        anchor=anchors.get(verdict.evidence or "", ""),
    )


def anchors(record: Record) -> dict[str, str]:
    """The place in the page of each piece of evidence, by key."""
    found: dict[str, str] = {}
    for position, entry in enumerate(record.evidence):
        slug = re.sub(r"[^a-z0-9]+", "-", entry.unit.check.casefold()).strip("-")
        found[entry.unit.key] = f"evidence-{slug}" if _first(record.evidence, entry) else f"evidence-{slug}-{position}"
    return found


def _first(entries: Iterable[Entry], entry: Entry) -> bool:
    return next(e for e in entries if e.unit.check == entry.unit.check) is entry


def parameters(params: dict[str, Any]) -> list[tuple[str, str]]:
    """The parameters of a unit as name and JSON value."""
    return [(name, json.dumps(value, ensure_ascii=False, sort_keys=True)) for name, value in sorted(params.items())]
