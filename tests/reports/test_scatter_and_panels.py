from xml.etree import ElementTree

import pytest

from reports.figures import to_svg
from reports.html.drawings import draw
from reports.record import Curves, Place, Point, Scatter
from reports.vega import PALETTE
from tests.drawn import HOSTILE, parts


def multiples(panels, series=("a", "b"), **settings):
    points = tuple(
        Point(x=i / 10, y=(i + j) / 20, series=s, panel=p)
        for p in panels
        for j, s in enumerate(series)
        for i in range(11)
    )
    return Curves(title="t", x_title="x", y_title="y", points=points, x_percent=True, y_percent=True, **settings)


def scatter(*points, **settings):
    return Scatter(title="t", x_title="x", y_title="y", points=points, **settings)


def lines(svg):
    """Curves, not grid lines: open paths with a stroke of the palette."""
    return [p for p in parts(svg, "path") if any(colour in (p.get("stroke") or "") for colour in PALETTE)]


def test_each_panel_has_its_own_lines_on_the_same_axes():
    one, three = (to_svg(multiples(panels), "p") for panels in (["here"], ["first", "second", "third"]))
    per_panel = 2
    assert len([p for p in lines(three) if p.get("d").count("L") == 10]) == 3 * per_panel
    assert len([p for p in lines(one) if p.get("d").count("L") == 10]) == per_panel
    shown = [text.text for text in parts(three, "text")]
    assert {"first", "second", "third"} <= set(shown)
    assert float(ElementTree.fromstring(three).get("width")) <= 520
    # one drawing of many panels is wide, never endless
    many = ElementTree.fromstring(to_svg(multiples([f"panel {i}" for i in range(7)]), "p"))
    assert float(many.get("width")) <= 520


def test_the_setting_in_use_is_marked_in_every_panel():
    def dashed(figure):
        return [e for e in parts(to_svg(figure, "p"), "line") if e.get("stroke-dasharray") == "5,3"]

    assert dashed(multiples(["a"])) == []
    assert len(dashed(multiples(["a"], mark=0.5))) == 1
    assert len(dashed(multiples(["a", "b"], mark=0.5))) == 2


def test_numbers_of_panels_and_scatters_stand_in_their_tables():
    table = draw(multiples(["first", "second"]), "p", "key").numbers
    assert table.columns[0] == "" and len(table.rows) == 2 * 2 * 11
    assert {row[0].text for row in table.rows} == {"first", "second"}
    place = Place(label="as it is", x=0.25, y=0.5, x_low=0.125, x_high=0.5, front=True)
    (row,) = draw(scatter(place), "p", "key").numbers.rows
    assert [cell.number.exact for cell in row if cell.number] == ["0.25", "0.125", "0.5", "0.5"]
    assert row[-1].text == "yes"


def test_points_of_the_front_are_filled_and_joined():
    points = [Place(label=str(i), x=i, y=-i, front=i < 3) for i in range(5)]
    svg = to_svg(scatter(*points), "p")
    marks = [p for p in parts(svg, "path") if p.get("fill", "none") not in ("none", "transparent")]
    filled = [p for p in marks if any(colour in p.get("fill") for colour in PALETTE)]
    # in the drawing and in the legend
    assert len(filled) >= 3
    joined = [p for p in parts(svg, "path") if p.get("stroke") == "currentColor" and p.get("d").count("L") == 2]
    assert len(joined) == 1
    assert to_svg(scatter(), "p") == ""


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_breaks_out(name):
    for figure in (
        scatter(Place(label=name, x=0, y=0, y_low=-1, y_high=1), Place(label=name, x=1, y=1, front=True)),
        multiples([name, "other"], series=(name, "b")),
    ):
        assert not parts(to_svg(figure, "p"), "script")
