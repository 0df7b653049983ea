"""The numbers behind a chart, for those who cannot see it and those who trace it."""

from __future__ import annotations

from statistics import median_low

from reports import words
from reports.figures import Chart
from reports.html.views import CellView, Number, TableView
from reports.record import Bars, Curves, Scatter, Swarm, SwarmRow, Waterfall

Lines = list[tuple[CellView, ...]]


def numbers(figure: Chart, evidence: str) -> TableView:
    """The numbers of a chart as a table; a column without any is left out.

    Args:
        figure: the chart.
        evidence: key of the evidence it comes from.
    """
    match figure:
        case Bars():
            columns, cells = _of_bars(figure, evidence)
        case Curves():
            columns, cells = _of_curves(figure, evidence)
        case Waterfall():
            columns, cells = _of_waterfall(figure, evidence)
        case Swarm():
            columns, cells = _of_swarm(figure, evidence)
        case Scatter():
            columns, cells = _of_scatter(figure, evidence)
    kept = [i for i in range(len(columns)) if any(row[i].number or row[i].text for row in cells)]
    numeric = tuple(all(row[i].numeric or not row[i].text for row in cells) for i in kept)
    rows = tuple(tuple(row[i] for i in kept) for row in cells)
    return TableView(figure.title, tuple(columns[i] for i in kept), numeric, rows, "", folded=False)


def _of_bars(figure: Bars, evidence: str) -> tuple[tuple[str, ...], Lines]:
    cells: Lines = [
        (
            _text(bar.label),
            _text(bar.series),
            *(plain(x, evidence, figure.percent) for x in (bar.value, bar.low, bar.high)),
        )
        for bar in figure.bars
    ]
    return ("label", "series", figure.x_title or "value", "low", "high"), cells


def _of_curves(figure: Curves, evidence: str) -> tuple[tuple[str, ...], Lines]:
    cells: Lines = [
        (
            _text(point.panel),
            _text(point.series),
            plain(point.x, evidence, figure.x_percent),
            *(plain(y, evidence, figure.y_percent) for y in (point.y, point.low, point.high)),
        )
        for point in figure.points
    ]
    return ("", "series", figure.x_title or "x", figure.y_title or "y", "low", "high"), cells


def _of_scatter(figure: Scatter, evidence: str) -> tuple[tuple[str, ...], Lines]:
    cells: Lines = [
        (
            _text(point.label),
            *(plain(x, evidence, figure.x_percent) for x in (point.x, point.x_low, point.x_high)),
            *(plain(y, evidence, figure.y_percent) for y in (point.y, point.y_low, point.y_high)),
            _text("yes" if point.front else ""),
        )
        for point in figure.points
    ]
    x, y = figure.x_title or "x", figure.y_title or "y"
    return ("label", x, f"{x}, low", f"{x}, high", y, f"{y}, low", f"{y}, high", "on the front"), cells


def _of_waterfall(figure: Waterfall, evidence: str) -> tuple[tuple[str, ...], Lines]:
    def end(label: str, value: float) -> tuple[CellView, ...]:
        return (_text(label), plain(value, evidence), _text(""), _text(""))

    steps = [
        (_text(step.label), *(plain(x, evidence) for x in (step.value, step.low, step.high))) for step in figure.steps
    ]
    columns = ("label", figure.x_title or "value", "low", "high")
    return columns, [end(figure.start_label, figure.start), *steps, end(figure.end_label, figure.end)]


def _of_swarm(figure: Swarm, evidence: str) -> tuple[tuple[str, ...], Lines]:
    """A row a feature: every point would be a thousand; typical is the median, and one of the points."""
    columns = ("label", "lowest", "typical", "highest", "typical where it is low", "typical where it is high")
    return columns, [_of_points(row, evidence) for row in figure.rows if row.values]


def _of_points(row: SwarmRow, evidence: str) -> tuple[CellView, ...]:
    known = [(value, level) for value, level in zip(row.values, row.levels, strict=True) if level is not None]
    low = [value for value, level in known if level <= 1 / 3]
    high = [value for value, level in known if level >= 2 / 3]
    shown = (
        min(row.values),
        median_low(row.values),
        max(row.values),
        *(median_low(part) if part else None for part in (low, high)),
    )
    return (_text(row.label), *(plain(x, evidence) for x in shown))


def plain(x: float | None, evidence: str, percent: bool = False) -> CellView:
    """A cell with a number that has no interval of its own; empty for None."""
    if x is None:
        return _text("")
    return CellView(Number(words.Shown(words.number(x, percent)), repr(x), evidence, "", ""), "", numeric=True)


def _text(text: str) -> CellView:
    return CellView(None, text, numeric=False)
