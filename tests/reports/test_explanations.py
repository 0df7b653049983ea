"""Waterfalls, swarms, heads, overlays and scoreboards, against geometry and pixels that can be worked out."""

import base64
import re
from io import BytesIO

import pytest
from PIL import Image

from reports.figures import to_svg
from reports.html.drawings import draw
from reports.record import (
    Estimate,
    Head,
    HeadLayer,
    Heads,
    Metric,
    OverlayRow,
    Overlays,
    Panel,
    Score,
    Scoreboard,
    ScoreRow,
    Step,
    Swarm,
    SwarmRow,
    Waterfall,
)
from reports.vega import PALETTE
from tests.drawn import HOSTILE, encoded, marks, opened, parts, width_of


def waterfall(*values, start=1.0, **options):
    steps = tuple(Step(label=f"s{i}", value=v) for i, v in enumerate(values))
    return Waterfall(title="t", x_title="x", start=start, end=start + sum(values), steps=steps, **options)


def test_a_waterfall_falls_by_its_steps_and_ends_where_they_lead():
    svg = to_svg(waterfall(2.0, -1.0, 0.5), "p")
    rise, rest = marks(svg, PALETTE[1])
    (fall,) = marks(svg, PALETTE[0])
    assert width_of(rise) == pytest.approx(2 * width_of(fall), rel=0.02)
    assert width_of(rest) == pytest.approx(width_of(fall) / 2, rel=0.02)

    def left(path):
        return float(path.get("d")[1:].partition(",")[0])

    assert left(fall) + width_of(fall) == pytest.approx(left(rise) + width_of(rise), abs=0.1)
    assert left(rest) == pytest.approx(left(fall), abs=0.1)
    shown = [text.text for text in parts(svg, "text")]
    assert [label for label in shown if label[:1] in "+\u2212" or label in ("1.00", "2.50")][-5:] == [
        "1.00",
        "+2.00",
        "\u22121.00",
        "+0.50",
        "2.50",
    ]


def test_steps_that_lead_elsewhere_are_refused():
    with pytest.raises(ValueError, match="lead to the end"):
        Waterfall(title="t", x_title="x", start=0.0, end=1.0, steps=(Step(label="a", value=0.9),))
    rounded = Waterfall(title="t", x_title="x", start=0.0, end=1.0, steps=(Step(label="a", value=0.999),))
    assert rounded.steps
    assert waterfall(0.0, 0.0, start=0.0)


def test_equal_and_hostile_names_keep_their_steps():
    names = [*HOSTILE, "same", "same"]
    figure = Waterfall(
        title="'",
        x_title='"',
        start=0.0,
        end=float(len(names)),
        steps=tuple(Step(label=name, value=1.0, low=0.5, high=1.5) for name in names),
        start_label="if",
        end_label="null",
    )
    svg = to_svg(figure, "p")
    assert len(marks(svg, PALETTE[1])) == len(names)
    assert [text.text for text in parts(svg, "text")].count("same") == 2
    assert not parts(svg, "script")


def swarm(*rows):
    return Swarm(title="t", x_title="x", rows=tuple(SwarmRow(label=n, values=v, levels=s) for n, v, s in rows))


def dots(svg):
    """Places of the dots by colour."""
    return {
        path.get("stroke"): [tuple(map(float, place)) for place in re.findall(r"M([-\d.]+),([-\d.]+)h0", path.get("d"))]
        for path in parts(svg, "path")
        if path.get("stroke-linecap") == "round"
    }


def test_a_swarm_has_a_dot_an_example_at_its_value_and_level():
    found = dots(to_svg(swarm(("a", (0.0, 1.0, 3.0), (0.0, 1.0, None)), ("'", (1.0,), (0.5,))), "p"))
    colours = {re.search(r"--[\w-]+", colour).group(): places for colour, places in found.items()}
    assert {name: len(places) for name, places in colours.items()} == {
        "--level-1": 1,
        "--level-5": 1,
        "--muted": 1,
        "--level-3": 1,
    }
    ((zero, top),), ((one, _),), ((three, _),) = (colours[name] for name in ("--level-1", "--level-5", "--muted"))
    ((other, below),) = colours["--level-3"]
    assert three - zero == pytest.approx(3 * (one - zero), abs=0.3)
    assert other == pytest.approx(one, abs=0.1)
    assert below > top


def test_dots_of_one_value_stand_apart_and_stay_in_their_row():
    svg = to_svg(swarm(("a", (1.0,) * 9, (0.0,) * 9), ("b", (0.0, 2.0), (0.0, 0.0))), "p")
    ((places),) = dots(svg).values()
    pile = [place for place in places if places.count(place) == 1][:9]
    assert len({y for _, y in pile}) == 9
    assert max(y for _, y in pile) < min(y for _, y in places[9:])


def test_a_swarm_of_many_is_small_and_its_table_holds_some_of_its_points():
    many = tuple(round(i / 7, 3) for i in range(128))
    levels = tuple(i / 127 for i in range(128))
    figure = swarm(*((f"f{i}", many, levels) for i in range(12)))
    assert len(to_svg(figure, "p")) < 40_000
    drawn = draw(figure, "p", "key")
    assert drawn.levels
    cells = [float(cell.number.exact) for cell in drawn.numbers.rows[0][1:]]
    assert cells == [many[0], many[63], many[-1], many[21], many[106]]
    assert not draw(swarm(("a", (1.0,), (None,))), "p", "key").levels


def test_what_is_empty_is_not_drawn():
    assert to_svg(waterfall(), "p") == ""
    assert to_svg(swarm(("a", (), ())), "p") == ""


def test_a_head_shows_its_weights_and_names_the_strongest():
    head = Head(label="h", weights=((0.5, 0.0), (0.25, 1.0)))
    figure = Heads(title="t", tokens=("good", "film"), layers=(HeadLayer(label="l", heads=(head,)),))
    ((_, (view,)),) = draw(figure, "p", "key").atlas.layers
    picture = Image.open(BytesIO(base64.b64decode(view.uri.partition(",")[2])))
    assert [picture.getpixel((x, y))[3] for y in (0, 1) for x in (0, 1)] == [128, 0, 64, 255]
    assert [(link.query, link.key, link.weight.exact) for link in view.links] == [
        ("film", "film", "1.0"),
        ("good", "good", "0.5"),
        ("film", "good", "0.25"),
    ]
    with pytest.raises(ValueError, match="2 x 2 weights"):
        Heads(title="t", tokens=("a", "b"), layers=(HeadLayer(label="l", heads=(Head(label="h", weights=((1.0,),)),)),))


def test_numbers_in_rows_are_a_line_of_json_and_come_back():
    figure = Overlays(
        title="t",
        columns=("a",),
        rows=(OverlayRow(caption="c", image=encoded(Image.new("L", (2, 2))), heats=(((0.5, 1e-9), (-1.0, 0.0)),)),),
    )
    assert '["0.5 1e-09","-1 0"]' in figure.model_dump_json()
    assert Overlays.model_validate_json(figure.model_dump_json()) == figure
    row = SwarmRow(label="a", values=(1.0, 0.25), levels=(None, 0.5))
    assert SwarmRow.model_validate_json(row.model_dump_json()) == row
    assert Panel.model_validate_json('{"caption": "", "heat": [[0.5, 1]]}').heat == ((0.5, 1.0),)
    for broken in ("nan 1", "- 1", "x 1"):
        with pytest.raises(ValueError, match="values"):
            SwarmRow.model_validate({"label": "a", "values": broken, "levels": "0 0"})


def test_overlays_repeat_the_picture_under_every_heat_map():
    heat = ((1.0, 0.0), (0.0, 0.0))
    figure = Overlays(
        title="t",
        columns=("a", "b"),
        rows=(OverlayRow(caption="c", image=encoded(Image.new("L", (2, 2), 100)), heats=(heat, None)),),
    )
    columns, ((subject, one, none),) = draw(figure, "p", "key").overlays
    assert columns == ("a", "b")
    assert (subject.caption, one.caption, none.caption) == ("c", "a", "b")
    assert opened(subject.uri).getpixel((0, 0)) == (100, 100, 100)
    assert opened(one.uri).getpixel((0, 0)) != opened(one.uri).getpixel((1, 1))
    assert none.uri is None
    with pytest.raises(ValueError, match="2 heat maps"):
        Overlays(title="t", columns=("a", "b"), rows=(OverlayRow(caption="c", image="", heats=(heat,)),))


def test_a_score_is_marked_by_where_the_interval_of_its_lead_lies():
    def estimate(value, low, high):
        return Estimate(value=value, low=low, high=high, n=9, method="95 %")

    value = estimate(0.5, 0.4, 0.6)
    scores = (
        Score(value=value, chance=estimate(0.1, 0.0, 0.2), lead=estimate(0.4, 0.1, 0.7)),
        Score(value=value, lead=estimate(-0.4, -0.7, -0.1)),
        Score(value=value, lead=estimate(0.1, 0.0, 0.2)),
        Score(value=value),
        Score(value=value, lead=Estimate(value=None, n=0, method="none", reason="one example")),
        None,
    )
    figure = Scoreboard(
        title="t",
        metrics=tuple(Metric(label=str(i)) for i in range(6)),
        rows=(ScoreRow(label="SHAP", scores=scores),),
    )
    ((_, row),) = draw(figure, "p", "key").board.rows
    assert [mark and mark.standing for mark in row] == ["better", "worse", "open", "", "", None]
    assert row[0].chance.exact == "0.1"
    assert draw(figure, "p", "key").board.marked
    with pytest.raises(ValueError, match="1 scores"):
        Scoreboard(title="t", metrics=(Metric(label="a"),), rows=(ScoreRow(label="b", scores=()),))
