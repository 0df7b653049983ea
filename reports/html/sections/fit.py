"""Fit: learnt or memorised."""

from __future__ import annotations

from reports.html.sections.section import Advice, Phrase, Section

SECTION = Section(
    id="fit",
    title="Fit",
    challenge="A model may memorise instead of learn, and be sure where it is wrong; its many settings decide.",
    question="Has it learnt or memorised, does it know when it is wrong, how sensitive is it to its settings?",
    order=("accuracy", "calibration", "confidence"),
    phrases=(
        Phrase("fit.accuracy/accuracy", "Accuracy is {}."),
        Phrase("fit.accuracy/train_test_gap", "On its training data it is better by {}."),
        Phrase("fit.calibration/ece", "Its confidence is off by {} on average."),
        Phrase(
            "fit.confidence/auroc",
            "Its confidence tells right answers from wrong ones with an AUROC of {}; 0.5 is chance.",
        ),
        Phrase("fit.accuracy/lift_over_majority", "That is {} more than always answering the commonest class."),
        Phrase("fit.accuracy/macro_f1", "Macro F1, in which rare classes count as much as common ones, is {}."),
    ),
    advice=(
        Advice(
            "fit.accuracy/lift_over_majority",
            "The model has learnt nothing of use. Check the labels, the preprocessing and the order of the classes "
            "before training longer.",
            below=0.0,
        ),
        Advice(
            "fit.accuracy/train_test_gap",
            "It is measurably better on its training data: try more data, augmentation, weight decay, dropout or "
            "earlier stopping, in this order.",
            above=0.0,
        ),
        Advice(
            "fit.calibration/*",
            "Its confidence misleads. Fit a temperature on held-out rows (it changes no answer), and measure again.",
        ),
        Advice(
            "fit.confidence/*",
            "Its confidence cannot tell right answers from wrong ones: do not route doubtful cases by it. Try an ensemble, "
            "or hold back by another signal.",
        ),
        Advice(
            "fit.calibration/overconfidence",
            "It is surer than it is right. Fit a temperature on held-out rows before anybody acts on its confidence.",
            above=0.0,
        ),
        Advice(
            "fit.accuracy/recall@*",
            "Some classes are found too rarely. Look at their rows, and gather or weigh them.",
        ),
        Advice("fit.accuracy/*", "Raise the capacity, train longer, or tune the settings; then look at the gap again."),
    ),
    upkeep="Nothing here asks for a change. Keep these figures as the baseline for the next version.",
)
