"""Figure data -> Altair -> Vega-Lite -> SVG, offline.

The SVG takes its colours from the page: text and axes are `currentColor`, series are CSS variables (`--series-1` ...)
with the Okabe-Ito palette (Okabe and Ito 2008) as their fallback, so that one figure reads on light and on dark paper.
"""

from __future__ import annotations

import json
import re
from typing import Any
from xml.etree import ElementTree

from reports import words
from reports.record import Bars, Curves

#: width of a figure in CSS pixels, axes and labels included; it shrinks with the page
WIDTH = 480
#: Okabe and Ito 2008, without black, which the text has; those too pale for light paper come last
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")
_DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [4, 4], [1, 3])
_INK, _RULE, _FONT = "#010203", "#030201", "sans-serif"
#: labels are laid out at this size and drawn at 12 px, so that a reader's wider font still fits
_ROOM = 13
_SAFE = str.maketrans({"'": "\u2019", '"': "\u201d", "\\": "\u2216", "`": "\u2018"})
_MARK = "\u2060"
_SVG = "http://www.w3.org/2000/svg"


def to_svg(figure: Bars | Curves, prefix: str) -> str:
    """Draw a chart.

    Args:
        figure: what to draw; an empty one gives an empty string.
        prefix: begins every id in the SVG, so that many fit into one page.

    Returns:
        An `<svg>` element with a view box, a role and a label, without script, style sheet or background.
    """
    if not (figure.bars if isinstance(figure, Bars) else figure.points):
        return ""
    import altair
    import vl_convert

    chart = _bars(figure) if isinstance(figure, Bars) else _curves(figure)
    version = ".".join(altair.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
    svg = vl_convert.vegalite_to_svg(json.dumps(chart), vl_version=version)
    return _dressed(svg, words.line(figure.title), prefix)


def _bars(figure: Bars) -> dict[str, Any]:
    import altair as alt

    names = list(dict.fromkeys(_name(bar.label, 80) for bar in figure.bars))
    series = list(dict.fromkeys(_name(bar.series, 60) for bar in figure.bars))
    grouped = len(series) > 1
    rows: list[dict[str, Any]] = [
        {
            "label": _name(bar.label, 80),
            "series": _name(bar.series, 60),
            "value": bar.value,
            "low": bar.value if bar.low is None else bar.low,
            "high": bar.value if bar.high is None else bar.high,
        }
        for bar in figure.bars
    ]
    y = alt.Y("label:N", sort=names, title=None).axis(labelLimit=200, ticks=False, domain=False, labelPadding=8)
    x = (
        alt.X("value:Q", title=words.line(figure.x_title))
        .axis(_axis(figure.percent, [r["value"] for r in rows]))
        .scale(zero=True, nice=True)
    )
    base = alt.Chart().encode(y=y)
    if grouped:
        base = base.encode(yOffset=alt.YOffset("series:N", sort=series))
    colour = _colour(series) if grouped else alt.value(PALETTE[0])
    thin = len(names) * len(series) > 24
    layers = [base.mark_bar(opacity=0.85).encode(x=x, color=colour)]
    if any(row["low"] < row["high"] for row in rows):
        layers.append(base.mark_rule(strokeWidth=1.5, color=_INK).encode(x=alt.X("low:Q"), x2="high:Q"))
        for end in ("low", "high"):
            caps = base.mark_tick(thickness=1.5, size=5 if thin or grouped else 8, color=_INK)
            layers.append(caps.encode(x=alt.X(f"{end}:Q")))
    layers += _reference(figure.reference, "x")
    step = {"step": 12 if grouped else 16 if thin else 24, "for": "position"}
    if grouped:
        step = {"step": 11, "for": "offset"}
    return _finish(alt.layer(*layers), rows, height=step)


def _curves(figure: Curves) -> dict[str, Any]:
    import altair as alt

    series = list(dict.fromkeys(_name(point.series, 60) for point in figure.points))
    rows: list[dict[str, Any]] = [
        {
            "x": point.x,
            "y": point.y,
            "low": point.y if point.low is None else point.low,
            "high": point.y if point.high is None else point.high,
            "series": _name(point.series, 60),
        }
        for point in figure.points
    ]
    x_scale = alt.Scale(zero=False, nice=True)
    y_scale = alt.Scale(domain=[0, 1]) if figure.y_percent and _within_unit(rows) else alt.Scale(zero=False, nice=True)
    if figure.diagonal:
        x_scale = y_scale = alt.Scale(domain=[0, 1]) if _within_unit(rows) else alt.Scale(zero=True, nice=True)
    x = alt.X("x:Q", title=words.line(figure.x_title), scale=x_scale).axis(
        _axis(figure.x_percent, [r["x"] for r in rows])
    )
    y = alt.Y("y:Q", title=words.line(figure.y_title), scale=y_scale).axis(
        _axis(figure.y_percent, [r["y"] for r in rows])
    )
    base = alt.Chart().encode(x=x)
    many = len(series) > 1
    colour = _colour(series) if many else alt.value(PALETTE[0])
    layers = []
    if any(row["low"] < row["high"] for row in rows):
        band = base.mark_area(opacity=0.18).encode(y=alt.Y("low:Q"), y2="high:Q", color=colour)
        bar = base.mark_rule(opacity=0.55).encode(y=alt.Y("low:Q"), y2="high:Q", color=colour)
        layers += [band, bar]
    line = base.mark_line(strokeWidth=2).encode(y=y, color=colour)
    dots = base.mark_point(filled=True, size=34, opacity=1).encode(y=y, color=colour)
    if many:
        drawn = range(len(series))
        dashes = alt.Scale(domain=series, range=[_DASHES[i % len(_DASHES)] for i in drawn])
        shapes = alt.Scale(domain=series, range=[_SHAPES[i % len(_SHAPES)] for i in drawn])
        line = line.encode(strokeDash=alt.StrokeDash("series:N", sort=series, scale=dashes, title=None))
        dots = dots.encode(shape=alt.Shape("series:N", sort=series, scale=shapes, title=None))
    layers += [line, dots]
    layers += _reference(figure.reference, "y")
    if figure.diagonal:
        both = [float(value) for point in figure.points for value in (point.x, point.y)]
        ends = [0.0, 1.0] if _within_unit(rows) else [min(both), max(both)]
        data = alt.InlineData(values=[{"x": end, "y": end} for end in ends])
        layers.append(_reference_mark(alt.Chart(data).mark_line).encode(x=alt.X("x:Q"), y=alt.Y("y:Q")))
    return _finish(alt.layer(*layers), rows, height=230)


def _name(text: str, longest: int) -> str:
    """A name as it stands in a chart.

    Vega-Lite writes names into expressions, and Vega takes the string "if" there for its function: a mark that is taken
    off again below keeps every name from being a word of that language, and typographic quotes end no string.
    """
    return words.line(text, longest).translate(_SAFE) + _MARK


def _within_unit(rows: list[dict[str, Any]]) -> bool:
    return all(0 <= row[k] <= 1 for row in rows for k in ("low", "high"))


def _axis(percent: bool, values: list[float]) -> Any:
    import altair as alt

    if percent:
        return alt.Axis(format="~%", tickCount=5)
    return alt.Axis(format="~s", tickCount=5) if max(map(abs, values)) >= 1e6 else alt.Axis(tickCount=5)


def _colour(series: list[str]) -> Any:
    import altair as alt

    scale = alt.Scale(domain=series, range=[PALETTE[i % len(PALETTE)] for i in range(len(series))])
    return alt.Color("series:N", sort=series, scale=scale, title=None, legend=alt.Legend(symbolOpacity=1))


def _reference(value: float | None, axis: str) -> list[Any]:
    import altair as alt

    if value is None:
        return []
    mark = _reference_mark(alt.Chart(alt.InlineData(values=[{"at": value}])).mark_rule)
    return [mark.encode(x=alt.X("at:Q")) if axis == "x" else mark.encode(y=alt.Y("at:Q"))]


def _reference_mark(mark: Any) -> Any:
    return mark(strokeDash=[5, 3], strokeWidth=1.5, color=_INK, opacity=0.8)


def _finish(chart: Any, rows: list[dict[str, Any]], height: Any) -> dict[str, Any]:
    import altair as alt

    text = {"labelFont": _FONT, "titleFont": _FONT, "labelColor": _INK, "titleColor": _INK}
    axis = {
        "gridColor": _RULE,
        "domainColor": _RULE,
        "tickColor": _RULE,
        "labelFontSize": _ROOM,
        "titleFontSize": _ROOM,
    }
    chart = (
        chart.properties(
            data=alt.InlineData(values=rows),
            width=WIDTH,
            height=height,
            autosize=alt.AutoSizeParams(type="fit-x", contains="padding"),
            padding=2,
        )
        .configure(background="transparent", font=_FONT)
        .configure_view(stroke=None)
        .configure_axis(**text, **axis, titleFontWeight="normal", titlePadding=8)
        .configure_legend(**text, labelFontSize=_ROOM, symbolSize=70, offset=8, orient="top", columns=3, labelLimit=150)
        .configure_scale(bandPaddingInner=0.25, bandPaddingOuter=0.15)
    )
    spec: dict[str, Any] = chart.to_dict(context={"pre_transform": False})
    return spec


# ----------------------------------------------------------------------------------------------------- dressing the SVG

_DROPPED = ("aria-label", "aria-roledescription", "aria-hidden", "role", "class", "pointer-events", "font-family")
_COLOURS = {_INK: "currentColor", _RULE: "var(--grid, #8888)"} | {
    colour: f"var(--series-{i}, {colour})" for i, colour in enumerate(PALETTE, 1)
}


def _dressed(svg: str, title: str, prefix: str) -> str:
    root = ElementTree.fromstring(svg)  # noqa: S314 our own converter wrote it
    for element in root.iter():
        element.tag = element.tag.removeprefix(f"{{{_SVG}}}")
        if element.text:
            element.text = element.text.replace(_MARK, "")
        for name in _DROPPED:
            element.attrib.pop(name, None)
        for name, value in element.attrib.items():
            element.set(name, _rewritten(name, value, prefix))
    width, height = root.get("width", str(WIDTH)), root.get("height", "200")
    view = root.get("viewBox", f"0 0 {width} {height}")
    root.attrib.clear()
    # without a size of its own the drawing follows its column and never outgrows what it was drawn for
    root.attrib |= {
        "viewBox": view,
        "width": width,
        "height": height,
        "class": "chart",
        "role": "img",
        "aria-label": title,
    }
    return ElementTree.tostring(root, encoding="unicode")


def _rewritten(name: str, value: str, prefix: str) -> str:
    if name == "id":
        return f"{prefix}-{value}"
    if name in ("fill", "stroke"):
        return _COLOURS.get(value.casefold(), value.replace("url(#", f"url(#{prefix}-"))
    if name == "font-size":
        return "12"
    if "url(#" in value:
        return value.replace("url(#", f"url(#{prefix}-")
    return re.sub(r"-?\d+\.\d{3,}", lambda m: f"{float(m.group()):.2f}".rstrip("0").rstrip("."), value)
