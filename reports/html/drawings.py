"""Figures for the page: charts as SVG, pictures as data URIs, tokens as shaded words."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from reports import words
from reports.figures import to_svg
from reports.html.views import CellView, Number, TableView
from reports.pictures import shade, to_data_uri
from reports.record import Bars, Curves, Figure, Images, Matrix, TokenLine, Tokens


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

    @property
    def wide(self) -> bool:
        """Whether it takes the whole width of the page."""
        return bool(self.lines) or len(self.pictures) > 3


def draw(figure: Figure, prefix: str, evidence: str) -> Drawing:
    """Draw a figure.

    Args:
        figure: what to draw.
        prefix: begins the ids in its SVG.
        evidence: key of the evidence it comes from.
    """
    match figure:
        case Bars() | Curves():
            svg = Markup(to_svg(figure, prefix))  # noqa: S704 every name went into it as data and came out escaped
            return Drawing(figure.title, figure.note, svg=svg, numbers=_numbers(figure, evidence))
        case Images():
            pictures = tuple(Picture(to_data_uri(panel), panel.caption) for panel in figure.panels)
            key = figure.colours if any(panel.heat for panel in figure.panels) else ()
            return Drawing(
                figure.title, figure.note, pictures=pictures, per_row=max(1, min(figure.per_row, 10)), key=key
            )
        case Matrix():
            return Drawing(figure.title, figure.note, grid=_grid(figure, evidence))
        case Tokens():
            lines = tuple((line.caption, _words(line)) for line in figure.lines)
            return Drawing(figure.title, figure.note, key=figure.colours, lines=lines)


def _grid(figure: Matrix, evidence: str) -> Grid:
    """Shaded from the smallest number, not at all, to the largest."""
    known = [value for row in figure.rows for value in row.values if value is not None]
    low, spread = min(known, default=0.0), max(known, default=0.0) - min(known, default=0.0)

    def cell(value: float | None) -> Shaded:
        if value is None:
            return Shaded(None, "")
        return Shaded(_number(value, evidence, figure.percent).number, shade(low - value, spread))

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


def _numbers(figure: Bars | Curves, evidence: str) -> TableView:
    """The numbers behind a chart, for those who cannot see it and those who trace it."""
    if isinstance(figure, Bars):
        columns: tuple[str, ...] = ("label", "series", figure.x_title or "value", "low", "high")
        cells = [
            (
                _text(bar.label),
                _text(bar.series),
                *(_number(x, evidence, figure.percent) for x in (bar.value, bar.low, bar.high)),
            )
            for bar in figure.bars
        ]
        numeric: tuple[bool, ...] = (False, False, True, True, True)
    else:
        columns = ("series", figure.x_title or "x", figure.y_title or "y", "low", "high")
        cells = [
            (
                _text(point.series),
                _number(point.x, evidence, figure.x_percent),
                *(_number(y, evidence, figure.y_percent) for y in (point.y, point.low, point.high)),
            )
            for point in figure.points
        ]
        numeric = (False, True, True, True, True)
    kept = [i for i in range(5) if any(row[i].number or row[i].text for row in cells)]
    rows = tuple(tuple(row[i] for i in kept) for row in cells)
    return TableView(
        figure.title, tuple(columns[i] for i in kept), tuple(numeric[i] for i in kept), rows, "", folded=False
    )


def _text(text: str) -> CellView:
    return CellView(None, text, numeric=False)


def _number(x: float | None, evidence: str, percent: bool) -> CellView:
    if x is None:
        return _text("")
    return CellView(Number(words.Shown(words.number(x, percent)), repr(x), evidence, "", ""), "", numeric=True)
