"""Fairness: as unbiased as the data."""

from __future__ import annotations

from reports.html.sections.section import Advice, Phrase, Section

SECTION = Section(
    id="fairness",
    title="Fairness",
    challenge="A model is as unbiased as its data: what was unequal in them is learnt and applied to people.",
    question="Whom does it treat worse, is that more than chance, and what mends it?",
    order=(
        "disparity",
        "rates",
        "definitions",
        "subgroups",
        "thresholds",
        "calibration",
        "strata",
        "counterfactual",
        "individual",
        "traces",
        "label_noise",
        "unknown",
        "mitigation",
    ),
    phrases=(
        Phrase(
            "fairness.disparity/demographic_parity_difference@*",
            "Between the groups of {slice} the share of favourable answers differs by up to {}.",
        ),
        Phrase(
            "fairness.disparity/equal_opportunity_difference@*",
            "Among those who deserve a favourable answer, the share who get it differs by up to {} between the groups "
            "of {slice}.",
        ),
        Phrase(
            "fairness.mitigation/smallest_difference@*",
            "The remedies tried bring the difference they aim at, for {slice}, down to {}.",
        ),
        Phrase(
            "fairness.subgroups/largest_excess@error",
            "The error rate of the subgroup that surely fares worst is {} above that of all others.",
        ),
        Phrase(
            "fairness.counterfactual/answers_changed@*",
            "Where nothing but {slice} is exchanged, {} of the answers change with at least one of its values.",
        ),
        Phrase(
            "fairness.calibration/calibration_gap@*",
            "How far the expected share of favourable outcomes is from the true one differs by {} between the groups of {slice}.",
        ),
        Phrase(
            "fairness.strata/*_change@*",
            "Once people alike in one other respect are compared, the difference between groups of {slice} changes by {}.",
        ),
    ),
    advice=(
        Advice(
            "fairness.disparity/demographic_parity*",
            "Favourable answers are spread unevenly. First see whether the base rates differ (section Data): if they do, "
            "settle which definition of fairness the use asks for, for no model meets all of them at once.",
        ),
        Advice(
            "fairness.disparity/equal_opportunity*",
            "Those who deserve the favourable answer get it less often in some groups. Gather more rows of these groups, "
            "or have `audit mitigate` reweigh, retrain or set thresholds by group, where the law allows it.",
        ),
        Advice(
            "fairness.subgroups/subgroups_confirmed@*",
            "Some subgroups fare worse than the rest, on rows that were not searched. Look at what they share before "
            "retraining: too few rows, doubtful labels, or a part of the task the model has not learnt.",
            above=0.0,
        ),
        Advice(
            "fairness.counterfactual/*",
            "Answers turn with the protected attribute alone. Ask whether the model may see it at all; without it, look "
            "for what stands in for it (section Explanation).",
        ),
        Advice(
            "fairness.calibration/*",
            "The same score means different things for different groups. Recalibrate by group, or use no single "
            "threshold.",
        ),
        Advice(
            "fairness.label_noise/*",
            "The labels of some groups are more doubtful than those of others. Have people look at the rows named before "
            "anything is trained or measured on them again.",
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
