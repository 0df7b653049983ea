"""Record -> Markdown, for a pull request or a pipeline's step summary (GitHub allows it 1 MiB)."""

from __future__ import annotations

import re

from reports import words
from reports.record import Failed, Measured, Outcome, Record, Severity, Skipped, Verdict
from reports.summary import summarise, worst_first

#: bytes kept free below the 1 MiB that GitHub shows
LIMIT = 900_000
_WORDS = {Outcome.PASS: "Passed", Outcome.FAIL: "**Failed**", Outcome.INSUFFICIENT: "*Insufficient*"}


def to_markdown(record: Record) -> str:
    """The outcome, the verdicts (worst first) and the headline figures as GitHub-flavoured Markdown below 1 MiB."""
    summary = summarise(record)
    subject = record.subject
    lines = [
        f"# Audit of {escape(subject.name)}: {_WORDS[summary.outcome]}",
        "",
        f"{summary.sentence} Policy {escape(record.policy or 'none')}, exit code {summary.exit_code}."
        + (f" Also: {', '.join(summary.remarks)}." if summary.remarks else ""),
        "",
        f"{escape(subject.format)} {escape(subject.modality)} model with {len(subject.classes)} classes, "
        + "; ".join(f"{split.rows:,} {escape(split.split)} rows" for split in record.data)
        + ".",
    ]
    verdicts = [_verdict(v) for v in worst_first(record.verdicts)]
    lines += _table("Verdicts", ("Outcome", "Asked", "Observed", "Why"), verdicts)
    lines += _table("Headline figures", ("Check", "Quantity", "Value"), _headlines(record))
    lines += _table("Not measured", ("Check", "State", "Why"), _unmeasured(record))
    return _cut(lines)


def escape(text: str) -> str:
    """Untrusted text as literal Markdown on one line, also inside a table cell."""
    flat = re.sub(r"([\\`*_\[\]#~$])", r"\\\1", words.line(text))
    flat = flat.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("|", "&#124;")
    flat = flat.replace("://", ":&#47;&#47;").replace("www.", "www&#46;").replace("@", "&#64;")
    # what opens a list or a rule at the start of a line
    return re.sub(r"^(\d*)([-+.)])(?=[-+\s]|$)", lambda m: f"{m[1]}&#{ord(m[2])};", flat)


def _verdict(verdict: Verdict) -> tuple[str, ...]:
    name = verdict.subject.partition("/")[2]
    observed = "none" if verdict.observed is None else escape(words.show(verdict.observed, name).full)
    outcome = _WORDS[verdict.outcome] + (" (warning gate)" if verdict.gate.severity is Severity.WARNING else "")
    asked = f"{escape(verdict.subject)} {escape(words.bound(verdict.gate, verdict.observed, name))}"
    return outcome, asked, observed, escape(verdict.why)


def _headlines(record: Record) -> list[tuple[str, ...]]:
    return [
        (escape(entry.unit.check), escape(words.title(name)), escape(words.show(evidence.estimates[name], name).full))
        for entry in record.evidence
        if isinstance(evidence := entry.evidence, Measured)
        for name in evidence.headline
    ]


def _unmeasured(record: Record) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for entry in record.evidence:
        match entry.evidence:
            case Failed(error=error):
                rows.append((escape(entry.unit.check), "broke", escape(error)))
            case Skipped(reason=reason):
                rows.append((escape(entry.unit.check), "does not apply", escape(reason)))
    return rows + [(escape(check), "not run", "the run was interrupted") for check in record.missing]


def _table(heading: str, columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    if not rows:
        return []
    head = ["", f"## {heading}", "", f"| {' | '.join(columns)} |", "|" + " --- |" * len(columns)]
    return head + [f"| {' | '.join(row)} |" for row in rows]


def _cut(lines: list[str]) -> str:
    size, kept = 0, []
    for position, text in enumerate(lines):
        size += len(text.encode()) + 1
        if size > LIMIT:
            kept += ["", f"{len(lines) - position} more lines; see report.html."]
            break
        kept.append(text)
    return "\n".join(kept) + "\n"
