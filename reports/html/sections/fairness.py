"""Fairness."""

from reports.html.sections.section import Section

SECTION = Section(
    id="fairness",
    title="Fairness",
    challenge="A model is as unbiased as its data: what was unequal in them is learnt and applied to people.",
    question="Whom does it treat worse, is that more than chance, and what mends it?",
)
