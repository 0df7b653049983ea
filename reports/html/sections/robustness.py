"""Robustness."""

from reports.html.sections.section import Section

SECTION = Section(
    id="robustness",
    title="Robustness",
    challenge="Small perturbations, often imperceptible, and plain noise change the answer; an attacker can make them on purpose.",
    question="How little does it take to break this model, can that number be trusted, and what would hardening cost?",
)
