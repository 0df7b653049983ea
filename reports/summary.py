"""The record in one word, one sentence and one exit code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from reports.record import Failed, Outcome, Record, Severity, Skipped, Verdict

EXIT_CODES = {Outcome.PASS: 0, Outcome.FAIL: 1, Outcome.INSUFFICIENT: 3}
_RANK = {Outcome.FAIL: 0, Outcome.INSUFFICIENT: 1, Outcome.PASS: 2}


@dataclass(frozen=True)
class Summary:
    """What the audit says as a whole."""

    outcome: Outcome
    #: verdicts of deciding gates (severity error) by outcome
    decided: Counter[Outcome]
    #: verdicts of warning gates by outcome
    warnings: Counter[Outcome]
    skipped: int
    failed: int
    missing: int

    @property
    def exit_code(self) -> int:
        """What `audit run` and `audit judge` exit with."""
        return EXIT_CODES[self.outcome]

    @property
    def sentence(self) -> str:
        """Why the outcome is what it is."""
        gates = sum(self.decided.values())
        if not gates:
            return "No deciding gate was held against this model, so nothing is claimed."
        if self.outcome is Outcome.FAIL:
            return f"{self.decided[Outcome.FAIL]} of {_plural(gates, 'deciding gate')} failed."
        if self.outcome is Outcome.INSUFFICIENT:
            undecided = self.decided[Outcome.INSUFFICIENT]
            return f"{undecided} of {_plural(gates, 'deciding gate')} could not be decided on this evidence."
        return "The deciding gate passed." if gates == 1 else f"All {gates} deciding gates passed."

    @property
    def remarks(self) -> tuple[str, ...]:
        """What else a reader must know, each a phrase."""
        undecided = self.decided[Outcome.INSUFFICIENT] if self.outcome is Outcome.FAIL else 0
        counts = (
            (undecided, "gate undecided", "gates undecided"),
            (self.warnings[Outcome.FAIL], "warning", "warnings"),
            (self.warnings[Outcome.INSUFFICIENT], "undecided warning", "undecided warnings"),
            (self.failed, "check broke", "checks broke"),
            (self.missing, "check was not run", "checks were not run"),
            (self.skipped, "check does not apply", "checks do not apply"),
        )
        return tuple(f"{count} {one if count == 1 else many}" for count, one, many in counts if count)


def overall(verdicts: Iterable[Verdict]) -> Outcome:
    """FAIL where a deciding gate failed, INSUFFICIENT where one could not be decided or none was held, else PASS."""
    decisive = {v.outcome for v in verdicts if v.gate.severity is Severity.ERROR}
    if Outcome.FAIL in decisive:
        return Outcome.FAIL
    return Outcome.PASS if decisive == {Outcome.PASS} else Outcome.INSUFFICIENT


def summarise(record: Record) -> Summary:
    """Sum the record up."""
    return Summary(
        outcome=overall(record.verdicts),
        decided=Counter(v.outcome for v in record.verdicts if v.gate.severity is Severity.ERROR),
        warnings=Counter(v.outcome for v in record.verdicts if v.gate.severity is Severity.WARNING),
        skipped=sum(isinstance(entry.evidence, Skipped) for entry in record.evidence),
        failed=sum(isinstance(entry.evidence, Failed) for entry in record.evidence),
        missing=len(record.missing),
    )


def worst_first(verdicts: tuple[Verdict, ...]) -> list[Verdict]:
    """The verdicts with failures first; deciding gates before warnings, else in the policy's order."""
    return sorted(verdicts, key=lambda v: (_RANK[v.outcome], v.gate.severity is Severity.WARNING))


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")
