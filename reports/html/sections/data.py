"""Data: how much, how sound, whose."""

from __future__ import annotations

from reports.html.sections.section import Advice, Phrase, Section

SECTION = Section(
    id="data",
    title="Data",
    challenge="Deep learning needs many rows with sound labels; too few, wrong, leaked or one-sided data spoil every other "
    "number.",
    question="How much data does it need, are labels and splits sound, is everybody in it?",
    order=("size", "balance", "representation", "missing", "duplicates", "split"),
    phrases=(
        Phrase("data.size/effective_rows@test", "The test data are worth {}."),
        Phrase("data.duplicates/near_leakage", "Of the test rows, {} stand in the training data, exactly or nearly."),
        Phrase("data.split/auc", "Test and training rows can be told apart with an AUC of {}; 0.5 means not at all."),
        Phrase("data.missing/rows_with_missing@test", "Of the test rows, {} lack a value."),
        Phrase("data.balance/imbalance_ratio@test", "For one row of the rarest class there are {} of the commonest."),
        Phrase("data.representation/smallest_group@*", "The smallest group of {slice} has {}."),
        Phrase("data.representation/base_rate_gap@*", "Base rates between the groups of {slice} differ by up to {}."),
    ),
    advice=(
        Advice(
            "data.duplicates/*leakage*",
            "Remove from the test data what also stands in the training data, and measure again: until then every "
            "accuracy in this report is flattered.",
        ),
        Advice(
            "data.duplicates/excess_leakage@*",
            "More test rows have a twin in the training data than training rows have among themselves. Split by person, "
            "document or session instead of by row.",
            above=0.0,
        ),
        Advice(
            "data.duplicates/conflicts@*",
            "Equal inputs carry different labels. Look these rows up and settle their labels.",
        ),
        Advice(
            "data.missing/*",
            "Find out why values are missing before filling them: where the reason has to do with the label or a group, "
            "filling them is a bias.",
        ),
        Advice(
            "data.balance/*",
            "Gather rows of the rare classes, weigh them in the loss, and judge by macro F1 rather than by accuracy.",
        ),
        Advice(
            "data.representation/*",
            "Gather rows of the groups with few; until then say beside every result that it does not hold for them.",
        ),
        Advice(
            "data.split/*",
            "Test and training data differ. Find the columns that tell them apart (table above), and split anew or say "
            "for which population the results hold.",
        ),
        Advice("data.size/*", "Gather more rows; the resolution above says how small a difference these can show."),
    ),
    upkeep="Nothing here asks for a change. Check that the test data come from where the model will be used: no figure "
    "in this report can tell.",
)
