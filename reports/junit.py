"""Record -> JUnit XML.

One test suite a section, one test case a verdict. A pipeline that reads it stops where `audit`'s exit code stops it:

- FAIL of severity error: `failure`.
- INSUFFICIENT of severity error: `error`, because a skipped test counts as green and absence of evidence must not.
- severity warning, whatever the outcome: passed, with the finding in `system-out`.
- a check that broke, or was not run: a test case of its own with `error`; one that does not apply: `skipped`.

No timestamps and no durations: equal records are equal bytes.
"""

from __future__ import annotations

from collections.abc import Iterator

from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite

from reports import words
from reports.record import Failed, Outcome, Record, Severity, Verdict
from reports.record import Skipped as SkippedCheck


def to_junit(record: Record) -> str:
    """The verdicts and the unmeasured checks as JUnit XML."""
    suites: dict[str, TestSuite] = {}
    for section, case in _cases(record):
        if section not in suites:
            suites[section] = TestSuite(words.line(section))
        suites[section].add_testcase(case)
    document = JUnitXml(words.line(f"assay: {record.subject.name}"))
    for suite in suites.values():
        document.add_testsuite(suite)
    document.update_statistics()
    body: bytes = document.tostring()
    return f'<?xml version="1.0" encoding="utf-8"?>\n{body.decode()}\n'


def _cases(record: Record) -> Iterator[tuple[str, TestCase]]:
    for verdict in record.verdicts:
        yield _section(verdict.subject), _verdict(verdict)
    for entry in record.evidence:
        check = entry.unit.check
        match entry.evidence:
            case Failed(error=error):
                yield _section(check), _case(check, "is measured", Error(words.line(error, 2000), "check-broke"))
            case SkippedCheck(reason=reason):
                yield _section(check), _case(check, "is measured", Skipped(words.line(reason, 2000)))
    for check in record.missing:
        yield _section(check), _case(check, "is measured", Error("the run was interrupted", "check-not-run"))


def _verdict(verdict: Verdict) -> TestCase:
    check, _, name = verdict.subject.partition("/")
    observed = "nothing" if verdict.observed is None else words.show(verdict.observed, name).full
    message = words.line(f"{verdict.outcome}: observed {observed}; {verdict.why}", 2000)
    result = None
    if verdict.gate.severity is Severity.ERROR and verdict.outcome is Outcome.FAIL:
        result = Failure(message, "gate")
    elif verdict.gate.severity is Severity.ERROR and verdict.outcome is Outcome.INSUFFICIENT:
        result = Error(message, "insufficient-evidence")
    case = _case(check, f"{name} {words.bound(verdict.gate, verdict.observed, name)}", result)
    evidence = "" if verdict.evidence is None else f"\nevidence: {words.line(verdict.evidence)}"
    reason = f"\npolicy: {words.line(verdict.gate.why, 2000)}" if verdict.gate.why else ""
    label = "warning: " if verdict.gate.severity is Severity.WARNING else ""
    case.system_out = label + message + reason + evidence
    return case


def _case(check: str, name: str, result: Failure | Error | Skipped | None) -> TestCase:
    case = TestCase(words.line(name), f"assay.{words.line(check)}")
    if result is not None:
        case.result = [result]
    return case


def _section(check: str) -> str:
    return check.partition(".")[0]
