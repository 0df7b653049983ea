"""What all charts share: names, axes, colours, and the way from Vega-Lite to an SVG of the page.

The SVG takes its colours from the page: text and axes are `currentColor`, series are CSS variables (`--series-1` ...)
with the Okabe-Ito palette (Okabe and Ito 2008) as their fallback, so that one figure reads on light and on dark paper.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Sequence
from typing import Any, Literal
from xml.etree import ElementTree

from reports import words

#: width of a figure in CSS pixels, axes and labels included; it shrinks with the page
WIDTH = 480
#: Okabe and Ito 2008, without black, which the text has; those too pale for light paper come last
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
#: the colours of text, grid and what has no level; of levels from low to high (stand-ins for those of the page)
INK, RULE, FAINT, _FONT = "#010203", "#030201", "#020301", "sans-serif"
LEVELS = ("#000001", "#000002", "#000003", "#000004", "#000005")
#: labels are laid out at this size and drawn at 12 px, so that a reader's wider font still fits
_ROOM = 13
_SAFE = str.maketrans({"'": "\u2019", '"': "\u201d", "\\": "\u2216", "`": "\u2018"})
MARK = "\u2060"
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")
#: small multiples in a row, the width of one, and what axes and gaps take
_ABREAST, _NARROW, _MARGIN = 3, 120, 75
_SVG = "http://www.w3.org/2000/svg"


def name(text: str, longest: int) -> str:
    """A name as it stands in a chart.

    Vega-Lite writes names into expressions, and Vega takes the string "if" there for its function: a mark that is taken
    off again below keeps every name from being a word of that language, and typographic quotes end no string.
    """
    return words.line(text, longest).translate(_SAFE) + MARK


def unique(text: str, place: int) -> str:
    """A name told apart from equal ones by marks that are taken off again."""
    return name(text, 80) + MARK * place


def widened(values: list[float]) -> list[float]:
    """From the lowest to the highest, with some room."""
    room = 0.04 * (max(values) - min(values)) or 1.0
    return [min(values) - room, max(values) + room]


def title(text: str, longest: int = 52) -> list[str]:
    """The title of an axis in lines of at most so many letters, so that it stays inside the drawing."""
    return textwrap.wrap(words.line(text), longest)


def axis(percent: bool, values: list[float]) -> Any:
    """Five ticks, in per cent or in thousands where the numbers are large."""
    import altair as alt

    if percent:
        return alt.Axis(format="~%", tickCount=5)
    return alt.Axis(format="~s", tickCount=5) if max(map(abs, values)) >= 1e6 else alt.Axis(tickCount=5)


def names(side: Literal["left", "right"] = "left") -> Any:
    """Names beside rows, without ticks."""
    import altair as alt

    return alt.Axis(orient=side, labelLimit=200, ticks=False, domain=False, labelPadding=8)


def coloured(series: list[str]) -> Any:
    """A colour a series, with a legend."""
    import altair as alt

    scale = alt.Scale(domain=series, range=[PALETTE[i % len(PALETTE)] for i in range(len(series))])
    return alt.Color("series:N", sort=series, scale=scale, title=None, legend=alt.Legend(symbolOpacity=1))


def reference(value: float | None, axis: str) -> list[Any]:
    """A dashed line across the chart at a value of one axis, "x" or "y"; none where there is no value."""
    import altair as alt

    if value is None:
        return []
    mark = reference_mark(alt.Chart(alt.InlineData(values=[{"at": value}])).mark_rule)
    return [mark.encode(x=alt.X("at:Q")) if axis == "x" else mark.encode(y=alt.Y("at:Q"))]


def reference_mark(mark: Any) -> Any:
    """The look of a line to compare with."""
    return mark(strokeDash=[5, 3], strokeWidth=1.5, color=INK, opacity=0.8)


def finish(chart: Any, rows: list[dict[str, Any]], height: Any, panels: Sequence[str] = ()) -> dict[str, Any]:
    """The specification of a chart over these rows.

    Args:
        chart: layers without data.
        rows: the data.
        height: in pixels, or as a step a category.
        panels: with more than one, rows of each ("panel") stand side by side on the same axes.
    """
    import altair as alt

    text = {"labelFont": _FONT, "titleFont": _FONT, "labelColor": INK, "titleColor": INK}
    lines = {
        "gridColor": RULE,
        "domainColor": RULE,
        "tickColor": RULE,
        "labelFontSize": _ROOM,
        "titleFontSize": _ROOM,
    }
    data = alt.InlineData(values=rows)
    if len(panels) > 1:
        abreast = min(len(panels), _ABREAST)
        width = max((WIDTH - _MARGIN) // abreast, _NARROW)
        header = alt.Header(title=None, labelFont=_FONT, labelFontSize=_ROOM, labelColor=INK, labelLimit=width)
        facet = alt.Facet("panel:N", sort=list(panels), header=header)
        chart = chart.properties(width=width, height=width).facet(facet, columns=abreast, data=data, spacing=12)
    else:
        fit = alt.AutoSizeParams(type="fit-x", contains="padding")
        chart = chart.properties(data=data, width=WIDTH, height=height, autosize=fit)
    chart = (
        chart.properties(padding=2)
        .configure(background="transparent", font=_FONT)
        .configure_view(stroke=None)
        .configure_axis(**text, **lines, titleFontWeight="normal", titlePadding=8)
        .configure_legend(**text, labelFontSize=_ROOM, symbolSize=70, offset=8, orient="top", columns=3, labelLimit=150)
        .configure_scale(bandPaddingInner=0.25, bandPaddingOuter=0.15)
    )
    spec: dict[str, Any] = chart.to_dict(context={"pre_transform": False})
    return spec


# ----------------------------------------------------------------------------------------------------- dressing the SVG

_DROPPED = ("aria-label", "aria-roledescription", "aria-hidden", "role", "class", "pointer-events", "font-family")
#: attributes that say what holds without them, and paths without length
_PLAIN = (("opacity", "1"), ("stroke-width", "1"), ("transform", "translate(0,0)"))
#: attributes of text that the page gives all texts of charts
_OF_TEXT = (("font-size", "12"), ("fill", "currentColor"))
_NOTHING = ("", "M0,0h0v0h0Z")
_COLOURS = {INK: "currentColor", RULE: "var(--grid)"} | {
    colour: f"var(--series-{i}, {colour})" for i, colour in enumerate(PALETTE, 1)
}
_COLOURS |= {FAINT: "var(--muted, #888)"} | {colour: f"var(--level-{i}, #888)" for i, colour in enumerate(LEVELS, 1)}


def drawn(chart: dict[str, Any], title: str, prefix: str) -> str:
    """The SVG of a specification, dressed for the page.

    Args:
        chart: what `finish` gave.
        title: read out in its place.
        prefix: begins every id.
    """
    import altair
    import vl_convert

    version = ".".join(altair.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
    return _dressed(vl_convert.vegalite_to_svg(json.dumps(chart), vl_version=version), title, prefix)


def _dressed(svg: str, title: str, prefix: str) -> str:
    root = ElementTree.fromstring(svg)  # noqa: S314 our own converter wrote it
    for element in root.iter():
        _gather(element)
        element.tag = element.tag.removeprefix(f"{{{_SVG}}}")
        if element.text:
            element.text = element.text.replace(MARK, "")
        for key in _DROPPED:
            element.attrib.pop(key, None)
        for key, value in element.attrib.items():
            element.set(key, _rewritten(key, value, prefix))
    _prune(root)
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


def _rewritten(key: str, value: str, prefix: str) -> str:
    if key == "id":
        return f"{prefix}-{value}"
    if key in ("fill", "stroke"):
        return _COLOURS.get(value.casefold(), value.replace("url(#", f"url(#{prefix}-"))
    if key == "font-size":
        return "12"
    if "url(#" in value:
        return value.replace("url(#", f"url(#{prefix}-")
    return re.sub(r"-?\d+\.\d{3,}", lambda m: f"{float(m.group()):.2f}".rstrip("0").rstrip("."), value)


def _prune(parent: ElementTree.Element) -> None:
    """Take out what draws nothing, a third of the size: hidden marks, empty paths, groups around nothing or for nothing."""
    kept: list[ElementTree.Element] = []
    for child in parent:
        for key, value in (*_PLAIN, *(_OF_TEXT if child.tag == "text" else ())):
            if child.get(key) == value:
                del child.attrib[key]
        _prune(child)
        hidden = child.get("display") == "none" or child.get("opacity") == "0"
        if hidden or (child.tag == "path" and child.get("d") in _NOTHING) or (child.tag == "g" and not len(child)):
            continue
        kept.extend(child if child.tag == "g" and not child.attrib else [child])
    parent[:] = kept


def _gather(group: ElementTree.Element) -> None:
    """The circles of one colour become one path of round dots, a tenth of the size."""
    circles = [element for element in group if element.get("aria-roledescription") == "circle"]
    if not circles:
        return
    places: dict[str, list[str]] = {}
    for circle in circles:
        x, y = (round(float(part), 1) for part in circle.get("transform", "")[len("translate(") : -1].split(","))
        places.setdefault(circle.get("fill", INK), []).append(f"M{x:g},{y:g}h0")
        group.remove(circle)
    radius = float(circles[0].get("d", "")[1:].partition(",")[0])
    look = {"stroke-width": f"{2 * radius:.1f}", "stroke-linecap": "round", "fill": "none"}
    group.extend(
        ElementTree.Element("path", {"d": "".join(found), "stroke": colour, **look})
        for colour, found in sorted(places.items())
    )
