"""Typos and word-level noise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from audit.check import Check, Effort
from audit.checks.robustness._grid import Answers, Grid, answers, draw_seed
from audit.subject import Modality
from reports.record import Curves, Measured, Table

if TYPE_CHECKING:
    from audit.datasets import Dataset
    from audit.subject import Subject

NAMES = {
    "typos": "typos",
    "word_noise": "words dropped, doubled or swapped",
    "case_noise": "words in capitals",
    "punctuation_noise": "punctuation dropped or added",
}


@dataclass(frozen=True)
class TextNoise(Check):
    """Typos and word-level noise.

    What it measures:
        Accuracy, and the share of answers that change, when a share of the words of the same test texts is spoilt by
        chance: mistyped (two letters swapped, one left out, a neighbouring key hit), dropped, doubled or swapped,
        written in capitals, or with punctuation dropped or added.
    Why it matters:
        People type on small keyboards and in haste. A model that reads "terible" as an unknown word answers at random
        where a reader would not notice.
    How to read it:
        Answers changed counts every flip, also from wrong to right; accuracy lost counts the balance. Some loss under
        dropped words is right, since they may carry the meaning; capitals and punctuation should cost next to nothing.
        Train on noisy copies, or use a tokenizer that falls back to characters.

    References:
        Belinkov and Bisk 2018; Pruthi, Dhingra and Lipton 2019.
    """

    modalities: ClassVar[frozenset[Modality]] = frozenset({Modality.TEXT})
    version: ClassVar[int] = 2
    efforts: ClassVar[Mapping[Effort, Mapping[str, Any]]] = {
        Effort.QUICK: {"rows": 300},
        Effort.EXHAUSTIVE: {"rows": 5000},
    }

    #: test texts sampled
    rows: int = 600
    #: shares of the words touched
    rates: tuple[float, ...] = (0.05, 0.1, 0.2, 0.3, 0.5)
    #: texts shown whose answer changed
    shown: int = 6

    def run(self, subject: Subject, data: Dataset, rng: np.random.Generator) -> Measured:
        """See the class."""
        from attacks import text

        sample = data.sample(self.rows, rng)
        seed = draw_seed(rng)
        texts = sample.inputs
        assert isinstance(texts, list)
        noises = {
            "typos": text.typos,
            "word_noise": text.word_noise,
            "case_noise": text.case_noise,
            "punctuation_noise": text.punctuation_noise,
        }
        clean = answers(subject, texts)
        cells: dict[tuple[str, float], Answers] = {}
        spoilt: dict[tuple[str, float], list[str]] = {}
        for kind, noise in noises.items():
            for rate in self.rates:
                spoilt[kind, rate] = noise(texts, rate, seed)
                cells[kind, rate] = answers(subject, spoilt[kind, rate])
        grid = Grid(sample, clean, cells)
        middle = f"{self.rates[len(self.rates) // 2]:.4g}"
        return Measured(
            estimates=grid.estimates(),
            headline=(
                "clean_accuracy",
                f"accuracy_drop@typos:{middle}",
                f"accuracy_drop@word_noise:{middle}",
                f"changed_answers@typos:{middle}",
                f"changed_answers@word_noise:{middle}",
            ),
            tables=(
                grid.table("Accuracy under noise", "share of words", NAMES),
                self._examples(data.classes, texts, clean, spoilt, cells),
            ),
            figures=(
                Curves(
                    title="Accuracy under noise in the text",
                    x_title="share of words touched",
                    y_title="accuracy",
                    points=tuple(p for kind, name in NAMES.items() for p in grid.points(kind, name)),
                    x_percent=True,
                    y_percent=True,
                ),
            ),
            notes=(f"{len(sample)} of {len(data)} test texts, the same in every cell.",),
        )

    def _examples(
        self,
        classes: tuple[str, ...],
        texts: list[str],
        clean: Answers,
        spoilt: Mapping[tuple[str, float], list[str]],
        cells: Mapping[tuple[str, float], Answers],
    ) -> Table:
        """Answers that changed at the smallest rate, one a text."""
        rows: list[tuple[str, ...]] = []
        seen: set[int] = set()
        for (kind, rate), cell in sorted(cells.items(), key=lambda item: item[0][1]):
            for i in np.flatnonzero(cell != clean):
                if int(i) not in seen and len(rows) < self.shown:
                    seen.add(int(i))
                    before, after = classes[clean[i]], classes[cell[i]]
                    rows.append((NAMES[kind], texts[i][:400], before, spoilt[kind, rate][i][:400], after))
        return Table(
            title="Texts whose answer changed",
            columns=("noise", "text", "answer", "with noise", "answer then"),
            rows=tuple(rows),
            note="The first few found, the lightest noise first.",
        )
