"""Parts of one example carried over into others: does a part decide, whatever stands around it? Imports torch."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from audit.explainers.segments import grid_shape
from audit.explaining.players import cells_of
from audit.subject import Modality

if TYPE_CHECKING:
    from audit.datasets import Dataset
    from audit.datasets.types import Inputs
    from audit.subject import Subject

    Bools = NDArray[np.bool_]
    Floats = NDArray[np.float64]

#: composed inputs that are held at a time, in elements
ELEMENTS = 2**24


@dataclass(frozen=True, eq=False)
class Part:
    """What is carried over: some elements of an input, or one word at the front or the end of a text."""

    name: str
    elements: Tensor | None = None
    word: str = ""
    front: bool = True

    def into(self, donors: Inputs, recipients: Inputs) -> Inputs:
        """Every recipient with this part of every donor, (donors * recipients, ...); a word needs no donor.

        Args:
            donors: (d, ...); for texts the number of donors is taken to be 1.
            recipients: (r, ...).
        """
        if isinstance(recipients, list):
            return [f"{self.word} {text}" if self.front else f"{text} {self.word}" for text in recipients]
        assert isinstance(donors, Tensor) and self.elements is not None
        return torch.where(self.elements, donors.unsqueeze(1), recipients.unsqueeze(0)).flatten(0, 1)


def probabilities(subject: Subject, part: Part, donors: Inputs, recipients: Inputs) -> Floats:
    """What is answered to every recipient with this part of every donor, (donors, recipients, classes)."""
    if isinstance(recipients, list) or isinstance(donors, list):
        return subject.predict(part.into(donors, recipients)).double().softmax(1).numpy()[None]
    step = max(1, ELEMENTS // max(recipients.numel(), 1))
    scores = [
        subject.predict(part.into(donors[start : start + step], recipients)) for start in range(0, len(donors), step)
    ]
    return torch.cat(scores).double().softmax(1).reshape(len(donors), len(recipients), -1).numpy()


def of_table(data: Dataset) -> list[Part]:
    """Each feature of a table."""
    assert isinstance(data.inputs, Tensor)
    shape = data.inputs.shape[1:]
    players = data.players()
    names = [feature.name for feature in data.features]
    if players is None:
        players = np.arange(data.inputs[0].numel())
        names = [f"x{i}" for i in players]
    player = torch.from_numpy(players).reshape(shape)
    return [Part(name, player == i) for i, name in enumerate(names)]


def of_pictures(data: Dataset) -> list[Part]:
    """Windows of 2 by 2 grid cells, each half over the next: whatever fits into a cell lies within one of them."""
    assert isinstance(data.inputs, Tensor)
    cells = cells_of(*data.inputs.shape[-2:])
    down, across = grid_shape(cells)
    tall, wide = min(2, down), min(2, across)
    return [
        _window(data, cells, row, row + tall, column, column + wide)
        for row in range(down - tall + 1)
        for column in range(across - wide + 1)
    ]


def smaller(data: Dataset, part: Part) -> list[Part]:
    """The single cells and the pairs of neighbours within a window of a picture, the smallest first; else nothing."""
    if data.modality is not Modality.IMAGE or part.elements is None:
        return []
    assert isinstance(data.inputs, Tensor)
    cells = cells_of(*data.inputs.shape[-2:])
    _, across = grid_shape(cells)
    inside = torch.unique(cells[part.elements.reshape(-1, *cells.shape)[0]]).tolist()
    rows, columns = sorted({cell // across for cell in inside}), sorted({cell % across for cell in inside})
    found = [(row, row + 1, column, column + 1) for row in rows for column in columns]
    if len(inside) == 4:
        found += [(row, row + 1, columns[0], columns[1] + 1) for row in rows]
        found += [(rows[0], rows[1] + 1, column, column + 1) for column in columns]
    return [] if len(inside) == 1 else [_window(data, cells, *window) for window in found]


def _window(data: Dataset, cells: Tensor, top: int, bottom: int, left: int, right: int) -> Part:
    assert isinstance(data.inputs, Tensor)
    _, across = grid_shape(cells)
    row, column = cells // across, cells % across
    inside = (row >= top) & (row < bottom) & (column >= left) & (column < right)

    def numbers(what: str, first: int, last: int) -> str:
        return f"{what} {first + 1}" if last == first + 1 else f"{what}s {first + 1}-{last}"

    name = f"{numbers('row', top, bottom)}, {numbers('column', left, right)}"
    return Part(name, inside.expand(data.inputs.shape[1:]))


def of_texts(texts: Sequence[str], predicted: NDArray[np.int64], target: int, number: int, seen: int) -> list[Part]:
    """Words that go with an answer: the highest standardised log-odds ratios (Monroe et al. 2008, eq. 22).

    Args:
        texts: n texts.
        predicted: (n,) their answers.
        target: the answer.
        number: words at most.
        seen: texts a word must stand in.
    """
    with_word: dict[str, list[float]] = {}
    place: dict[str, list[float]] = {}
    for text, answer in zip(texts, predicted, strict=True):
        words = words_of(text)
        first = {word: i for i, word in reversed(list(enumerate(words)))}
        for word, i in first.items():
            counts = with_word.setdefault(word, [0.0, 0.0])
            counts[int(answer == target)] += 1
            place.setdefault(word, []).append(i / max(len(words) - 1, 1))
    total = np.array([(predicted != target).sum(), (predicted == target).sum()], dtype=np.float64)
    ranked = []
    for word, counts in with_word.items():
        if sum(counts) < seen:
            continue
        have = np.array(counts) + 0.5
        lack = total - np.array(counts) + 0.5
        score = np.log(have[1] / lack[1]) - np.log(have[0] / lack[0])
        ranked.append((score / np.sqrt((1 / have).sum() + (1 / lack).sum()), word))
    ranked.sort(key=lambda pair: (-pair[0], pair[1]))
    return [Part(repr(word), word=word, front=bool(np.mean(place[word]) < 0.5)) for _, word in ranked[:number]]


def words_of(text: str) -> list[str]:
    """Words of a text as it writes them, without the punctuation around them."""
    return [word for word in (piece.strip(".,;:!?\"'()[]") for piece in text.split()) if word]


def without(text: str, word: str) -> str:
    """The text without any occurrence of the word."""
    return " ".join(re.sub(rf"(?<!\w){re.escape(word)}(?!\w)", " ", text).split())


def in_turn(predicted: NDArray[np.int64], number: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Rows at random, as many of each answer as there are, up to `number` in all."""
    queues: list[Iterator[int]] = [
        iter(rng.permutation(np.flatnonzero(predicted == answer)).tolist()) for answer in np.unique(predicted)
    ]
    chosen: list[int] = []
    while queues and len(chosen) < number:
        left = []
        for queue in queues:
            row = next(queue, None)
            if row is not None and len(chosen) < number:
                chosen.append(row)
                left.append(queue)
        queues = left
    return np.array(sorted(chosen), dtype=np.int64)
