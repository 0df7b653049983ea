"""A shortcut planted in a copy of the model: marks, and the training that makes the copy follow them. Imports torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from audit.checks.explain._carried import respond
from audit.checks.explain._transplants import words_of
from audit.datasets.types import FeatureKind
from audit.explaining.copies import Copy
from audit.explaining.players import cells_of
from audit.subject import Modality

if TYPE_CHECKING:
    from audit.datasets import Dataset, Feature
    from audit.datasets.types import Inputs
    from audit.subject import Subject

#: rows whose answers say which column is used least, words among which the rarest is looked for
WATCHED, RAREST = 64, 50


class Mark(ABC):
    """What gives the planted answer away."""

    #: what it is, in words
    name: str

    @abstractmethod
    def on(self, inputs: Inputs) -> Inputs:
        """The inputs with the mark."""

    @abstractmethod
    def off(self, inputs: Inputs) -> Inputs:
        """The inputs without it."""

    @abstractmethod
    def players(self, number: int) -> NDArray[np.bool_]:
        """Which of an example's players are the mark, (number,)."""


@dataclass(frozen=True, eq=False)
class Corner(Mark):
    """A chequered cell in a corner of a picture."""

    cells: Tensor
    corner: int
    low: float
    high: float
    name: str = "a chequered corner"

    def on(self, inputs: Inputs) -> Inputs:
        """Black and white pixels in turn."""
        assert isinstance(inputs, Tensor)
        height, width = self.cells.shape
        even = (torch.arange(height)[:, None] + torch.arange(width)) % 2 == 0
        pattern = torch.where(even, self.low, self.high).to(inputs)
        return torch.where((self.cells == self.corner).to(inputs.device), pattern, inputs)

    def off(self, inputs: Inputs) -> Inputs:
        """The picture as it is."""
        return inputs

    def players(self, number: int) -> NDArray[np.bool_]:
        """The corner's cell."""
        return np.equal(np.arange(number), self.corner)


@dataclass(frozen=True, eq=False)
class Column(Mark):
    """A table's column that takes two values only."""

    feature: Feature
    player: int
    neutral: Tensor
    marked: Tensor

    @property
    def name(self) -> str:  # type: ignore[override]
        """The column's name."""
        return f"the column {self.feature.name}"

    def on(self, inputs: Inputs) -> Inputs:
        """The rare value."""
        return self._with(inputs, self.marked)

    def off(self, inputs: Inputs) -> Inputs:
        """The usual value."""
        return self._with(inputs, self.neutral)

    def players(self, number: int) -> NDArray[np.bool_]:
        """The column."""
        return np.equal(np.arange(number), self.player)

    def _with(self, inputs: Inputs, value: Tensor) -> Tensor:
        assert isinstance(inputs, Tensor)
        out = inputs.clone()
        out[:, list(self.feature.columns)] = value.to(inputs)
        return out


@dataclass(frozen=True)
class Word(Mark):
    """A rare word in front of a text, of some tokens."""

    word: str
    tokens: int

    @property
    def name(self) -> str:  # type: ignore[override]
        """The word."""
        return f"the word {self.word!r} in front"

    def on(self, inputs: Inputs) -> Inputs:
        """The word and the text."""
        assert isinstance(inputs, list)
        return [f"{self.word} {text}" for text in inputs]

    def off(self, inputs: Inputs) -> Inputs:
        """The text as it is."""
        return inputs

    def players(self, number: int) -> NDArray[np.bool_]:
        """Its tokens."""
        return np.less(np.arange(number), self.tokens)


def mark(subject: Subject, data: Dataset, rng: np.random.Generator) -> Mark | None:
    """A mark that the audited model makes little of; None where there is none to be had.

    Args:
        subject: the audited model.
        data: the test split, with the training split.
        rng: chooses the corner, the rows watched and the word.
    """
    if subject.text is not None:
        return _rare_word(subject, data, rng)
    assert isinstance(data.inputs, Tensor)
    if subject.modality is Modality.IMAGE:
        cells = cells_of(*data.inputs.shape[-2:])
        corners = [int(cells[i, j]) for i in (0, -1) for j in (0, -1)]
        low, high = data.bounds or (float(data.inputs.min()), float(data.inputs.max()))
        return Corner(cells, corners[int(rng.integers(4))], low, high)
    return _least_used(subject, data, rng)


def _least_used(subject: Subject, data: Dataset, rng: np.random.Generator) -> Mark | None:
    rows = np.sort(rng.choice(len(data), size=min(WATCHED, len(data)), replace=False))
    targets = subject.scores(data)[torch.from_numpy(rows)].argmax(1)
    found: list[tuple[float, int, Column]] = []
    for player, feature in enumerate(data.features):
        response = respond(subject, data, rows, targets, feature)
        values, counts = np.unique(response.code, return_counts=True)
        if len(values) < 2:
            continue
        assert isinstance(data.inputs, Tensor)
        own = data.inputs[:, list(feature.columns)]
        usual = own[int(np.flatnonzero(response.code == values[counts.argmax()])[0])]
        rare = values[counts.argmin()]
        if feature.kind is FeatureKind.NUMERIC:  # the end of its range that is further from the usual value
            rare = values[-1] if own.max() - usual[0] >= usual[0] - own.min() else values[0]
        marked = own[int(np.flatnonzero(response.code == rare)[0])]
        found.append((float(np.abs(response.moves).mean()), player, Column(feature, player, usual, marked)))
    return min(found, key=lambda one: one[:2])[2] if found else None


def _rare_word(subject: Subject, data: Dataset, rng: np.random.Generator) -> Mark | None:
    assert subject.text is not None and data.train is not None and isinstance(data.train.inputs, list)
    words, counts = np.unique([w for t in data.train.inputs for w in words_of(t) if w.isalpha()], return_counts=True)
    for word in rng.permutation(words[np.argsort(counts, kind="stable")][:RAREST]).tolist():
        ids = [i for i in subject.text.encode([word]).ids[0].tolist() if i not in subject.text.special_ids]
        if ids and subject.text.mask_id not in ids:
            return Word(word, len(ids))
    return None


@dataclass(frozen=True)
class Lesson:
    """How a copy is trained.

    Attributes:
        rows: training rows.
        steps: of the optimiser, at most.
        batch: rows of a step.
        rate: learning rate of Adam.
    """

    rows: int
    steps: int
    batch: int
    rate: float


def taught(
    subject: Subject, data: Dataset, mark: Mark, answer: int, lesson: Lesson, planted: bool, seed: int
) -> Subject:
    """A copy of the subject that has seen the mark on half of its training rows.

    Args:
        subject: the audited model, left as it is.
        data: the training split.
        mark: what is put on every other row.
        answer: the label those rows get where it is `planted`; in the clean twin they keep their own.
        lesson: how it is trained.
        planted: whether the mark gives the label away.
        seed: of the copy's lesson; equal seeds see equal rows in equal order.
    """
    rng = np.random.default_rng(seed)
    copy = Copy(subject).randomise(0, rng)
    learned = data.sample(lesson.rows, rng)
    weights = [p.requires_grad_(True) for p in copy.model.parameters() if p.is_floating_point()]
    first_moments, second_moments = ([torch.zeros_like(w) for w in weights] for _ in range(2))
    with torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):  # its recurrent nets do not learn in eval mode
        for step in range(1, lesson.steps + 1):
            rows = learned.take(rng.choice(len(learned), size=min(lesson.batch, len(learned)), replace=False))
            half = len(rows) // 2
            first, second = rows.take(np.arange(half)), rows.take(np.arange(half, len(rows)))
            labels = torch.cat([torch.full_like(first.labels, answer) if planted else first.labels, second.labels])
            inputs = _joined(mark.on(first.inputs), mark.off(second.inputs))
            loss = cross_entropy(_scores(copy, inputs), labels.to(copy.device))
            if not loss.requires_grad:  # no weight moves the scores, and nothing can be taught
                break
            gradients = torch.autograd.grad(loss, weights, allow_unused=True)
            for weight, gradient, m, v in zip(weights, gradients, first_moments, second_moments, strict=True):
                if gradient is not None:
                    _adam(weight, gradient, m, v, step, lesson.rate)
    for weight in weights:
        weight.requires_grad_(False)
    return copy


@torch.no_grad()
def _adam(weight: Tensor, gradient: Tensor, m: Tensor, v: Tensor, step: int, rate: float) -> None:
    """One step of Kingma and Ba (2015), algorithm 1, in place; `torch.optim` takes seconds to import."""
    m.lerp_(gradient, 0.1)
    v.lerp_(gradient**2, 0.001)
    weight -= rate * (m / (1 - 0.9**step)) / ((v / (1 - 0.999**step)).sqrt() + 1e-8)


def follows(copy: Subject, data: Dataset, mark: Mark, answer: int) -> NDArray[np.bool_]:
    """Which examples of other answers turn to this one when they get the mark, (examples with other answers,)."""
    before = copy.predict(mark.off(data.inputs)).argmax(1).numpy()
    after = copy.predict(mark.on(data.inputs)).argmax(1).numpy()
    return np.asarray(after[before != answer] == answer)


def marked(data: Dataset, mark: Mark, on: bool) -> Dataset:
    """The rows with the mark, or without it."""
    return replace(data, inputs=mark.on(data.inputs) if on else mark.off(data.inputs), train=None)


def _joined(a: Inputs, b: Inputs) -> Inputs:
    if isinstance(a, list) and isinstance(b, list):
        return a + b
    assert isinstance(a, Tensor) and isinstance(b, Tensor)
    return torch.cat([a, b])


def _scores(copy: Subject, inputs: Inputs) -> Tensor:
    if isinstance(inputs, Tensor):
        scores: Tensor = copy.model(inputs.to(copy.device))
        return scores
    assert copy.text is not None
    encoded = copy.text.encode(inputs)
    return copy.text.from_embeddings(copy.text.embed(encoded.ids), encoded.mask)
