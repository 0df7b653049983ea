"""One section a challenge, in the order of the report."""

from __future__ import annotations

from reports.html.sections import cost, data, explain, fairness, fit, robustness
from reports.html.sections.section import Section

SECTIONS = (
    explain.SECTION,
    robustness.SECTION,
    fairness.SECTION,
    data.SECTION,
    cost.SECTION,
    fit.SECTION,
)


def generic(name: str) -> Section:
    """A section for checks whose section has no renderer of its own."""
    title = name.replace("_", " ").capitalize()
    return Section(name, title, challenge="", question=f"What was measured of {title.lower()}?")
