"""Charts, pictures and shaded words, against geometry and colours that can be worked out."""

import base64
from xml.etree import ElementTree

import pytest
from PIL import Image

from reports.figures import to_svg
from reports.html.drawings import draw
from reports.pictures import AGAINST, FOR, STRONGEST, shade, to_data_uri
from reports.record import Bar, Bars, Curves, Matrix, MatrixRow, Panel, Point, TokenLine, Tokens
from reports.vega import PALETTE
from tests.drawn import HOSTILE, encoded, marks, opened, parts, width_of


def bars(*values, **options):
    return Bars(
        title="t", x_title="x", bars=tuple(Bar(label=f"b{i}", value=v) for i, v in enumerate(values)), **options
    )


def test_bars_are_as_long_as_their_values():
    short, long = marks(to_svg(bars(1.0, 4.0), "p"), PALETTE[0])
    assert width_of(long) == pytest.approx(4 * width_of(short), rel=0.02)


def test_intervals_are_drawn_only_where_there_are_some():
    def rules(figure):
        return [line for line in parts(to_svg(figure, "p"), "line") if line.get("stroke") == "currentColor"]

    whiskers = Bars(title="t", x_title="x", bars=(Bar(label="a", value=2, low=1, high=4),))
    (rule,) = rules(whiskers)
    bar = marks(to_svg(whiskers, "p"), PALETTE[0])[0]
    assert abs(float(rule.get("x2"))) == pytest.approx(1.5 * width_of(bar), rel=0.02)  # 4 - 1 = 3 against 2
    assert rules(bars(2.0)) == []
    assert len(rules(bars(2.0, reference=1.0))) == 1


def test_a_figure_takes_its_colours_from_the_page():
    figure = Curves(
        title="t",
        x_title="x",
        y_title="y",
        points=tuple(Point(x=i, y=i, low=i - 1, high=i + 1, series=s) for i in range(3) for s in "abcdefg"),
        diagonal=True,
        reference=1.0,
    )
    svg = to_svg(figure, "p")
    used = {element.get(name) for element in ElementTree.fromstring(svg).iter() for name in ("fill", "stroke")}
    assert not {c for c in used if c and c.startswith("#")}
    assert "currentColor" in used
    assert not {c for c in used if c in ("black", "white")}
    assert "font-family" not in svg
    assert "style=" not in svg


def test_a_figure_scales_and_says_what_it_is():
    root = ElementTree.fromstring(to_svg(bars(1), "p"))
    assert root.get("role") == "img"
    assert root.get("aria-label") == "t"
    assert root.get("viewBox").startswith("0 0 ")
    assert not [e for e in root.iter() if e.get("style") or e.tag in ("style", "script", "image", "use", "a")]


def test_a_long_title_of_an_axis_is_broken_into_lines():
    long = "mean change of the log-odds if it came from one group instead of the others, all else as it is"
    svg = to_svg(Bars(title="t", x_title=long, bars=(Bar(label="a", value=1),)), "p")
    lines = [t.text for t in (*parts(svg, "text"), *parts(svg, "tspan")) if t.text and t.text in long and " " in t.text]
    assert " ".join(lines) == long
    assert max(map(len, lines)) <= 52


def test_a_chart_holds_nothing_that_draws_nothing():
    for figure in (bars(1.0, 2.0, reference=1.5), bars(-1.0, percent=True)):
        for element in ElementTree.fromstring(to_svg(figure, "p")).iter():
            assert element.get("display") != "none"
            assert "0" != element.get("opacity") != "1"
            assert element.tag != "path" or element.get("d")
            assert element.tag != "g" or (len(element) and element.attrib)


def test_ids_in_one_page_do_not_meet():
    def ids(prefix):
        return {element.get("id") for element in ElementTree.fromstring(to_svg(bars(1, 2), prefix)).iter()} - {None}

    assert not ids("first") & ids("second")


def test_an_empty_figure_is_nothing():
    assert to_svg(Bars(title="t", x_title="x", bars=()), "p") == ""
    assert to_svg(Curves(title="t", x_title="x", y_title="y", points=()), "p") == ""


def test_labels_are_text_and_nothing_else():
    label = '<script>alert("&")</script>'
    svg = to_svg(Bars(title=label, x_title=label, bars=(Bar(label=label, value=1, series=label),)), "p")
    assert "<script" not in svg
    assert label in {text.text for text in parts(svg, "text")}
    assert ElementTree.fromstring(svg).get("aria-label") == label


def test_equal_labels_and_single_points_are_drawn():
    same = Bars(title="t", x_title="x", bars=(Bar(label="a", value=1), Bar(label="a", value=2)))
    assert len(marks(to_svg(same, "p"), PALETTE[0])) == 2
    point = Curves(title="t", x_title="x", y_title="y", points=(Point(x=1, y=1),))
    assert "<svg" in to_svg(point, "p")


def test_every_number_of_a_chart_stands_in_its_table():
    figure = Bars(title="t", x_title="rate", bars=(Bar(label="a", value=0.5, low=0.25, high=0.75),), percent=True)
    numbers = draw(figure, "p", "key").numbers
    assert numbers.columns == ("label", "rate", "low", "high")
    assert [c.number.exact for c in numbers.rows[0][1:]] == ["0.5", "0.25", "0.75"]
    assert [c.number.shown.value for c in numbers.rows[0][1:]] == ["50 %", "25 %", "75 %"]
    assert {c.number.evidence for c in numbers.rows[0][1:]} == {"key"}


# ------------------------------------------------------------------------------------------------------- pictures


def test_a_heat_map_alone_runs_from_one_colour_over_white_to_the_other():
    picture = opened(to_data_uri(Panel(caption="", heat=((2.0, 0.0, -2.0, -1.0),))))
    assert picture.size == (4, 1)
    strong = round(0.85 * 255) / 255

    def mixed(colour, share):
        return tuple(round(255 + share * (c - 255)) for c in colour)

    expected = [mixed(FOR, strong), (255, 255, 255), mixed(AGAINST, strong), mixed(AGAINST, strong / 2)]
    for x, colour in enumerate(expected):
        assert picture.getpixel((x, 0)) == pytest.approx(colour, abs=2)


def test_a_heat_map_is_laid_over_its_picture_without_smoothing():
    grey = Image.new("L", (4, 4), 100)
    picture = opened(to_data_uri(Panel(caption="", image=encoded(grey), heat=((1.0, 0.0), (0.0, 0.0)))))
    assert picture.size == (4, 4)
    faded = round(100 + 0.35 * 155)
    assert picture.getpixel((3, 3)) == pytest.approx((faded,) * 3, abs=1)
    assert len(picture.getcolors()) == 2
    assert picture.getpixel((0, 0)) == picture.getpixel((1, 1)) != picture.getpixel((2, 2))


def test_a_finer_heat_map_enlarges_its_picture():
    grey = Image.new("L", (2, 2), 100)
    heat = tuple(tuple(float(x) for x in range(5)) for _ in range(5))
    assert opened(to_data_uri(Panel(caption="", image=encoded(grey), heat=heat))).size == (6, 6)


def test_a_large_picture_is_shrunk():
    assert max(opened(to_data_uri(Panel(caption="", image=encoded(Image.new("L", (1500, 30)))))).size) == 512


@pytest.mark.parametrize(
    "image",
    ["", "not base64!", "AAAA", encoded(Image.new("L", (4, 4)), "GIF"), encoded(Image.new("L", (64, 64)))[:60]],
)
def test_what_is_no_picture_is_not_drawn(image):
    assert to_data_uri(Panel(caption="", image=image)) is None


def test_a_small_file_that_unfolds_into_gigabytes_is_not_drawn():
    import struct
    import zlib

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(10_000)))
    assert to_data_uri(Panel(caption="", image=base64.b64encode(bomb).decode())) is None


def test_a_ragged_or_flat_heat_map_is_drawn():
    assert opened(to_data_uri(Panel(caption="", heat=((1.0,), (1.0, 1.0))))).size == (2, 2)
    assert opened(to_data_uri(Panel(caption="", heat=((0.0, 0.0),)))).getpixel((0, 0)) == (255, 255, 255)
    assert to_data_uri(Panel(caption="", heat=())) is None


# --------------------------------------------------------------------------------------------------------- tokens


def test_the_shade_follows_the_weight():
    assert shade(2.0, 2.0) == f"rgba(213,94,0,{STRONGEST})"
    assert shade(-1.0, 2.0) == f"rgba(0,114,178,{STRONGEST / 2})"
    assert shade(0.0, 2.0) == shade(1e-9, 2.0) == shade(0.0, 0.0) == ""


def test_pieces_of_a_word_join():
    line = TokenLine(caption="", tokens=("life", "##less", "Ġfilm", "##"), weights=(1.0, 0.5, -1.0, 0.0))
    (_, found), *_ = draw(Tokens(title="t", lines=(line,)), "p", "key").lines
    assert [(w.text, w.space) for w in found] == [("life", True), ("less", False), ("film", True), ("##", True)]
    assert [w.weight for w in found] == ["1", "0.5", "−1", "0"]


def test_no_name_breaks_out_of_a_chart():
    single = Bars(
        title="t", x_title="x", bars=tuple(Bar(label=n, value=i, low=i, high=i + 2) for i, n in enumerate(HOSTILE))
    )
    grouped = Bars(
        title="'", x_title='"', bars=tuple(Bar(label=n, value=1.0, series=s) for n in HOSTILE for s in HOSTILE[:6])
    )
    lines = Curves(
        title="t",
        x_title="'if'",
        y_title="\\",
        points=tuple(Point(x=i, y=j, low=j, high=j + 1, series=n) for j, n in enumerate(HOSTILE) for i in range(3)),
    )
    for figure in (single, grouped, lines):
        svg = to_svg(figure, "p")
        assert not parts(svg, "script")
        shown = {text.text for text in parts(svg, "text")}
        assert "if" in shown
        assert "</svg>" in shown
        assert "a\u2019b" in shown


def test_a_matrix_is_shaded_from_its_smallest_number_to_its_largest():
    figure = Matrix(
        title="t",
        columns=("a", "b"),
        rows=(MatrixRow(label="x", values=(0.2, 0.6)), MatrixRow(label="y", values=(1.0, None))),
        percent=True,
    )
    grid = draw(figure, "p", "key").grid
    (low, middle), (high, none) = (cells for _, cells in grid.rows)
    assert low.background == ""
    assert (middle.background, high.background) == ("rgba(0,114,178,0.25)", "rgba(0,114,178,0.5)")
    assert (middle.number.shown.value, middle.number.evidence) == ("60 %", "key")
    assert none.number is None
    with pytest.raises(ValueError, match="2 values"):
        Matrix(title="t", columns=("a", "b"), rows=(MatrixRow(label="x", values=(1.0,)),))
    around = Matrix(title="t", columns=("a", "b"), rows=(MatrixRow(label="x", values=(2.0, -1.0)),), around_zero=True)
    ((_, cells),) = draw(around, "p", "key").grid.rows
    assert [cell.background for cell in cells] == [f"rgba(213,94,0,{STRONGEST})", f"rgba(0,114,178,{STRONGEST / 2})"]
    assert len(draw(around, "p", "key").key) == 2
    assert draw(figure, "p", "key").key == ()
    same = Matrix(title="t", columns=("a",), rows=(MatrixRow(label="x", values=(1.0,)),))
    assert draw(same, "p", "key").grid.rows[0][1][0].background == ""
