"""Numbers and names as people read them; every renderer takes its wording from here."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from reports.record import Estimate, Gate

FRACTION = "fraction"
_SPELT = (
    *(
        "AUC",
        "AUROC",
        "CPU",
        "CUDA",
        "ECE",
        "F1",
        "FLOPs",
        "FNR",
        "FPR",
        "GPU",
        "ID",
        "IG",
        "IoU",
        "KS",
        "LIME",
        "MCE",
        "NLL",
    ),
    *("PGD", "ROC", "SHAP", "TPR", "TNR", "p50", "p90", "p95", "p99"),
)
_ACRONYMS = {name.casefold(): name for name in _SPELT} | {"linf": "L∞", "l0": "L0", "l1": "L1", "l2": "L2"}
#: a fraction whose name says that it is a difference is counted in percentage points
_DIFFERENCES = {"beyond", "change", "difference", "drop", "effect", "excess", "favour", "gain", "gap", "lift", "loss"}
# C0 and C1 controls (except tab and newline), lone surrogates, non-characters, and the bidirectional overrides that
# make a name read differently from what it is
_UNSAFE = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|"  # terminal colours and cursor movements
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)


def clean(text: str) -> str:
    """The text without characters that no document should carry: controls, bidirectional overrides, surrogates."""
    return _UNSAFE.sub("", text)


def line(text: str, limit: int = 300) -> str:
    """The cleaned text on one line, cut at `limit` characters."""
    flat = " ".join(clean(text).split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


@dataclass(frozen=True)
class Shown:
    """An estimate in words. `low` and `high` are empty for what is exact or undefined."""

    number: str
    low: str = ""
    high: str = ""
    #: what the interval is called, e.g. "95 % interval"; "exact" for a number without sampling error
    level: str = ""
    n: str = ""
    unit: str = ""

    @property
    def value(self) -> str:
        """`85.1 %`: the number with its unit."""
        return f"{self.number} {self.unit}" if self.unit else self.number

    @property
    def interval(self) -> str:
        """`84.5 to 85.6`, empty where there is none."""
        return f"{self.low} to {self.high}" if self.low else ""

    @property
    def short(self) -> str:
        """`85.1 % (84.5 to 85.6)`."""
        return f"{self.value} ({self.interval})" if self.low else self.value

    @property
    def full(self) -> str:
        """`85.1 % (95 % interval 84.5 to 85.6, n = 15,060)`."""
        inside = [f"{self.level} {self.interval}".strip()] if self.level else []
        inside += [f"n = {self.n}"] if self.n else []
        return f"{self.value} ({', '.join(inside)})" if inside else self.value


def show(estimate: Estimate, name: str = "") -> Shown:
    """An estimate in words; the digits follow the width of its interval.

    Args:
        estimate: what to show.
        name: its name; tells a share from a difference of shares.
    """
    if estimate.value is None:
        return Shown(f"undefined: {clean(estimate.reason or '')}")
    assert estimate.low is not None and estimate.high is not None
    factor = 100.0 if estimate.unit == FRACTION else 1.0
    value, low, high = (factor * x for x in (estimate.value, estimate.low, estimate.high))
    form = _Form.fitting(value, low, high).write
    shown_unit = unit(estimate.unit, name)
    count = f"{estimate.n:,}" if estimate.n else ""
    # "5 %" in a method is a tolerance, "95 %" a level of confidence
    level = next(
        (m.group() for m in re.finditer(r"\d+(?:\.\d+)? %", estimate.method) if float(m.group()[:-2]) >= 50), ""
    )
    if low == high and not level:
        origin = "exact" if estimate.method.startswith("exact") else clean(estimate.method)
        return Shown(form(value), level=origin, n=count if estimate.n > 1 else "", unit=shown_unit)
    return Shown(form(value), form(low), form(high), f"{level} interval".strip(), count, shown_unit)


def unit(unit: str, name: str = "") -> str:
    """The unit as it is shown: fractions in per cent, their differences in percentage points."""
    if unit != FRACTION:
        return clean(unit)
    words = set(re.split(r"[\W_]+", name.partition("@")[0].casefold()))
    return "percentage points" if words & _DIFFERENCES else "%"


def number(x: float, percent: bool = False) -> str:
    """A number that has no interval: whole, or four significant digits."""
    x = 100 * x if percent else x
    return _Form.fitting(x, x, x).write(x) + (" %" if percent else "")


@dataclass(frozen=True)
class _Form:
    """One form for a value and both ends of its interval."""

    digits: int
    scientific: bool
    #: drop zeros that say nothing; those of an interval tell its precision
    trim: bool

    @classmethod
    def fitting(cls, value: float, low: float, high: float) -> _Form:
        largest = max(abs(value), abs(low), abs(high))
        magnitude = math.floor(math.log10(largest)) if largest else 0
        width = high - low
        if width > 0:
            digits = 1 - math.floor(math.log10(width))
            if low > 0 or high < 0:  # a wide interval must not round what lies off zero to zero
                digits = max(digits, -math.floor(math.log10(min(abs(low), abs(high)))))
            digits = min(digits, 5 - magnitude)
        else:
            digits = 0 if float(value).is_integer() else 3 - magnitude
        return cls(max(0, digits), largest != 0 and not 1e-4 <= largest < 1e15, trim=width == 0)

    def write(self, x: float) -> str:
        if self.scientific:
            mantissa, _, exponent = f"{x:.2e}".partition("e")
            raised = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
            return f"{mantissa} × 10{raised}".replace("-", "−") if x else "0"
        text = f"{x:,.{self.digits}f}"
        if self.trim and "." in text:
            text = text.rstrip("0").rstrip(".")
        if text.startswith("-") and not text.strip("-0.,"):
            text = text[1:]
        return text.replace("-", "−")


def title(name: str) -> str:
    """`robust_accuracy@linf:0.1` as `Robust accuracy, linf:0.1`."""
    quantity, _, part = clean(name).partition("@")
    words = " ".join(_ACRONYMS.get(word.casefold(), word) for word in quantity.split("_"))
    words = words[:1].upper() + words[1:] if quantity.split("_")[0].casefold() not in _ACRONYMS else words
    return f"{words}, {part}" if part else words


def bound(gate: Gate, observed: Estimate | None, name: str = "") -> str:
    """`at least 80 %`, in the unit of what was observed."""
    words, limit = ("at least", gate.at_least) if gate.at_least is not None else ("at most", gate.at_most)
    assert limit is not None
    if observed is None:
        return f"{words} {number(limit)}"
    factor = 100.0 if observed.unit == FRACTION else 1.0
    shown = unit(observed.unit, name)
    return f"{words} {number(factor * limit)}" + (f" {shown}" if shown else "")


def named(subject: str) -> str:
    """`fit.accuracy/macro_f1` as `Macro F1`; a pattern that no estimate matched stays as it is."""
    name = subject.partition("/")[2]
    return clean(subject) if not name or "*" in name or "?" in name else title(name)


def asked(gate: Gate, subject: str, observed: Estimate | None) -> str:
    """The gate as a sentence without a full stop: `Macro F1 at least 80 %`."""
    return f"{named(subject)} {bound(gate, observed, subject.partition('/')[2])}"
