"""Figure data -> Altair -> Vega-Lite, offline."""

from __future__ import annotations

import math
from typing import Any

from reports import vega, words
from reports.clouds import scatter, swarm
from reports.record import Bars, Curves, Scatter, Swarm, Waterfall

_DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [4, 4], [1, 3])


Chart = Bars | Curves | Scatter | Swarm | Waterfall


def to_svg(figure: Chart, prefix: str) -> str:
    """Draw a chart.

    Args:
        figure: what to draw; an empty one gives an empty string.
        prefix: begins every id in the SVG, so that many fit into one page.

    Returns:
        An `<svg>` element with a view box, a role and a label, without script, style sheet or background.
    """
    match figure:
        case Bars():
            chart = _bars(figure) if figure.bars else None
        case Curves():
            chart = _curves(figure) if figure.points else None
        case Waterfall():
            chart = _waterfall(figure) if figure.steps else None
        case Swarm():
            chart = swarm(figure) if any(row.values for row in figure.rows) else None
        case Scatter():
            chart = scatter(figure) if figure.points else None
    return "" if chart is None else vega.drawn(chart, words.line(figure.title), prefix)


def _bars(figure: Bars) -> dict[str, Any]:
    import altair as alt

    names = list(dict.fromkeys(vega.name(bar.label, 80) for bar in figure.bars))
    series = list(dict.fromkeys(vega.name(bar.series, 60) for bar in figure.bars))
    grouped = len(series) > 1
    rows: list[dict[str, Any]] = [
        {
            "label": vega.name(bar.label, 80),
            "series": vega.name(bar.series, 60),
            "value": bar.value,
            "low": bar.value if bar.low is None else bar.low,
            "high": bar.value if bar.high is None else bar.high,
        }
        for bar in figure.bars
    ]
    y = alt.Y("label:N", sort=names, title=None).axis(vega.names())
    x = (
        alt.X("value:Q", title=vega.title(figure.x_title))
        .axis(vega.axis(figure.percent, [r["value"] for r in rows]))
        .scale(zero=True, nice=True)
    )
    base = alt.Chart().encode(y=y)
    if grouped:
        base = base.encode(yOffset=alt.YOffset("series:N", sort=series))
    colour = vega.coloured(series) if grouped else alt.value(vega.PALETTE[0])
    thin = len(names) * len(series) > 24
    layers = [base.mark_bar(opacity=0.85).encode(x=x, color=colour)]
    if any(row["low"] < row["high"] for row in rows):
        layers.append(base.mark_rule(strokeWidth=1.5, color=vega.INK).encode(x=alt.X("low:Q"), x2="high:Q"))
        for end in ("low", "high"):
            caps = base.mark_tick(thickness=1.5, size=5 if thin or grouped else 8, color=vega.INK)
            layers.append(caps.encode(x=alt.X(f"{end}:Q")))
    layers += vega.reference(figure.reference, "x")
    step = {"step": 12 if grouped else 16 if thin else 24, "for": "position"}
    if grouped:
        step = {"step": 11, "for": "offset"}
    return vega.finish(alt.layer(*layers), rows, height=step)


def _curves(figure: Curves) -> dict[str, Any]:
    import altair as alt

    series = list(dict.fromkeys(vega.name(point.series, 60) for point in figure.points))
    rows: list[dict[str, Any]] = [
        {
            "x": point.x,
            "y": point.y,
            "low": point.y if point.low is None else point.low,
            "high": point.y if point.high is None else point.high,
            "series": vega.name(point.series, 60),
            "panel": vega.name(point.panel, 40),
        }
        for point in figure.points
    ]
    x_scale = alt.Scale(zero=False, nice=True)
    y_scale = alt.Scale(domain=[0, 1]) if figure.y_percent and _within_unit(rows) else alt.Scale(zero=False, nice=True)
    if figure.diagonal:
        x_scale = y_scale = alt.Scale(domain=[0, 1]) if _within_unit(rows) else alt.Scale(zero=True, nice=True)
    x = alt.X("x:Q", title=vega.title(figure.x_title), scale=x_scale).axis(
        vega.axis(figure.x_percent, [r["x"] for r in rows])
    )
    y = alt.Y("y:Q", title=vega.title(figure.y_title, 36), scale=y_scale).axis(
        vega.axis(figure.y_percent, [r["y"] for r in rows])
    )
    base = alt.Chart().encode(x=x)
    many = len(series) > 1
    colour = vega.coloured(series) if many else alt.value(vega.PALETTE[0])
    layers = []
    if any(row["low"] < row["high"] for row in rows):
        band = base.mark_area(opacity=0.18).encode(y=alt.Y("low:Q"), y2="high:Q", color=colour)
        bar = base.mark_rule(opacity=0.55).encode(y=alt.Y("low:Q"), y2="high:Q", color=colour)
        layers += [band, bar]
    line = base.mark_line(strokeWidth=2).encode(y=y, color=colour)
    panels = list(dict.fromkeys(row["panel"] for row in rows))
    multiple = len(panels) > 1
    dots = base.mark_point(filled=True, size=34, opacity=1).encode(y=y, color=colour)
    if many:
        drawn = range(len(series))
        dashes = alt.Scale(domain=series, range=[_DASHES[i % len(_DASHES)] for i in drawn])
        shapes = alt.Scale(domain=series, range=[vega.SHAPES[i % len(vega.SHAPES)] for i in drawn])
        line = line.encode(strokeDash=alt.StrokeDash("series:N", sort=series, scale=dashes, title=None))
        dots = dots.encode(shape=alt.Shape("series:N", sort=series, scale=shapes, title=None))
    layers += [line] if multiple else [line, dots]
    layers += [*vega.reference(figure.reference, "y"), *vega.reference(figure.mark, "x")]
    if figure.diagonal:
        both = [float(value) for point in figure.points for value in (point.x, point.y)]
        ends = [0.0, 1.0] if _within_unit(rows) else [min(both), max(both)]
        data = alt.InlineData(values=[{"x": end, "y": end} for end in ends])
        layers.append(vega.reference_mark(alt.Chart(data).mark_line).encode(x=alt.X("x:Q"), y=alt.Y("y:Q")))
    return vega.finish(alt.layer(*layers), rows, height=230, panels=panels)


def _within_unit(rows: list[dict[str, Any]]) -> bool:
    return all(0 <= row[k] <= 1 for row in rows for k in ("low", "high"))


def _waterfall(figure: Waterfall) -> dict[str, Any]:
    import altair as alt

    rows, at = [_stair(figure.start_label, figure.start, 0, "end")], figure.start
    for place, step in enumerate(figure.steps, 1):
        low = step.value if step.low is None else step.low
        high = step.value if step.high is None else step.high
        stair = _stair(step.label, at, place, "for" if step.value >= 0 else "against")
        rows.append(stair | {"to": at + step.value, "low": at + low, "high": at + high})
        at += step.value
    rows.append(_stair(figure.end_label, figure.end, len(rows), "end"))
    amounts = [figure.start, *(step.value for step in figure.steps), figure.end]
    largest = max(map(abs, amounts)) or 1.0
    # a step much smaller than the largest is still told from nothing
    digits = max(2 if largest < 1000 else 0, 2 - math.floor(math.log10(largest)))
    for place, (row, amount) in enumerate(zip(rows, amounts, strict=True)):
        sign = "+" if row["kind"] == "for" else ""
        row["shown"] = vega.unique(f"{sign}{amount:.{digits}f}".replace("-", "\u2212"), place)
    labels, shown = [row["label"] for row in rows], [row["shown"] for row in rows]
    y = alt.Y("label:N", sort=labels, title=None).axis(vega.names())
    ends = [row[key] for row in rows for key in ("low", "high", "from", "to")]
    x = alt.X("from:Q", title=vega.title(figure.x_title)).axis(vega.axis(False, ends))
    x = x.scale(zero=False, nice=True, domain=vega.widened(ends))
    base = alt.Chart().encode(y=y)
    colours = alt.Scale(domain=["for", "against", "end"], range=[vega.PALETTE[1], vega.PALETTE[0], vega.INK])
    bars = base.transform_filter("datum.kind != 'end'").mark_bar(opacity=0.85, minBandSize=2)
    layers = [bars.encode(x=x, x2="to:Q", color=alt.Color("kind:N", scale=colours, legend=None))]
    if any(row["low"] < row["high"] for row in rows):
        layers.append(base.mark_rule(strokeWidth=1.5, color=vega.INK).encode(x="low:Q", x2="high:Q"))
    layers.append(
        base.mark_tick(thickness=3, size=16, color=vega.INK).transform_filter("datum.kind == 'end'").encode(x=x)
    )
    right = alt.Y("shown:N", sort=shown, title=None).axis(vega.names("right"))
    unseen = alt.Chart().mark_point(opacity=0).encode(y=right, x=x)
    chart = alt.layer(alt.layer(*layers), unseen).resolve_scale(y="independent")
    return vega.finish(chart, rows, height=22 * len(rows))


def _stair(label: str, at: float, place: int, kind: str) -> dict[str, Any]:
    """A row of a waterfall that stays where it is; labels are told apart by marks that are taken off again."""
    return {"label": vega.unique(label, place), "kind": kind, "from": at, "to": at, "low": at, "high": at}
