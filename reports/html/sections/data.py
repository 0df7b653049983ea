"""Data."""

from reports.html.sections.section import Section

SECTION = Section(
    id="data",
    title="Data",
    challenge="Deep learning needs many rows with sound labels; too few, wrong, leaked or one-sided data spoil every other number.",
    question="How much data does it need, are labels and splits sound, is everybody in it?",
)
