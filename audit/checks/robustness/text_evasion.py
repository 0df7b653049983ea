"""A search for the few typos that change the answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from audit import statistics
from audit.check import Check, Effort
from audit.checks.robustness._grid import answers, draw_seed, point
from audit.subject import Modality
from reports.record import Curves, Measured, TokenLine, Tokens

if TYPE_CHECKING:
    from attacks.text import TextSearch
    from audit.datasets import Dataset
    from audit.subject import Subject


@dataclass(frozen=True)
class TextEvasion(Check):
    """Few typos that change the answer.

    What it measures:
        Accuracy when an attacker who sees the model's scores may misspell at most so many words of each text. Words
        are ranked by how much the answer leans on them; misspellings keep the first and the last letter, so that
        people still read the word. A text the model gets wrong as it is counts as lost with 0 words.
    Why it matters:
        Random noise rarely hits the decisive word; someone who wants a review or a message past a filter does. The
        gap between the two is what security adds to reliability.
    How to read it:
        Each figure is an upper bound: another search may find more. Compare it with the accuracy at 0 words. If one
        misspelt word is enough for many texts, the model leans on single words; train on misspelt copies, or check
        the spelling before the model.

    References:
        Gao, Lanchantin, Soffa and Qi 2018; Jin, Jin, Zhou and Szolovits 2020; Pruthi, Dhingra and Lipton 2019.
    """

    modalities: ClassVar[frozenset[Modality]] = frozenset({Modality.TEXT})
    efforts: ClassVar[Mapping[Effort, Mapping[str, Any]]] = {
        Effort.QUICK: {"rows": 150},
        Effort.EXHAUSTIVE: {"rows": 1000, "candidates": 16, "width": 8},
    }

    #: test texts sampled
    rows: int = 200
    #: most words misspelt
    words: tuple[int, ...] = (1, 2, 4)
    #: what may be done to a word: "typo", "drop" (which may change what the text says), or both
    edits: tuple[str, ...] = ("typo",)
    #: misspellings tried of each word
    candidates: int = 8
    #: most important words tried in a step
    width: int = 4
    #: texts shown
    shown: int = 4

    def run(self, subject: Subject, data: Dataset, rng: np.random.Generator) -> Measured:
        """See the class."""
        from attacks.text import text_search

        sample = data.sample(self.rows, rng)
        texts = sample.inputs
        assert isinstance(texts, list)
        found = text_search(
            subject.predict,
            texts,
            sample.labels,
            max(self.words),
            edits=self.edits,
            candidates=self.candidates,
            width=self.width,
            seed=draw_seed(rng),
        )
        n = len(texts)
        by_words = {
            k: statistics.proportion(int(found.robust_within(k).sum()), n) for k in (0, *sorted(set(self.words)))
        }
        estimates = {"clean_accuracy": by_words[0]}
        estimates |= {f"robust_accuracy@words:{k}": by_words[k] for k in by_words if k}
        estimates["queries_per_text"] = statistics.exact(found.forwards / max(n, 1), n, method="mean count")
        figures = [
            Curves(
                title="Accuracy under misspelt words",
                x_title="words the attacker may change",
                y_title="accuracy",
                points=tuple(point(float(k), e) for k, e in by_words.items() if e.value is not None),
                y_percent=True,
            )
        ]
        examples = self._examples(subject, data, texts, found)
        return Measured(
            estimates=estimates,
            headline=("clean_accuracy", *(name for name in estimates if name.startswith("robust_accuracy"))),
            figures=(*figures, examples) if examples.lines else tuple(figures),
            notes=(
                f"{n} of {len(data)} test texts. Allowed edits: {', '.join(self.edits)}.",
                "A greedy search that sees scores only: the true accuracy is at most what is shown.",
            ),
        )

    def _examples(self, subject: Subject, data: Dataset, texts: list[str], found: TextSearch) -> Tokens:
        """The texts that fell to the fewest changes, before and after."""
        words = found.words_changed.numpy()
        order = [int(i) for i in np.argsort(words, kind="stable") if 0 < words[i] < np.inf][: self.shown]
        lines: list[TokenLine] = []
        both = [texts[i] for i in order] + [found.texts[i] for i in order]
        before, after = np.split(answers(subject, both), 2) if order else ((), ())
        for i, was, now in zip(order, before, after, strict=True):
            lines.append(_marked(f"as given: {data.classes[was]}", texts[i], found.texts[i], -1.0))
            lines.append(_marked(f"changed: {data.classes[now]}", found.texts[i], texts[i], 1.0))
        return Tokens(
            title="Texts that fell to the fewest changes",
            lines=tuple(lines),
            note="Each text twice: as given, and as changed; the words that differ are shaded.",
        )


def _marked(caption: str, text: str, other: str, weight: float) -> TokenLine:
    """A text whose words that `other` does not share carry `weight`."""
    from difflib import SequenceMatcher

    from attacks.text.words import is_word, split

    mine, theirs = split(text), split(other)
    weights = [weight if is_word(piece) else 0.0 for piece in mine]
    for block in SequenceMatcher(None, mine, theirs, autojunk=False).get_matching_blocks():
        weights[block.a : block.a + block.size] = [0.0] * block.size
    return TokenLine(caption=caption, tokens=tuple(mine), weights=tuple(weights))
