"""Explanation: black boxes."""

from reports.html.sections.section import Section

SECTION = Section(
    id="explain",
    title="Explanation",
    challenge="A deep model is a black box: nobody sees why it answers as it does, so errors and bias stay hidden.",
    question="What does this model look at, is that explanation true, and is it what it should look at?",
)
