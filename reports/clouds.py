"""Points that stand by themselves: swarms and scatters."""

from __future__ import annotations

from collections import Counter
from typing import Any

from reports import vega
from reports.record import Scatter, Swarm

#: half the points that stand on top of each other in a row of a swarm without overlap, and the width of one
_DEEP, _WIDE = 5, 100


def swarm(figure: Swarm) -> dict[str, Any]:
    """Draw a swarm."""
    import altair as alt

    values = [value for row in figure.rows for value in row.values]
    low, high = vega.widened(values)
    rows = [
        {"label": vega.unique(row.label, place), "value": value, "level": _level(level), "offset": offset}
        for place, row in enumerate(figure.rows)
        for value, level, offset in zip(row.values, row.levels, _piled(row.values, low, high), strict=True)
    ]
    labels = [vega.unique(row.label, place) for place, row in enumerate(figure.rows)]
    y = alt.Y("label:N", sort=labels, title=None).axis(vega.names())
    x = alt.X("value:Q", title=vega.title(figure.x_title)).axis(vega.axis(False, values)).scale(domain=[low, high])
    offset = alt.YOffset("offset:Q", scale=alt.Scale(domain=[-1, 1]))
    points = alt.Chart().mark_circle(size=15, opacity=1)
    points = points.encode(x=x, y=y, yOffset=offset, color=alt.Color("level:N", scale=None))
    return vega.finish(alt.layer(*vega.reference(0.0, "x"), points), rows, height=28 * len(figure.rows))


def _level(level: float | None) -> str:
    return vega.FAINT if level is None else vega.LEVELS[min(int(level * len(vega.LEVELS)), len(vega.LEVELS) - 1)]


def _piled(values: tuple[float, ...], low: float, high: float) -> list[float]:
    """How far from the middle of its row, at most 1, each point stands so that those of one place do not cover it."""
    height: Counter[int] = Counter()
    ranks, bins = [], [int(_WIDE * (value - low) / (high - low)) for value in values]
    for place in bins:
        ranks.append((height[place] + 1) // 2 * (-1) ** height[place])
        height[place] += 1
    deepest = {place: max(_DEEP, count // 2) for place, count in height.items()}
    return [rank / deepest[place] for rank, place in zip(ranks, bins, strict=True)]


def scatter(figure: Scatter) -> dict[str, Any]:
    """Draw a scatter: a colour and a shape a point, its name in the legend, filled and joined where it is on the front."""
    import altair as alt

    names = [vega.unique(point.label, place) for place, point in enumerate(figure.points)]
    rows: list[dict[str, Any]] = [
        {
            "series": name,
            "x": point.x,
            "y": point.y,
            "x_low": point.x if point.x_low is None else point.x_low,
            "x_high": point.x if point.x_high is None else point.x_high,
            "y_low": point.y if point.y_low is None else point.y_low,
            "y_high": point.y if point.y_high is None else point.y_high,
            "front": point.front,
        }
        for name, point in zip(names, figure.points, strict=True)
    ]
    x_ends = [row[key] for row in rows for key in ("x_low", "x_high")]
    y_ends = [row[key] for row in rows for key in ("y_low", "y_high")]
    x = alt.X("x:Q", title=vega.title(figure.x_title), scale=alt.Scale(domain=vega.widened(x_ends)))
    y = alt.Y("y:Q", title=vega.title(figure.y_title, 36), scale=alt.Scale(domain=vega.widened(y_ends)))
    x, y = x.axis(vega.axis(figure.x_percent, x_ends)), y.axis(vega.axis(figure.y_percent, y_ends))
    base, colour = alt.Chart(), vega.coloured(names)
    layers = []
    if any(row["x_low"] < row["x_high"] for row in rows):
        layers.append(base.mark_rule(opacity=0.5).encode(x=alt.X("x_low:Q"), x2="x_high:Q", y=y, color=colour))
    if any(row["y_low"] < row["y_high"] for row in rows):
        layers.append(base.mark_rule(opacity=0.5).encode(y=alt.Y("y_low:Q"), y2="y_high:Q", x=x, color=colour))
    front = base.transform_filter("datum.front")
    layers.append(front.mark_line(strokeWidth=1, strokeDash=[2, 2], color=vega.INK, opacity=0.7).encode(x=x, y=y))
    looks = [vega.SHAPES[(i + i // len(vega.SHAPES)) % len(vega.SHAPES)] for i in range(len(names))]
    shapes = alt.Scale(domain=names, range=looks)
    shape = alt.Shape("series:N", sort=names, scale=shapes, title=None)
    for filled, kept in ((True, front), (False, base.transform_filter("!datum.front"))):
        points = kept.mark_point(filled=filled, size=70, strokeWidth=2, opacity=1)
        layers.append(points.encode(x=x, y=y, color=colour, shape=shape))
    return vega.finish(alt.layer(*layers), rows, height=260)
