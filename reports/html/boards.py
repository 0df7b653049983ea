"""Figures that are tables of pictures and marks: attention heads to browse, methods against chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reports import words
from reports.html.views import Number, number
from reports.pictures import of_weights
from reports.record import Head, Heads, Score, Scoreboard

#: pixels of a word's row and column in the enlarged picture of a head, and of a letter
CELL, LETTER = 18, 7
#: letters of a word beside it
LONGEST = 14
#: links between words that are named under a head
LINKS = 4


@dataclass(frozen=True)
class Link:
    """A word, the word it attends to, and how much."""

    query: str
    key: str
    weight: Number


@dataclass(frozen=True)
class HeadView:
    """An attention head; `uri` is a picture of its weights, a pixel a pair of words."""

    label: str
    note: str
    uri: str
    links: tuple[Link, ...]


@dataclass(frozen=True)
class Atlas:
    """Heads by layer, and where the words stand beside an enlarged one."""

    words: tuple[str, ...]
    layers: tuple[tuple[str, tuple[HeadView, ...]], ...]
    #: pixels between the edges of the drawing and the weights
    margin: int
    #: pixels of the weights' side
    side: int
    cell: int = CELL


def atlas(figure: Heads, evidence: str) -> Atlas:
    """The heads of a figure for the page; `evidence` is the key of where it comes from."""
    labels = tuple(words.line(token, LONGEST) for token in figure.tokens)
    layers = tuple(
        (layer.label, tuple(_head(head, labels, evidence) for head in layer.heads)) for layer in figure.layers
    )
    margin = LETTER * max(map(len, labels), default=0) + LETTER
    return Atlas(labels, layers, margin, CELL * len(labels))


def _head(head: Head, labels: Sequence[str], evidence: str) -> HeadView:
    pairs = [(weight, q, k) for q, row in enumerate(head.weights) for k, weight in enumerate(row) if weight > 0]
    strongest = sorted(pairs, key=lambda pair: (-pair[0], pair[1:]))[:LINKS]
    links = tuple(
        Link(labels[q], labels[k], Number(words.Shown(words.number(weight)), repr(weight), evidence, "", ""))
        for weight, q, k in strongest
    )
    return HeadView(head.label, head.note, of_weights(head.weights), links)


@dataclass(frozen=True)
class Mark:
    """A score, what chance reaches, and how they stand: "better", "worse", "open", or "" where nothing says."""

    value: Number
    chance: Number | None
    standing: str


@dataclass(frozen=True)
class Board:
    """Methods against metrics."""

    metrics: tuple[tuple[str, str], ...]
    rows: tuple[tuple[str, tuple[Mark | None, ...]], ...]

    @property
    def marked(self) -> bool:
        """Whether any score is held against chance."""
        return any(mark and mark.standing for _, marks in self.rows for mark in marks)


def board(figure: Scoreboard, evidence: str) -> Board:
    """A scoreboard for the page; `evidence` is the key of where it comes from."""
    metrics = tuple((metric.label, metric.note) for metric in figure.metrics)

    def marked(score: Score | None, label: str) -> Mark | None:
        if score is None:
            return None
        chance = None if score.chance is None else number(score.chance, evidence, label=label)
        return Mark(number(score.value, evidence, label=label), chance, _standing(score))

    return Board(
        metrics,
        tuple(
            (row.label, tuple(marked(s, m.label) for s, m in zip(row.scores, figure.metrics, strict=True)))
            for row in figure.rows
        ),
    )


def _standing(score: Score) -> str:
    lead = score.lead
    if lead is None or lead.low is None or lead.high is None:
        return ""
    return "better" if lead.low > 0 else "worse" if lead.high < 0 else "open"
