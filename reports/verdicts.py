"""Gates that a policy holds against estimates, and what came of them."""

from __future__ import annotations

from enum import StrEnum

from pydantic import model_validator

from reports.estimates import Estimate, Frozen


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
    #: whether a check may lack the estimate (one policy for tables and images, with and without training data)
    optional: bool = False
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
