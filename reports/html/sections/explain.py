"""Explanation: black boxes."""

from __future__ import annotations

from reports.html.sections.section import Advice, Phrase, Section

_USES_IT = (
    "The answer depends on a protected attribute. Train without it and without its proxies, then measure accuracy and "
    "fairness again; or write down why the dependence is lawful and needed."
)
_UNFAITHFUL = (
    "Do not show these explanations to anybody yet: what they point at moves the answer no more than chance does. "
    "Try more evaluations, another baseline or background, or another method."
)
_LESS_TRUE = (
    "Reasons are less true for one group than for another. Raise the evaluations and measure that group with more "
    "rows before its members are given reasons."
)
_SHOWS_THE_INPUT = (
    "An explanation that survives the destruction of the weights shows the input, not the model. Drop that method "
    "for this architecture."
)

SECTION = Section(
    id="explain",
    title="Explanation",
    challenge="A deep model is a black box: nobody sees why it answers as it does, so errors and bias stay hidden.",
    question="What does this model look at, is that explanation true, and is it what it should look at?",
    order=(
        # what it looks at
        *("global_importance", "local", "attention", "concepts", "counterfactuals"),
        # whether that is true
        *("faithfulness", "battery", "agreement", "sanity", "localisation", "selftest"),
        # whether it should
        *("shortcuts", "protected_reliance", "proxies", "groups", "steadiness"),
    ),
    phrases=(
        Phrase("explain.*/importance@*", "It leans most on “{slice}”, whose mean effect is {}."),
        Phrase(
            "explain.faithfulness/faithfulness@kernel_shap",
            "Taking away what SHAP ranks first moves the answer by {} more than a random order does.",
        ),
        Phrase(
            "explain.protected_reliance/reliance@all together",
            "The protected attributes together make up {} of what moves the answer.",
        ),
        Phrase("explain.protected_reliance/reliance@*", "{slice} makes up {} of what moves the answer."),
        Phrase(
            "explain.shortcuts/strongest_transfer",
            "The strongest single part, carried into other examples, turns {} of them to its answer.",
        ),
        Phrase("explain.attention/causal_agreement@*", "Attention ({slice}) ranks words as their removal does by {}."),
        Phrase("explain.proxies/proxies@*", "Features that stand in for {slice}: {}."),
        Phrase("explain.concepts/effect@*", "Inside, being {slice} moves the log-odds by {}."),
        Phrase("explain.counterfactuals/actionable", "A few changes would turn the answer of {} of those refused."),
        Phrase("explain.selftest/hit_rate@kernel_shap", "SHAP finds a planted shortcut in {} of the examples."),
        Phrase("explain.*/share_of_top_3", "The three strongest inputs carry {} of all effects."),
        Phrase(
            "explain.faithfulness/faithfulness@*",
            "Taking away what {slice} ranks first moves the answer by {} more than a random order does.",
        ),
        Phrase("explain.protected_reliance/answers_changed@*", "Changing {slice} alone changes {} of the answers."),
        Phrase("explain.agreement/agreement", "The methods rank the inputs alike with a correlation of {}."),
        Phrase("explain.steadiness/similarity_attack@*", "Of what {slice} says, {} is left under a small change."),
    ),
    advice=(
        Advice("explain.protected_reliance/answers_changed@*", _USES_IT, above=0.0),
        Advice("explain.protected_reliance/*", _USES_IT),
        Advice(
            "explain.proxies/proxies@*",
            "Features stand in for a protected attribute, and to delete the attribute does not help. Ask what each is "
            "needed for, leave out or coarsen what is not, train again and measure fairness.",
            above=0.0,
        ),
        Advice(
            "explain.shortcuts/shortcuts",
            "A single part decides answers by itself. Show it to somebody who knows the subject: if it is a by-product of "
            "how the data came about, take it out of the data or cover it at random in training, and measure again.",
            above=0.0,
        ),
        Advice("explain.faithfulness/faithfulness@*", _UNFAITHFUL, below=0.0),
        Advice("explain.faithfulness/*", _UNFAITHFUL),
        Advice(
            "explain.faithfulness/above_fakes@*",
            "A ranking that never saw the model does better than a method. Drop that method here, or raise its effort.",
            below=0.0,
        ),
        Advice(
            "explain.battery/*_lead@*",
            "In the battery a method is worse than chance: the triangles that point down say in what. Do not use it for "
            "what that test stands for.",
            below=0.0,
        ),
        Advice(
            "explain.agreement/*",
            "The methods disagree. Trust what the faithfulness figures support, and quote no single ranking.",
            below=0.5,
        ),
        Advice("explain.sanity/correlation_with_random_*", _SHOWS_THE_INPUT, above=0.8),
        Advice(
            "explain.selftest/hit_rate@kernel_shap",
            "SHAP misses a shortcut that was planted in this very task, so it would miss a real one. Raise the evaluations, "
            "or look for shortcuts with another method.",
            below=0.5,
        ),
        Advice(
            "explain.attention/causal_agreement@*",
            "Attention does not rank the words as their removal does. Do not show it as an explanation.",
            below=0.3,
        ),
        Advice(
            "explain.localisation/*",
            "The explanations look elsewhere than people mark. Where they are faithful, the model is right for another "
            "reason: look for what stands in for the marked part.",
        ),
        Advice(
            "explain.concepts/*",
            "The model uses a concept that it should not. Ask which inputs it is rebuilt from: the proxies say so for tables.",
        ),
        Advice(
            "explain.steadiness/similarity_attack@*",
            "Small changes that keep the answer turn the explanation around. Do not take it as evidence from anybody who "
            "can choose the input; a model trained against small changes, or an average over noise, is steadier.",
            below=0.5,
        ),
        Advice(
            "explain.groups/faithfulness_difference@*",
            _LESS_TRUE,
            below=0.0,
        ),
        Advice("explain.groups/faithfulness_difference@*", _LESS_TRUE, above=0.0),
        Advice(
            "explain.counterfactuals/distance_gap@*",
            "A group has farther to go for the same answer. Look at which columns it has to change and whether they are in "
            "its power.",
            above=0.0,
        ),
        Advice(
            "explain.global_importance/relative_error",
            "Single values are guesses here: raise the evaluations before features are compared.",
            above=0.5,
        ),
        Advice(
            "explain.local/lime_r2",
            "A straight line does not fit around these examples: do not read LIME's weights.",
            below=0.5,
        ),
    ),
    upkeep="Show the pictures above to somebody who knows the subject and ask whether the model looks where it should: "
    "an explanation can be true and what it shows still be wrong.",
)
