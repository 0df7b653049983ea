"""Explanation: black boxes."""

from __future__ import annotations

from reports.html.sections.section import Advice, Phrase, Section

SECTION = Section(
    id="explain",
    title="Explanation",
    challenge="A deep model is a black box: nobody sees why it answers as it does, so errors and bias stay hidden.",
    question="What does this model look at, is that explanation true, and is it what it should look at?",
    order=("global_importance", "local", "faithfulness", "agreement", "sanity", "protected_reliance"),
    phrases=(
        Phrase("explain.*/importance@*", "It leans most on {slice}, whose mean effect is {}."),
        Phrase("explain.*/share_of_top_3", "The three strongest inputs carry {} of all effects."),
        Phrase(
            "explain.faithfulness/faithfulness@*",
            "Taking away what {slice} ranks first moves the answer by {} more than a random order does.",
        ),
        Phrase("explain.protected_reliance/changed_answers@*", "Changing {slice} alone changes {} of the answers."),
        Phrase("explain.agreement/agreement", "The methods rank the inputs alike with a correlation of {}."),
    ),
    advice=(
        Advice(
            "explain.protected_reliance/*",
            "The answer depends on a protected attribute. Train without it and without its proxies, then measure "
            "accuracy and fairness again; or write down why the dependence is lawful and needed.",
        ),
        Advice(
            "explain.faithfulness/*",
            "Do not show these explanations to anybody yet: what they point at moves the answer no more than chance does. "
            "Try more evaluations, another baseline or background, or another method.",
        ),
        Advice(
            "explain.agreement/*",
            "The methods disagree. Trust what the faithfulness figures support, and quote no single ranking.",
        ),
        Advice(
            "explain.*random*/*",
            "An explanation that survives the destruction of the weights shows the input, not the model. Drop that method "
            "for this architecture.",
        ),
    ),
    upkeep="Show the pictures above to somebody who knows the subject and ask whether the model looks where it should: "
    "an explanation can be true and what it shows still be wrong.",
)
