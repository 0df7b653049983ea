"""The page in a real browser with the network off: nothing is asked for, nothing overflows, paper shows everything."""

from __future__ import annotations

import pytest

import reports
from reports.record import Matrix, MatrixRow
from tests.chromium import ARTEFACTS, NEEDS_CHROMIUM, Visit

pytestmark = NEEDS_CHROMIUM


@pytest.fixture(scope="module")
def paths(record, hostile, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    for name, each in (("report", record), ("hostile", hostile)):
        reports.render(each, folder / f"{name}.html")
    return folder


@pytest.mark.parametrize("name", ["report", "hostile"])
@pytest.mark.parametrize(
    ("width", "scheme", "shot"), [(1200, "light", "light"), (1200, "dark", "dark"), (400, "light", "narrow")]
)
def test_the_page_is_closed_and_fits(browser, paths, name, width, scheme, shot):
    with Visit(browser, paths / f"{name}.html", width, scheme) as visit:
        assert visit.complaints == []
        assert visit.dialogs == []
        assert [r for r in visit.requests if not r.startswith("data:")] == [visit.url]
        visit.page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
        visit.keep(f"report-{name}-{shot}")


def test_dark_and_light_differ_and_charts_follow(browser, paths):
    colours = {}
    for scheme in ("light", "dark"):
        with Visit(browser, paths / "report.html", scheme=scheme) as visit:
            colours[scheme] = visit.page.evaluate(
                """() => {
                    const style = (q) => getComputedStyle(document.querySelector(q));
                    return [style('body').backgroundColor, style('.chart text').fill,
                            style('.chart path[fill^="var"]').fill];
                }"""
            )
    assert all(a != b for a, b in zip(colours["light"], colours["dark"], strict=True))


def test_pictures_load_and_pixels_keep_their_edges(browser, paths):
    with Visit(browser, paths / "report.html") as visit:
        states = visit.page.evaluate(
            "[...document.images].map(i => [i.complete && i.naturalWidth > 0, getComputedStyle(i).imageRendering])"
        )
    assert len(states) == 15  # panels, overlays, heads
    assert all(state == [True, "pixelated"] for state in states)


def test_labels_stay_inside_their_chart(browser, paths):
    with Visit(browser, paths / "report.html") as visit:
        beyond = visit.page.evaluate(
            """() => [...document.querySelectorAll('.chart text')].filter(t => {
                const box = t.getBoundingClientRect(), chart = t.closest('svg').getBoundingClientRect();
                return box.left < chart.left - 1 || box.right > chart.right + 8;
            }).map(t => t.textContent)"""
        )
    assert beyond == []


def test_paper_shows_what_is_folded(browser, paths):
    def seen(visit):
        return visit.page.evaluate(
            "[...document.querySelectorAll('details.method > *:not(summary)')].map(e => e.checkVisibility())"
        )

    with Visit(browser, paths / "report.html") as visit:
        assert not any(seen(visit))
        visit.page.emulate_media(media="print")
        assert seen(visit)
        assert all(
            visit.page.evaluate(
                "[...document.querySelectorAll('details.method > *:not(summary)')]"
                ".map(e => e.getBoundingClientRect().height > 0)"
            )
        )
        ARTEFACTS.mkdir(exist_ok=True)
        visit.page.pdf(path=ARTEFACTS / "report-paper.pdf", format="A4")


def test_a_head_opens_from_the_keyboard_and_stays_small_on_paper(browser, paths):
    def enlarged(visit):
        return visit.page.evaluate("[...document.querySelectorAll('.enlarged')].map(e => e.checkVisibility())")

    with Visit(browser, paths / "report.html") as visit:
        assert enlarged(visit) == [False] * 4
        visit.page.locator(".head summary").nth(1).focus()
        visit.page.keyboard.press("Enter")
        assert enlarged(visit) == [False, True, False, False]
        visit.page.emulate_media(media="print")
        assert enlarged(visit) == [False] * 4
        assert visit.page.evaluate("[...document.querySelectorAll('.head img')].every(e => e.checkVisibility())")


def test_words_of_a_head_stay_inside_their_drawing(browser, paths):
    with Visit(browser, paths / "hostile.html") as visit:
        visit.page.evaluate("document.querySelectorAll('.head').forEach(d => d.open = true)")
        beyond = visit.page.evaluate(
            """() => [...document.querySelectorAll('.enlarged text')].filter(t => {
                const box = t.getBoundingClientRect(), svg = t.closest('svg').getBoundingClientRect();
                return box.left < svg.left - 1 || box.top < svg.top - 1;
            }).length"""
        )
    assert beyond == 0


def test_a_wide_table_of_methods_fits_on_paper(browser, record, tmp_path):
    first = record.evidence[1]
    board = next(f for f in first.evidence.figures if f.kind == "scoreboard")
    metrics, rows = board.metrics[:1] * 7, tuple(r.model_copy(update={"scores": r.scores[:1] * 7}) for r in board.rows)
    columns = tuple(f"integrated method {i}" for i in range(8))
    figures = (
        board.model_copy(update={"metrics": metrics, "rows": rows}),
        Matrix(
            title="by method",
            columns=columns,
            rows=(MatrixRow(label="marital-status = Never-married", values=(-0.25,) * 8),),
            around_zero=True,
        ),
    )
    wide = first.model_copy(update={"evidence": first.evidence.model_copy(update={"figures": figures})})
    reports.render(record.model_copy(update={"evidence": (wide,)}), tmp_path / "wide.html")
    a4 = 670  # pixels between the margins
    with Visit(browser, tmp_path / "wide.html", a4) as visit:
        visit.page.emulate_media(media="print")
        ends = visit.page.evaluate(
            "[...document.querySelectorAll('.board, .matrix')].map(t => t.getBoundingClientRect().right)"
        )
    assert len(ends) == 2
    assert max(ends) <= a4


def test_methods_are_named_once_on_wide_screens_and_at_each_picture_on_narrow_ones(browser, paths):
    names = "[...document.querySelectorAll('.overlays .picture:not(.subject) span')].map(e => e.checkVisibility())"
    heading = "document.querySelector('.overlays .heading').checkVisibility()"
    for width, headed in ((1200, True), (400, False)):
        with Visit(browser, paths / "report.html", width) as visit:
            assert visit.page.evaluate(heading) is headed
            assert set(visit.page.evaluate(names)) == {not headed}
