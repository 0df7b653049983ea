"""Record -> SARIF 2.1.0 (OASIS, 2020), for code scanning.

A rule is a gate of the policy, or a check that broke; its help is the check's own text. Results:

- FAIL: level `error` for a gate of severity error, `warning` for a warning.
- INSUFFICIENT: one level lower (`warning`, `note`); `kind` stays `fail`, since viewers hide `open`.
- a check that broke: `error`.

The place of a result is the audited checkpoint, and the estimate is its logical location.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any
from urllib.parse import quote

from reports import words
from reports.record import Card, Failed, Gate, Outcome, Record, Severity, Verdict
from reports.summary import summarise

SCHEMA_URI = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LEVELS = {
    (Outcome.FAIL, Severity.ERROR): "error",
    (Outcome.FAIL, Severity.WARNING): "warning",
    (Outcome.INSUFFICIENT, Severity.ERROR): "warning",
    (Outcome.INSUFFICIENT, Severity.WARNING): "note",
}


def to_sarif(record: Record) -> str:
    """Failed and undecided verdicts and broken checks as a SARIF log."""
    cards = {card.id: card for card in record.cards}
    gates: dict[str, list[Gate]] = {}
    for gate in dict.fromkeys(v.gate for v in record.verdicts):
        gates.setdefault(gate.estimate, []).append(gate)
    rules = {estimate: _gate_rule(asked, cards) for estimate, asked in gates.items()}
    broken = [entry for entry in record.evidence if isinstance(entry.evidence, Failed)]
    rules |= {entry.unit.check: _check_rule(entry.unit.check, cards) for entry in broken}
    index = {identifier: position for position, identifier in enumerate(rules)}
    results = [
        {"ruleId": words.line(rule), "ruleIndex": index[rule], **result, **_place(record, rule, where)}
        for rule, where, result in _results(record)
    ]
    summary = summarise(record)
    run = {
        "tool": {
            "driver": {
                "name": "Assay",
                "semanticVersion": record.environment.get("assay", "0.0.0"),
                "rules": list(rules.values()),
            }
        },
        "invocations": [
            {"executionSuccessful": not broken and not record.missing, "exitCode": summary.exit_code},
        ],
        "artifacts": [{"location": {"uri": _uri(record.subject.source)}, "roles": ["analysisTarget"]}],
        "columnKind": "unicodeCodePoints",
        "results": results,
        "properties": {"model": words.line(record.subject.name), "modelDigest": words.line(record.subject.digest)},
    }
    document = {"$schema": SCHEMA_URI, "version": "2.1.0", "runs": [run]}
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _results(record: Record) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for verdict in record.verdicts:
        level = _LEVELS.get((verdict.outcome, verdict.gate.severity))
        if level:
            yield verdict.gate.estimate, verdict.subject, _verdict_result(verdict, level)
    for entry in record.evidence:
        if isinstance(entry.evidence, Failed):
            text = words.line(f"The check {entry.unit.check} broke: {entry.evidence.error}", 2000)
            result = {
                "level": "error",
                "message": {"text": text},
                "properties": {"outcome": "BROKEN", "evidence": words.line(entry.unit.key)},
            }
            yield entry.unit.check, entry.unit.check, result


def _verdict_result(verdict: Verdict, level: str) -> dict[str, Any]:
    name = verdict.subject.partition("/")[2]
    observed = "nothing" if verdict.observed is None else words.show(verdict.observed, name).full
    text = f"Expected {verdict.subject} {words.bound(verdict.gate, verdict.observed, name)}, found {observed}: {verdict.why}."
    properties: dict[str, Any] = {"outcome": str(verdict.outcome), "severity": str(verdict.gate.severity)}
    if verdict.evidence is not None:
        properties["evidence"] = words.line(verdict.evidence)
    if verdict.observed is not None:
        properties["observed"] = verdict.observed.model_dump(mode="json", include={"value", "low", "high", "n", "unit"})
    return {"level": level, "message": {"text": words.line(text, 2000)}, "properties": properties}


def _place(record: Record, rule: str, where: str) -> dict[str, Any]:
    uri = _uri(record.subject.source)
    print_of = hashlib.sha256("\n".join((rule, where, uri)).encode("utf-8", "surrogatepass")).hexdigest()[:32]
    logical = {
        "name": words.line(where.partition("/")[2] or where),
        "fullyQualifiedName": words.line(where),
        "kind": "member",
    }
    return {
        "locations": [
            {
                # a checkpoint has no lines, but viewers show no result without one
                "physicalLocation": {"artifactLocation": {"uri": uri, "index": 0}, "region": {"startLine": 1}},
                "logicalLocations": [logical],
            }
        ],
        "partialFingerprints": {"assayEstimate/v1": print_of},
    }


def _gate_rule(gates: list[Gate], cards: dict[str, Card]) -> dict[str, Any]:
    estimate = gates[0].estimate
    check = estimate.partition("/")[0]
    title = f"{estimate} {' and '.join(words.bound(gate, None) for gate in gates)}"
    why = " ".join(gate.why for gate in gates if gate.why)
    level = "error" if any(gate.severity is Severity.ERROR for gate in gates) else "warning"
    return _rule(estimate, title, why, level, check.partition(".")[0], cards.get(check))


def _check_rule(check: str, cards: dict[str, Card]) -> dict[str, Any]:
    return _rule(check, f"{check} can be measured", "", "error", check.partition(".")[0], cards.get(check))


def _rule(identifier: str, title: str, why: str, level: str, section: str, card: Card | None) -> dict[str, Any]:
    parts = [("Asked for because", why)]
    if card is not None:
        parts += [
            ("What it measures", card.what),
            ("Why it matters", card.why),
            ("How to read it", card.how),
            ("References", card.references),
        ]
    told = [(heading, words.line(text, 4000)) for heading, text in parts if text] or [("Rule", words.line(title))]
    return {
        "id": words.line(identifier),
        "name": "".join(part[:1].upper() + part[1:] for part in re.split(r"[^0-9A-Za-z]+", identifier)) or "Gate",
        "shortDescription": {"text": words.line(title)},
        "fullDescription": {"text": told[0][1]},
        "help": {"text": "\n\n".join(f"{heading}: {text}" for heading, text in told)},
        "defaultConfiguration": {"level": level},
        "properties": {"tags": [words.line(section)]},
    }


def _uri(source: str) -> str:
    """The checkpoint's path as a URI reference; relative paths stay relative."""
    text = words.line(source, 2000)
    path = PureWindowsPath(text)
    if "\\" in text or path.drive:
        text = path.as_posix()
        return f"file:///{quote(text, safe='/:')}" if path.drive else quote(text)
    return f"file://{quote(text)}" if PurePosixPath(text).is_absolute() else quote(text.removeprefix("./")) or "model"
