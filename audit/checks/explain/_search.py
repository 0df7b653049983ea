"""The search for parts that decide: screened on some examples, then tried on others. Imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from audit import statistics
from audit.checks.explain import _transplants as transplants
from audit.checks.explain._transplants import Part, in_turn, probabilities
from audit.subject import Modality
from reports.record import Estimate

if TYPE_CHECKING:
    from audit.datasets import Dataset
    from audit.datasets.types import Inputs
    from audit.subject import Subject

    Floats = NDArray[np.float64]

#: a smaller part stands for a larger one where it keeps this share of its effect
KEPT = 0.9


@dataclass(frozen=True)
class Extent:
    """How much is tried.

    Attributes:
        donors: examples of an answer that a part is taken from (a word needs none).
        recipients: examples of other answers it is put into when screening.
        trials: the same, when what was found is tried on others.
        words: words of each answer (texts).
        seen: texts a word must stand in.
        pool: rows of either split that donors are drawn from.
        answers: answers looked at, the most frequent ones.
    """

    donors: int
    recipients: int
    trials: int
    words: int
    seen: int
    pool: int
    answers: int


@dataclass(frozen=True, eq=False)
class Found:
    """The part that turns most examples to one answer.

    Attributes:
        part: what is carried over.
        answer: the answer it is taken from.
        turned: share of examples with other answers that give this one with the part.
        control: the same with the part of other answers, or with other words.
        gain: `turned` minus `control`.
        removed: share of the donors that lose the answer with the part of others, or without the word.
        donors: examples that have the part.
        recipients: examples it was put into, none of which was used to find it.
    """

    part: Part
    answer: int
    turned: Estimate
    control: Estimate
    gain: Estimate
    removed: Estimate
    donors: Inputs
    recipients: Inputs


@dataclass(frozen=True, eq=False)
class _Rows:
    """Inputs with the model's answers and their probabilities."""

    inputs: Inputs
    answers: NDArray[np.int64]
    certainty: Floats

    @staticmethod
    def of(inputs: Inputs, scores: Tensor) -> _Rows:
        return _Rows(inputs, scores.argmax(1).numpy(), scores.double().softmax(1).amax(1).numpy())

    def take(self, rows: NDArray[np.int64]) -> _Rows:
        inputs = (
            [self.inputs[i] for i in rows] if isinstance(self.inputs, list) else self.inputs[torch.from_numpy(rows)]
        )
        return _Rows(inputs, self.answers[rows], self.certainty[rows])

    def with_answer(self, answer: int, number: int, rng: np.random.Generator) -> _Rows:
        """Some rows with this answer."""
        return self._some(np.flatnonzero(self.answers == answer), number, rng)

    def sure_of_others(self, answer: int, number: int, rng: np.random.Generator) -> _Rows:
        """Some rows of the surer half of those with other answers: what stands around a part speaks against it."""
        rows = np.flatnonzero(self.answers != answer)
        return self._some(rows[np.argsort(-self.certainty[rows], kind="stable")][: -(-len(rows) // 2)], number, rng)

    def _some(self, rows: NDArray[np.int64], number: int, rng: np.random.Generator) -> _Rows:
        rows = np.sort(rows)
        return self.take(rows[in_turn(self.answers[rows], number, rng)])


def search(subject: Subject, data: Dataset, extent: Extent, rng: np.random.Generator) -> list[Found]:
    """For each answer the part that turns most examples of other answers to it, the strongest first.

    Args:
        subject: the model.
        data: the test split; parts are taken from the training split too, for that is where shortcuts come from.
        extent: how much is tried.
        rng: source of all samples.
    """
    every = _Rows.of(data.inputs, subject.scores(data))
    screen, fresh = (every.take(np.sort(half)) for half in np.array_split(rng.permutation(len(data)), 2))
    pools = [screen]
    if data.train is not None and subject.modality is not Modality.TEXT:
        learned = data.train.sample(extent.pool, rng).inputs
        pools.append(_Rows.of(learned, subject.predict(learned)))
    values, counts = np.unique(every.answers, return_counts=True)
    found = []
    for answer in values[np.argsort(-counts, kind="stable")][: extent.answers].tolist():
        recipients = screen.sure_of_others(answer, extent.recipients, rng).inputs
        trials = fresh.sure_of_others(answer, extent.trials, rng).inputs
        if not len(recipients) or not len(trials):
            continue
        if subject.modality is Modality.TEXT:
            one = _word(subject, screen, answer, extent, recipients, trials, rng)
        else:
            each = -(-extent.donors // len(pools))
            donors = torch.cat([_tensor(pool.with_answer(answer, each, rng).inputs) for pool in pools])
            if not len(donors):  # all examples with this answer are among those for trial
                continue
            others = screen.sure_of_others(answer, extent.donors, rng).inputs
            parts = transplants.of_pictures(data) if subject.modality is Modality.IMAGE else transplants.of_table(data)
            one = _elements(subject, data, parts, donors, others, answer, recipients, trials)
        found.extend([] if one is None else [one])
    return sorted(found, key=lambda one: -(one.gain.value or 0.0))


def _elements(
    subject: Subject,
    data: Dataset,
    parts: Sequence[Part],
    donors: Tensor,
    others: Inputs,
    answer: int,
    recipients: Inputs,
    trials: Inputs,
) -> Found:
    def effects(part: Part) -> Floats:
        effect: Floats = probabilities(subject, part, donors, recipients)[:, :, answer].mean(1)
        return effect

    # a mark may be on some examples of an answer only; a column is in all, and its extremes decide in any honest model
    best = len(donors) if data.modality is Modality.TABULAR else -(-len(donors) // 4)
    scored = [(effects(part), part) for part in parts]
    effect, part = max(scored, key=lambda pair: float(np.sort(pair[0])[-best:].mean()))
    marked = effect >= (effect.max() / 2 if best < len(donors) else 0.0)
    for less in transplants.smaller(data, part):
        if effects(less)[marked].mean() >= KEPT * effect[marked].mean():
            part = less
            break
    chosen = donors[torch.from_numpy(marked)]
    turned = _share(probabilities(subject, part, chosen, trials).argmax(2) == answer)
    control = _share(probabilities(subject, part, others, trials).argmax(2) == answer)
    lost = _share((probabilities(subject, part, trials, chosen).argmax(2) != answer).T)
    return Found(part, answer, turned, control, statistics.difference(turned, control), lost, chosen, trials)


def _word(
    subject: Subject,
    screen: _Rows,
    answer: int,
    extent: Extent,
    recipients: Inputs,
    trials: Inputs,
    rng: np.random.Generator,
) -> Found | None:
    assert isinstance(screen.inputs, list)
    parts = transplants.of_texts(screen.inputs, screen.answers, answer, extent.words, extent.seen)
    if not parts:
        return None
    part = max(parts, key=lambda part: float(probabilities(subject, part, [], recipients)[:, :, answer].mean()))
    turned = _share(probabilities(subject, part, [], trials).argmax(2) == answer)
    known = sorted({word for text in screen.inputs for word in transplants.words_of(text)} - {part.word})
    if not known:  # no other word to compare it with
        return None
    drawn = rng.choice(known, size=min(extent.donors, len(known)), replace=False).tolist()
    others = [Part(repr(word), word=word, front=part.front) for word in drawn]
    control = _share(np.concatenate([probabilities(subject, o, [], trials).argmax(2) == answer for o in others]))
    own = [
        text
        for text, given in zip(screen.inputs, screen.answers, strict=True)
        if given == answer and part.word in transplants.words_of(text)
    ]
    own = own[: extent.trials]
    left = [transplants.without(text, part.word) for text in own]
    lost = int((subject.predict(left).argmax(1) != answer).sum()) if left else 0
    gain = statistics.difference(turned, control)
    return Found(part, answer, turned, control, gain, statistics.proportion(lost, len(own)), own, trials)


def _share(hits: NDArray[np.bool_]) -> Estimate:
    """Share of hits, (donors, rows); rows are independent, donors are given."""
    return statistics.clustered_proportion(hits.mean(0), len(hits)) if len(hits) else statistics.undefined("no donors")


def _tensor(inputs: Inputs) -> Tensor:
    assert isinstance(inputs, Tensor)
    return inputs
