"""Robustness: small changes, large errors."""

from __future__ import annotations

from reports.html.sections.section import Advice, Phrase, Section

SECTION = Section(
    id="robustness",
    title="Robustness",
    challenge="Small perturbations, often imperceptible, and plain noise change the answer; an attacker can make them on "
    "purpose.",
    question="How little does it take to break this model, can that number be trusted, and what would hardening cost?",
    order=(
        "hardening",
        "evasion",
        "table_evasion",
        "text_evasion",
        "certificates",
        "groups",
        "spatial",
        "patch",
        "corruptions",
        "noise",
        "text_noise",
    ),
    phrases=(
        Phrase("robustness.*evasion/robust_accuracy@*", "Under attack ({slice}) {} of the answers stay right."),
        Phrase("robustness.evasion/untrusted_findings@*", "Signs that the {slice} attack was blinded: {}."),
        Phrase(
            "robustness.evasion/control_hit_rate@*", "Of the adversarial examples planted, the {slice} attack found {}."
        ),
        Phrase(
            "robustness.hardening/robust_accuracy_change@*", "Hardening changed accuracy under attack ({slice}) by {}."
        ),
        Phrase("robustness.hardening/accuracy_change", "On clean inputs it changed accuracy by {}."),
        Phrase("robustness.certificates/certified_accuracy@*", "Proved beyond any attack ({slice}): {}."),
        Phrase("robustness.spatial/robust_accuracy@*", "Turned or shifted a little ({slice}) {} stay right."),
        Phrase("robustness.patch/robust_accuracy@*", "With a patch ({slice}) {} stay right."),
        Phrase(
            "robustness.groups/robust_accuracy_difference@*", "Under attack the groups of {slice} differ by up to {}."
        ),
        Phrase("robustness.*/mean_corruption_accuracy", "Over all corruptions and severities {} stay right."),
        Phrase("robustness.*/worst_corruption_accuracy", "Under the worst corruption {} stay right."),
        Phrase("robustness.*/accuracy_drop@*", "Noise ({slice}) costs {} of accuracy."),
        Phrase("robustness.*/changed_answers@*", "Noise ({slice}) changes {} of the answers."),
        Phrase("robustness.*/clean_accuracy", "On the clean inputs of the sample {} are right."),
    ),
    advice=(
        Advice(
            "robustness.evasion/untrusted_findings*",
            "The attack may have been blinded (masked gradients), so the robustness shown may be an illusion. Run the "
            "exhaustive effort and believe the strongest attack only.",
            above=0.0,
        ),
        Advice(
            "robustness.evasion/control_hit_rate*",
            "The attack misses adversarial examples that are known to exist, so its number says little about those that are "
            "not known. Look for what hides the gradient before anything else.",
        ),
        Advice(
            "robustness.groups/robust_accuracy_difference*",
            "Some groups are easier to attack. Harden with their rows weighted up, and measure each group again.",
        ),
        Advice(
            "robustness.*evasion/robust_accuracy*",
            "An attacker needs little. Use adversarial training: audit harden PLAN does it, and tells what it costs in "
            "accuracy, fairness and calibration. Limit what an input may contain, and keep the scores from those who may "
            "attack.",
        ),
        Advice(
            "robustness.spatial/*",
            "Train with turned and shifted images, or straighten and centre them before the model sees them.",
        ),
        Advice(
            "robustness.patch/*",
            "A sticker is enough. Train with patched images, and check by other means wherever somebody may place one.",
        ),
        Advice(
            "robustness.corruptions/*",
            "Train with the corruptions that hurt most in the table above, or with mixed augmentations, and refuse inputs "
            "whose quality is below what was tested.",
        ),
        Advice(
            "robustness.*noise*/*",
            "Add the noise of the deployment to the training data, and check units, ranges and missing values before a "
            "row reaches the model.",
        ),
    ),
    upkeep="Compare the perturbations tested with those the deployment will meet; an audit says nothing of those it did "
    "not try.",
)
