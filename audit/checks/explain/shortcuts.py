"""Whether one part of an example decides, whatever stands around it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from audit import statistics
from audit.check import Check, Effort
from audit.subject import Modality
from reports.record import Bar, Bars, Estimate, Figure, Images, Measured, Panel, Table, TokenLine, Tokens

if TYPE_CHECKING:
    from audit.checks.explain._search import Found
    from audit.datasets import Dataset
    from audit.subject import Subject

#: pictures or texts shown of a part that decides
SHOWN = 4


@dataclass(frozen=True)
class Shortcuts(Check):
    """Shortcuts.

    What it measures:
        One part of an example is carried over into examples of which the model is sure that another answer is right (the
        surer half), and which stay as they are around it: a region of a picture, a column of a table, or a word put at the front or the end of a text. For each answer, the
        part is looked for on one half of the data; measured on the other half is the share of examples that turn to the
        answer the part was taken from, less the share that turn to it when the part comes from other answers
        or is another word (the transfer). The other way round, the donors get the part of others, or lose the word.
    Why it matters:
        A watermark, a hospital's tag, an identifier or a phrase can go with the answer in the data at hand. A model that
        has learned it is right for the wrong reason, and wrong where the mark is absent or put there on purpose.
    How to read it:
        A transfer of 100 % means that the part alone decides. Above one half, it outvotes everything else in the
        example more often than not: it counts as a shortcut where the whole interval lies there. An honest
        model shows less, for what stands around the part speaks too. A part may decide for a good reason
        (a laboratory value that defines the disease): the transfer finds what decides, people say whether it may. What is in no
        example of the data at hand, such as a secret trigger, cannot be found this way.

    References:
        Lapuschkin et al. 2019 (Clever Hans); Geirhos et al. 2020 (shortcut learning); Monroe et al. 2008 (words that go
        with an answer).
    """

    efforts: ClassVar[Mapping[Effort, Mapping[str, Any]]] = {
        Effort.QUICK: {"donors": 4, "recipients": 4, "trials": 40, "words": 16},
        Effort.EXHAUSTIVE: {"donors": 24, "recipients": 24, "trials": 200, "words": 100, "answers": 100},
    }

    #: examples of an answer that a part is taken from; other words tried instead of the one found
    donors: int = 8
    #: examples of other answers that a part is put into when it is looked for
    recipients: int = 8
    #: examples of other answers that the part found is tried on
    trials: int = 100
    #: words of each answer that are tried
    words: int = 40
    #: texts a word must stand in
    seen: int = 3
    #: training rows that donors are drawn from
    pool: int = 400
    #: answers looked at, the most frequent ones
    answers: int = 10

    def unfit(self, subject: Subject, data: Dataset) -> str | None:
        """Needs two answers."""
        return None if len(subject.classes) > 1 else "the model has one class"

    def run(self, subject: Subject, data: Dataset, rng: np.random.Generator) -> Measured:
        """See the class."""
        from audit.checks.explain._search import Extent, search

        extent = Extent(self.donors, self.recipients, self.trials, self.words, self.seen, self.pool, self.answers)
        found = search(subject, data, extent, rng)
        if not found:
            nothing = statistics.undefined(
                "no part could be tried: all examples get one answer, or no word is frequent"
            )
            return Measured(
                estimates={"strongest_transfer": nothing, "shortcuts": nothing}, headline=("strongest_transfer",)
            )
        named = {f"transfer@{one.part.name} -> {data.classes[one.answer]}": one.gain for one in found}
        decide = [one for one in found if one.gain.low is not None and one.gain.low > 0.5]
        estimates: dict[str, Estimate] = {
            "strongest_transfer": found[0].gain,
            "shortcuts": statistics.exact(len(decide), len(found), method="parts that turn more than half"),
            **named,
        }
        rows = tuple(
            (one.part.name, data.classes[one.answer], one.gain, one.turned, one.control, one.removed) for one in found
        )
        bars = tuple(
            Bar(label=name.removeprefix("transfer@"), value=e.value, low=e.low, high=e.high)
            for name, e in named.items()
            if e.value is not None
        )
        what = {Modality.TABULAR: "column", Modality.IMAGE: "region", Modality.TEXT: "word"}[subject.modality]
        tried = min(len(np.unique(subject.scores(data).argmax(1).numpy())), self.answers)
        left = tried - len(found)
        picture = Bars(
            title="Examples that one part turns to its answer",
            x_title="share of examples with other answers, less the control",
            bars=bars,
            reference=0.5,
            percent=True,
            note="Right of the line, the part outvotes all that stands around it.",
        )
        return Measured(
            estimates=estimates,
            headline=("strongest_transfer", "shortcuts"),
            tables=(
                Table(
                    title=f"The {what} that turns most examples to each answer",
                    columns=(what, "answer", "transfer", "turned", "turned by control", "lost without it"),
                    rows=rows,
                    note="The transfer is the difference of the next two columns.",
                ),
            ),
            figures=(picture, *_shown(decide, data)),
            notes=(
                f"Looked for on one half of the test examples, tried on at most {self.trials} of the other; the answers are "
                "the model's own.",
                *(
                    [f"{left} of {tried} answers could not be tried: too few examples have or lack them."]
                    if left
                    else []
                ),
                {
                    Modality.TABULAR: "A one-hot group is carried over as a whole.",
                    Modality.IMAGE: "Regions are windows of two by two cells of a grid, then the least part of the window "
                    "that keeps nine tenths of its effect.",
                    Modality.TEXT: f"Words are those that go most with each answer and stand in {self.seen} texts at least.",
                }[subject.modality],
            ),
        )


def _shown(decide: list[Found], data: Dataset) -> tuple[Figure, ...]:
    """The part that decides, in some of its donors."""
    if not decide:
        return ()
    import torch

    from audit.checks.explain._transplants import words_of
    from audit.explaining.pictures import of_elements, png

    one = decide[0]
    title = f"{one.part.name}: answers {data.classes[one.answer]!r} whatever stands around it"
    if isinstance(one.donors, list):
        lines = []
        for text in one.donors[:SHOWN]:
            words = tuple(words_of(text))
            lines.append(
                TokenLine(caption="", tokens=words, weights=tuple(float(word == one.part.word) for word in words))
            )
        return (Tokens(title=title, lines=tuple(lines), colours=("the word that decides", "none")),)
    if data.modality is not Modality.IMAGE:
        return ()
    assert isinstance(data.inputs, torch.Tensor) and one.part.elements is not None
    low, high = data.bounds or (float(data.inputs.min()), float(data.inputs.max()))
    heat = of_elements(one.part.elements.double().numpy())
    panels = tuple(Panel(caption="", image=png(donor, low, high), heat=heat) for donor in one.donors[:SHOWN])
    return (Images(title=title, panels=panels, colours=("the region that decides", "none")),)
