"""The exception tree.

    AssayError            what a user can mend; the command line prints its one sentence and exits with 2
    ├── ModelError        the checkpoint, its factory, or what it returns
    ├── DataError         the data set, a column, a label, a value
    ├── PlanError         the plan, the policy, an option, a check's parameters
    └── OutputError       the output folder
    IntegrityError        evidence that does not match what it claims to be; exit code 4

Every message reads "Expected ..., found ...; try ...".
"""

from __future__ import annotations

from collections.abc import Iterable


class AssayError(ValueError):
    """Input the audit refuses; the message says what was expected, what was found and what to try."""


class ModelError(AssayError):
    """The checkpoint, its factory, or what the model returns."""


class DataError(AssayError):
    """The data set, a column, a label, a value."""


class PlanError(AssayError):
    """The plan, the policy, an option, or a check's parameters."""


class OutputError(AssayError):
    """The output folder cannot be used."""


class IntegrityError(Exception):
    """Evidence does not match what it claims to be."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `"; did you mean 'x'?"` for the closest known name, or a list of the known names.

    Args:
        name: what was found.
        known: what would have been valid.
    """
    import difflib

    names = [str(k) for k in known]
    close = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    if not close:  # a wrong case is nearer than any cutoff says
        close = [k for k in names if k.casefold() == str(name).casefold()]
    if close:
        return f"; did you mean {close[0]!r}?"
    shown = ", ".join(repr(k) for k in names[:12]) + (", ..." if len(names) > 12 else "")
    return f"; try one of {shown}." if names else "."
