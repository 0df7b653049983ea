"""Record -> HTML."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from reports import words
from reports.html import views
from reports.html.drawings import Drawing, draw
from reports.html.sections import SECTIONS, generic
from reports.html.sections.meeting import meeting
from reports.html.sections.section import Finding, Findings, Section
from reports.record import Card, Entry, Failed, Measured, Outcome, Record, Skipped
from reports.summary import Summary, summarise, worst_first

_HERE = Path(__file__).parent
_TITLES = {Outcome.PASS: "Passed", Outcome.FAIL: "Failed", Outcome.INSUFFICIENT: "Insufficient evidence"}
_UNBROKEN = re.compile(r"(?<=\d) (?=%)|(?<=\bn) (?== \d)|(?<=\bn =) (?=\d)")
_EXIT_CODES = {
    0: "every deciding gate passed",
    1: "a deciding gate failed",
    3: "the evidence does not decide every gate",
}


def to_html(record: Record) -> str:
    """The report as one page: no script, no request, light and dark, for screen and paper."""
    summary = summarise(record)
    anchors = views.anchors(record)
    verdicts = [views.verdict(v, anchors) for v in worst_first(record.verdicts)]
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            record=record,
            summary=summary,
            title=_TITLES[summary.outcome],
            facts=_facts(record, summary),
            verdicts=verdicts,
            words=views.OUTCOMES,
            sections=[_section(findings, anchors, record) for findings in _findings(record)],
            digest=hashlib.sha256(record.to_json().encode()).hexdigest(),
            style=Markup((_HERE / "style.css").read_text(encoding="utf-8")),  # noqa: S704 our own file
        )
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalised,
    )
    environment.filters["named"] = words.title
    return environment


def _finalised(value: Any) -> Any:
    """Every text that reaches the page passes here before it is escaped; a number stays with its unit."""
    if isinstance(value, Markup):
        return Markup(words.clean(value))  # noqa: S704 it was markup before; characters are only taken away
    return _UNBROKEN.sub("\u00a0", words.clean(value)) if isinstance(value, str) else value


def _facts(record: Record, summary: Summary) -> list[tuple[str, str]]:
    subject = record.subject
    rows = "; ".join(f"{split.rows:,} {split.split} rows" for split in record.data)
    facts = [
        ("Model", f"{subject.modality} {subject.task}, {len(subject.classes)} classes, {subject.format}"),
        ("Data", rows or "none"),
        ("Policy", record.policy or "none"),
        ("Settings", ", ".join(f"{name} {value}" for name, value in sorted(record.settings.items()))),
        ("Date", record.environment.get("date", "")),
        ("Exit code", f"{summary.exit_code}: {_EXIT_CODES[summary.exit_code]}"),
    ]
    return [(name, value) for name, value in facts if value]


@dataclass(frozen=True)
class CheckView:
    """One check with numbers."""

    anchor: str
    card: Card
    entry: Entry
    figures: tuple[tuple[str, views.Number], ...]
    drawings: tuple[Drawing, ...]
    tables: tuple[views.TableView, ...]
    notes: tuple[str, ...]
    estimates: views.TableView
    parameters: list[tuple[str, str]]


@dataclass(frozen=True)
class Unmeasured:
    """A check without numbers, and why."""

    anchor: str
    card: Card
    state: str
    reason: str
    key: str


@dataclass(frozen=True)
class SectionView:
    """One challenge, answered."""

    section: Section
    answer: list[tuple[str, views.Number, str]]
    #: the first number of the answer, for the overview
    lead: tuple[str, views.Number] | None
    outcomes: Counter[Outcome]
    checks: list[CheckView]
    unmeasured: list[Unmeasured]
    #: what checks of all sections measured of each group, in the section on fairness
    meeting: tuple[views.TableView, ...]
    advice: list[str]


def _findings(record: Record) -> list[Findings]:
    """The record cut into sections: the six challenges in order, then any other a plug-in brought."""
    found = {section.id: section for section in SECTIONS}
    ids = [entry.unit.check for entry in record.evidence] + list(record.missing)
    for name in ids:
        found.setdefault(name.partition(".")[0], generic(name.partition(".")[0]))

    return [_of(section, record) for section in found.values()]


def _of(section: Section, record: Record) -> Findings:
    """What the record holds for one section."""

    def belongs(name: str) -> bool:
        return name.partition(".")[0] == section.id

    entries = [e for e in record.evidence if belongs(e.unit.check)]
    return Findings(
        section,
        tuple(sorted(entries, key=lambda e: section.place(e.unit.check))),
        tuple(v for v in record.verdicts if belongs(v.subject)),
        tuple(name for name in record.missing if belongs(name)),
        {card.id: card for card in record.cards},
    )


def _section(findings: Findings, anchors: dict[str, str], record: Record) -> SectionView:
    answer = [(s.before, _number(s.finding), s.after) for s in findings.answer()]
    first = findings.answer()[:1]
    fair = findings.section.id == "fairness"
    return SectionView(
        section=findings.section,
        answer=answer,
        lead=(first[0].finding.name, _number(first[0].finding)) if first else None,
        outcomes=Counter(v.outcome for v in findings.verdicts),
        checks=[_check(findings, entry, evidence, anchors) for entry, evidence in findings.measured()],
        unmeasured=[*_unmeasured(findings, anchors)],
        meeting=meeting(record.evidence, record.data[0].protected) if record.data and fair else (),
        advice=findings.advise(),
    )


def _number(finding: Finding) -> views.Number:
    return views.number(finding.estimate, finding.entry.unit.key, finding.name)


def _check(findings: Findings, entry: Entry, evidence: Measured, anchors: dict[str, str]) -> CheckView:
    anchor, key = anchors[entry.unit.key], ""  # the article around them names the evidence of its numbers
    return CheckView(
        anchor=anchor,
        card=findings.card(entry.unit.check),
        entry=entry,
        figures=tuple((name, views.number(evidence.estimates[name], key, name)) for name in evidence.headline),
        drawings=tuple(draw(figure, f"{anchor}-{i}", key) for i, figure in enumerate(evidence.figures)),
        tables=tuple(views.table(table, key) for table in evidence.tables),
        notes=evidence.notes,
        estimates=views.estimates(evidence, key),
        parameters=views.parameters(entry.unit.params),
    )


def _unmeasured(findings: Findings, anchors: dict[str, str]) -> list[Unmeasured]:
    found = []
    for entry in findings.entries:
        card, key = findings.card(entry.unit.check), entry.unit.key
        match entry.evidence:
            case Failed(error=error):
                found.append(Unmeasured(anchors[key], card, "Broke", error, key))
            case Skipped(reason=reason):
                found.append(Unmeasured(anchors[key], card, "Does not apply", reason, key))
    interrupted = "the run was interrupted"
    return found + [Unmeasured("", findings.card(name), "Not run", interrupted, "") for name in findings.missing]
