"""Record + Policy -> Verdicts -> exit code."""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import IntEnum
from importlib.resources import files
from pathlib import Path

from pydantic import Field

from audit.check import registry
from audit.errors import PlanError, nearest
from audit.plan import Strict, read_yaml, validate
from reports.record import Entry, Estimate, Failed, Gate, Measured, Outcome, Record, Skipped, Verdict
from reports.summary import EXIT_CODES, overall


class ExitCode(IntEnum):
    """What the process says to a pipeline."""

    PASSED = 0
    FAILED = 1
    BAD_INPUT = 2
    INSUFFICIENT = 3
    INTEGRITY = 4
    BROKEN = 70
    #: the shell's convention for Ctrl-C (128 + SIGINT)
    INTERRUPTED = 130


class Policy(Strict):
    """Gates that a model must pass."""

    name: str = Field(description="Name shown in the report.")
    description: str = Field("", description="What the policy is for.")
    gates: list[Gate] = Field(min_length=1, description="Bounds on estimates, named check.id/estimate; * matches any.")


def read_policy(policy: str) -> Policy:
    """Read a shipped policy by its name, or a YAML file.

    Raises:
        PlanError: there is no such policy, or it does not fit the schema.
    """
    shipped = {
        entry.name.removesuffix(".yaml"): entry
        for entry in files("audit.policies").iterdir()
        if entry.name.endswith(".yaml")
    }
    if policy in shipped:
        path = Path(str(shipped[policy]))
    elif policy.endswith((".yaml", ".yml")):
        path = Path(policy)
    else:
        raise PlanError(f"Expected a shipped policy or a YAML file, found {policy!r}{nearest(policy, shipped)}")
    found = validate(Policy, read_yaml(path, "policy"), str(path))
    known = registry()
    for gate in found.gates:
        check, slash, name = gate.estimate.partition("/")
        if not (slash and name):
            raise PlanError(
                f"Expected check.id/estimate in a gate of {path}, found {gate.estimate!r}; see `audit list`."
            )
        if not any(matches(known_name, check) for known_name in known):
            raise PlanError(f"Expected a gate of {path} on a check, found {check!r}{nearest(check, known)}")
    return found


def judge(record: Record, policy: str = "default") -> tuple[Verdict, ...]:
    """Hold the record's estimates against the policy's gates.

    A gate passes or fails only where the whole interval lies on one side of its bound; otherwise, and where the check
    failed or the estimate is undefined, the evidence is INSUFFICIENT. A gate on a check that was skipped or not planned
    gives no verdict unless the gate is `required`.

    Args:
        record: what `audit.run` returned.
        policy: name of a shipped policy, or path of a YAML file.
    """
    return tuple(verdict for gate in read_policy(policy).gates for verdict in _hold(gate, record))


def exit_code(verdicts: Iterable[Verdict]) -> ExitCode:
    """PASSED, FAILED or INSUFFICIENT; warnings do not count, and no deciding gate at all is INSUFFICIENT."""
    return ExitCode(EXIT_CODES[overall(verdicts)])


def _hold(gate: Gate, record: Record) -> list[Verdict]:
    check_pattern, _, name_pattern = gate.estimate.partition("/")
    verdicts: list[Verdict] = []
    absent, mistaken = "no such check was run", False
    for entry in record.evidence:
        if not matches(entry.unit.check, check_pattern):
            continue
        match entry.evidence:
            case Measured(estimates=estimates):
                absent, mistaken = "the check measured no such estimate", not gate.optional
                for name, estimate in sorted(estimates.items()):  # as the written record has them
                    if matches(name, name_pattern):
                        outcome, why = compare(gate, estimate)
                        verdicts.append(_verdict(gate, entry, name, outcome, estimate, why))
            case Failed(error=error):
                why = f"the check failed: {error}"
                verdicts.append(_verdict(gate, entry, name_pattern, Outcome.INSUFFICIENT, None, why))
            case Skipped(reason=reason):
                absent = f"skipped: {reason}"
    interrupted = any(matches(check, check_pattern) for check in record.missing)
    if interrupted or (not verdicts and (gate.required or mistaken)):
        why = "the run was interrupted before this check" if interrupted else absent
        why += (
            "; the policy requires it"
            if gate.required
            else ""
            if interrupted
            else "; mend its name or make it optional"
        )
        verdicts.append(
            Verdict(
                gate=gate, subject=gate.estimate, outcome=Outcome.INSUFFICIENT, observed=None, evidence=None, why=why
            )
        )
    return verdicts


def matches(name: str, pattern: str) -> bool:
    """Whether a name fits a pattern, in which `*` stands for any characters and all others for themselves."""
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), name, re.DOTALL) is not None


def compare(gate: Gate, estimate: Estimate) -> tuple[Outcome, str]:
    """Hold one estimate against one gate; the second value says why in words."""
    if estimate.value is None:
        return Outcome.INSUFFICIENT, f"undefined: {estimate.reason}"
    assert estimate.low is not None and estimate.high is not None
    if gate.at_least is not None:
        if estimate.low >= gate.at_least:
            return Outcome.PASS, "the whole interval reaches the bound"
        if estimate.high < gate.at_least:
            return Outcome.FAIL, "the whole interval lies below the bound"
    else:
        assert gate.at_most is not None
        if estimate.high <= gate.at_most:
            return Outcome.PASS, "the whole interval stays within the bound"
        if estimate.low > gate.at_most:
            return Outcome.FAIL, "the whole interval lies above the bound"
    return Outcome.INSUFFICIENT, f"the interval reaches across the bound; n = {estimate.n} does not decide it"


def _verdict(gate: Gate, entry: Entry, name: str, outcome: Outcome, observed: Estimate | None, why: str) -> Verdict:
    return Verdict(
        gate=gate,
        subject=f"{entry.unit.check}/{name}",
        outcome=outcome,
        observed=observed,
        evidence=entry.unit.key,
        why=why,
    )
