"""Cost."""

from reports.html.sections.section import Section

SECTION = Section(
    id="cost",
    title="Cost",
    challenge="Training and inference take computation, special hardware and energy.",
    question="What does a prediction cost, how far from the machine’s limit is it, what could be saved?",
)
