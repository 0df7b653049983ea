"""Fairness: as unbiased as the data."""

from __future__ import annotations

from reports.html.sections.section import Advice, Phrase, Section

SECTION = Section(
    id="fairness",
    title="Fairness",
    challenge="A model is as unbiased as its data: what was unequal in them is learnt and applied to people.",
    question="Whom does it treat worse, is that more than chance, and what mends it?",
    order=("disparity", "rates", "calibration"),
    phrases=(
        Phrase(
            "fairness.*/demographic_parity_difference@*",
            "Between the groups of {slice} the share of favourable answers differs by up to {}.",
        ),
        Phrase(
            "fairness.*/equal_opportunity_difference@*",
            "Among those who deserve a favourable answer, the share who get it differs by up to {} between the groups "
            "of {slice}.",
        ),
        Phrase("fairness.*/calibration_gap@*", "For {slice} the expected and the true share differ by {}."),
    ),
    advice=(
        Advice(
            "fairness.*/demographic_parity*",
            "Favourable answers are spread unevenly. First see whether the base rates differ (section Data): if they do, "
            "settle which definition of fairness the use asks for, for no model meets all of them at once.",
        ),
        Advice(
            "fairness.*/equal_opportunity*",
            "Those who deserve the favourable answer get it less often in some groups. Gather more rows of these groups, "
            "reweigh the training data, or set thresholds by group where the law allows it.",
        ),
        Advice(
            "fairness.calibration/*",
            "The same score means different things for different groups. Recalibrate by group, or use no single "
            "threshold.",
        ),
        Advice(
            "fairness.*/*",
            "Name the group with the worst rate above, look at what the model leans on for it (section Explanation), and "
            "measure again after every mitigation: mending one rate can worsen another.",
        ),
    ),
    upkeep="Small groups have wide intervals: no proven difference is not proof of none. Gather more rows where an "
    "interval is wider than what you could accept.",
)
