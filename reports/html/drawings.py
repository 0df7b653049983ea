"""Figures for the page: charts as SVG, pictures as data URIs, tokens as shaded words."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from reports import words
from reports.estimates import COLOURS
from reports.figures import Chart, to_svg
from reports.html.boards import Atlas, Board, atlas, board
from reports.html.numbers import numbers, plain
from reports.html.views import Number, TableView
from reports.pictures import shade, to_data_uri
from reports.record import (
    Bars,
    Curves,
    Figure,
    Heads,
    Images,
    Matrix,
    Overlays,
    Panel,
    Scatter,
    Scoreboard,
    Swarm,
    TokenLine,
    Tokens,
    Waterfall,
)


@dataclass(frozen=True)
class Picture:
    """A panel of `Images`; `uri` is None where the picture cannot be read."""

    uri: str | None
    caption: str


@dataclass(frozen=True)
class Word:
    """A token; `space` says whether a space stands before it."""

    text: str
    background: str
    weight: str
    space: bool


@dataclass(frozen=True)
class Shaded:
    """A cell of a matrix; `number` is None where nothing was measured."""

    number: Number | None
    background: str


@dataclass(frozen=True)
class Grid:
    """A matrix: names of columns, and rows by name."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Shaded, ...]], ...]


@dataclass(frozen=True)
class Drawing:
    """A figure, drawn."""

    title: str
    note: str
    svg: Markup | None = None
    #: the same numbers as a table
    numbers: TableView | None = None
    pictures: tuple[Picture, ...] = ()
    per_row: int = 1
    #: what the two colours stand for; empty where there are none
    key: tuple[str, ...] = ()
    lines: tuple[tuple[str, tuple[Word, ...]], ...] = ()
    grid: Grid | None = None
    #: names of methods, and rows of pictures: the example itself, then one a method
    overlays: tuple[tuple[str, ...], tuple[tuple[Picture, ...], ...]] | None = None
    atlas: Atlas | None = None
    board: Board | None = None
    #: whether points are coloured by how large a feature is
    levels: bool = False

    @property
    def wide(self) -> bool:
        """Whether it takes the whole width of the page."""
        many = len(self.pictures) > 3 or (self.grid is not None and len(self.grid.columns) > 5)
        return any((self.lines, many, self.overlays, self.atlas, self.board))


def draw(figure: Figure, prefix: str, evidence: str) -> Drawing:
    """Draw a figure.

    Args:
        figure: what to draw.
        prefix: begins the ids in its SVG.
        evidence: key of the evidence it comes from.
    """
    match figure:
        case Bars() | Curves() | Scatter() | Swarm() | Waterfall():
            return _chart(figure, prefix, evidence)
        case Heads():
            return Drawing(figure.title, figure.note, atlas=atlas(figure, evidence))
        case Images():
            pictures = tuple(Picture(to_data_uri(panel), panel.caption) for panel in figure.panels)
            key = figure.colours if any(panel.heat for panel in figure.panels) else ()
            return Drawing(
                figure.title, figure.note, pictures=pictures, per_row=max(1, min(figure.per_row, 10)), key=key
            )
        case Matrix():
            key = COLOURS if figure.around_zero else ()
            return Drawing(figure.title, figure.note, grid=_grid(figure, evidence), key=key)
        case Overlays():
            return _overlays(figure)
        case Scoreboard():
            return Drawing(figure.title, figure.note, board=board(figure, evidence))
        case Tokens():
            lines = tuple((line.caption, _words(line)) for line in figure.lines)
            return Drawing(figure.title, figure.note, key=figure.colours, lines=lines)


def _chart(figure: Chart, prefix: str, evidence: str) -> Drawing:
    svg = Markup(to_svg(figure, prefix))  # noqa: S704 every name went into it as data and came out escaped
    levels = isinstance(figure, Swarm) and any(level is not None for row in figure.rows for level in row.levels)
    return Drawing(figure.title, figure.note, svg=svg, numbers=numbers(figure, evidence), levels=levels)


def _overlays(figure: Overlays) -> Drawing:
    rows = tuple(
        (
            Picture(to_data_uri(Panel(caption="", image=row.image)), row.caption),
            *(
                Picture(to_data_uri(Panel(caption="", image=row.image, heat=heat)) if heat else None, method)
                for method, heat in zip(figure.columns, row.heats, strict=True)
            ),
        )
        for row in figure.rows
    )
    return Drawing(figure.title, figure.note, key=figure.colours, overlays=(figure.columns, rows))


def _grid(figure: Matrix, evidence: str) -> Grid:
    """Shaded from the smallest number, not at all, to the largest, or from zero."""
    known = [value for row in figure.rows for value in row.values if value is not None]
    low, spread = min(known, default=0.0), max(known, default=0.0) - min(known, default=0.0)
    largest = max(map(abs, known), default=0.0)

    def cell(value: float | None) -> Shaded:
        if value is None:
            return Shaded(None, "")
        number = plain(value, evidence, figure.percent).number
        return Shaded(number, shade(value, largest) if figure.around_zero else shade(low - value, spread))

    return Grid(figure.columns, tuple((row.label, tuple(cell(v) for v in row.values)) for row in figure.rows))


def _words(line: TokenLine) -> tuple[Word, ...]:
    """WordPiece continuations (`##`) join the word before; the word-start marks of BPE and SentencePiece are dropped."""
    largest = max((abs(weight) for weight in line.weights), default=0.0)
    found = []
    for token, weight in zip(line.tokens, line.weights, strict=True):
        joined = token.startswith("##") and len(token) > 2
        text = token[2:] if joined else token.lstrip("Ġ▁") or token
        found.append(Word(text, shade(weight, largest), words.number(weight), space=not joined))
    return tuple(found)
