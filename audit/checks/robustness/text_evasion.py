"""A search for the few word changes that alter the answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from audit import statistics
from audit.check import Check, Effort
from audit.checks.robustness._grid import draw_seed
from audit.subject import Modality
from reports.record import Curves, Estimate, Measured, Table

if TYPE_CHECKING:
    from audit.checks.robustness._text import Hunt
    from audit.datasets import Dataset
    from audit.subject import Subject


@dataclass(frozen=True)
class TextEvasion(Check):
    """Few word changes that alter the answer.

    What it measures:
        Accuracy when an attacker may change at most so many words of each text: misspell them (first and last letter
        stay), disguise them with letters of another script or characters without width, put words of like use in their
        place, or add a word that says nothing. Negations, names, numbers, stop words, links and markup are left alone,
        and a changed text must stay near the one given: by its characters, by the model's own word embeddings, and by
        the share of its words. Every success is read once more by the model. A text the model gets wrong as it is
        counts as lost with 0 words.
    Why it matters:
        Random noise rarely hits the decisive word; someone who wants a review or a message past a filter does. The
        gap between the two is what security adds to reliability.
    How to read it:
        Each figure is an upper bound: another search may find more. Compare it with the accuracy at 0 words. If one
        word is enough for many texts, the model leans on single words. Misspellings: train on misspelt copies, or check
        the spelling before the model. Disguises: normalise the characters. Words of like use are learnt from the
        training texts and can miss the mark, so read the examples before you call a substitution harmless.

    References:
        Ebrahimi, Rao, Lowd and Dou 2018 (HotFlip); Gao, Lanchantin, Soffa and Qi 2018; Jin, Jin, Zhou and Szolovits
        2020; Pruthi, Dhingra and Lipton 2019; Boucher, Shumailov, Anderson and Papernot 2022 (lookalikes).
    """

    modalities: ClassVar[frozenset[Modality]] = frozenset({Modality.TEXT})
    version: ClassVar[int] = 2
    efforts: ClassVar[Mapping[Effort, Mapping[str, Any]]] = {
        Effort.QUICK: {"rows": 60, "beam": 2, "tries": 8, "scores_as_well": False},
        Effort.EXHAUSTIVE: {"rows": 1000, "candidates": 16, "beam": 8, "tries": 48},
    }

    #: test texts sampled
    rows: int = 150
    #: most words changed
    words: tuple[int, ...] = (1, 2, 3, 4)
    #: what may be done, each alone and all together
    families: tuple[str, ...] = ("typos", "lookalikes", "substitutions", "insertions")
    #: groups of words that may stand in for each other, beside those learnt from the training texts
    synonyms: tuple[tuple[str, ...], ...] = ()
    #: words left alone besides negations and markup
    protect: tuple[str, ...] = ("stop", "number", "name")
    #: how far a text may move: share of its words, likeness of characters and of meaning (cosines)
    share: float = 0.5
    characters: float = 0.3
    meaning: float = 0.6
    #: candidates of each word
    candidates: int = 8
    #: changes kept from round to round, and most tried in a round
    beam: int = 4
    tries: int = 16
    #: where gradients are at hand, search the texts that stood from scores alone as well
    scores_as_well: bool = True
    #: training texts read for words of like use
    read: int = 10_000
    #: texts shown
    shown: int = 6

    def run(self, subject: Subject, data: Dataset, rng: np.random.Generator) -> Measured:
        """See the class."""
        from audit.checks.robustness._text import Hunt, below, examples

        sample = data.sample(self.rows, rng)
        hunt = Hunt(self, subject, data, sample, below(subject), draw_seed(rng))
        alone = {family: hunt.search((family,)) for family in self.families}
        together = hunt.search(self.families, alone.values()) if len(alone) > 1 else next(iter(alone.values()))
        n, budgets = len(sample), (0, *sorted(set(self.words)))
        accuracy = {
            name: {k: statistics.proportion(int((found.words > k).sum()), n) for k in budgets}
            for name, found in {**alone, "words": together}.items()
        }
        estimates = {"clean_accuracy": accuracy["words"][0]}
        for name in ("words", *alone):
            estimates |= {f"robust_accuracy@{name}:{k}": accuracy[name][k] for k in budgets if k}
        right = together.words > 0
        estimates["median_words"] = _median_words(together.words[right])
        near = [c for c in together.closeness if c is not None]
        estimates["likeness@characters"] = statistics.quantile([c.characters for c in near], 0.5, unit="cosine")
        estimates["likeness@meaning"] = statistics.quantile(
            [c.meaning for c in near if c.meaning is not None], 0.5, unit="cosine"
        )
        estimates["queries_per_text"] = statistics.exact(hunt.queries / max(n, 1), n, method="mean count")
        figures = [
            Curves(
                title="Accuracy under changed words",
                x_title="words the attacker may change",
                y_title="accuracy",
                points=tuple(
                    _point(k, e, "all together" if name == "words" else name)
                    for name, own in accuracy.items()
                    for k, e in own.items()
                    if e.value is not None
                ),
                y_percent=True,
            )
        ]
        shown = examples(subject, sample, together, self.shown)
        return Measured(
            estimates=estimates,
            headline=("clean_accuracy", *(f"robust_accuracy@words:{k}" for k in budgets if k), "median_words"),
            tables=(_by_family(accuracy, budgets), _what_worked(together.kinds, n)),
            figures=(*figures, shown) if shown.lines else tuple(figures),
            notes=(f"{n} of {len(data)} test texts.", *self._notes(hunt)),
        )

    def _notes(self, hunt: Hunt) -> tuple[str, ...]:
        searched = "from scores alone"
        if hunt.way is not None:
            searched = "by the gradient at the embeddings" + (", then from scores alone" * self.scores_as_well)
        return (
            f"Searched {searched}, {self.beam} changes kept from round to round: the true accuracy is at most what is "
            "shown.",
            f"At most {self.share:.0%} of the words of a text change (one always may); likeness of characters at least "
            f"{self.characters:.2g}, of meaning at least {self.meaning:.2g}, each checked on the final text.",
            f"Words of like use come from {hunt.source}.",
        )


def _point(k: int, estimate: Estimate, series: str) -> Any:
    from audit.checks.robustness._grid import point

    return point(float(k), estimate, series)


def _median_words(words: np.ndarray[Any, Any]) -> Estimate:
    """Median of the fewest words needed for the texts that were right; undefined where half of them stand."""
    beyond = 1e300
    estimate = statistics.quantile(np.where(np.isfinite(words), words, beyond), 0.5, unit="words")
    if estimate.high is not None and estimate.high >= beyond / 4:
        return statistics.undefined("too many of the texts stand", n=len(words), unit="words")
    return estimate


def _by_family(accuracy: Mapping[str, Mapping[int, Estimate]], budgets: tuple[int, ...]) -> Table:
    return Table(
        title="Accuracy by what may be done",
        columns=("what may be done", *(f"{k} words" if k != 1 else "1 word" for k in budgets)),
        rows=tuple(
            ("all together" if name == "words" else name, *(own[k] for k in budgets)) for name, own in accuracy.items()
        ),
        note="All together counts a text as lost where any of the searches, or one free to mix, turned it.",
    )


def _what_worked(kinds: list[tuple[str, ...]], n: int) -> Table:
    """How often each kind of change took part in a success."""
    from audit.checks.robustness._text import NAMES

    fallen = sum(bool(own) for own in kinds)
    counts = {kind: sum(kind in own for own in kinds) for kind in NAMES}
    return Table(
        title="What turned the texts",
        columns=("change", "texts it helped to turn", "share of the texts turned"),
        rows=tuple(
            (NAMES[kind], count, statistics.proportion(count, fallen))
            for kind, count in sorted(counts.items(), key=lambda item: -item[1])
            if count
        ),
        note=f"{fallen} of {n} texts were turned; one may take several changes.",
    )
