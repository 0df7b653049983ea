"""Fit."""

from reports.html.sections.section import Section

SECTION = Section(
    id="fit",
    title="Fit",
    challenge="A model may memorise instead of learn, and be sure where it is wrong; its many settings decide.",
    question="Has it learnt or memorised, does it know when it is wrong, how sensitive is it to its settings?",
)
