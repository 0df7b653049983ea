"""The HTML page: traceable, closed, escaped, complete."""

from __future__ import annotations

import re
from collections import Counter
from html.parser import HTMLParser

import pytest

from reports.html.page import to_html
from reports.html.sections import SECTIONS
from reports.html.sections.section import Findings, Section
from reports.record import Bars, Estimate, Measured, Outcome, Record, Severity

VOID = {"meta", "img", "br", "rect", "line", "circle", "path"}


class Page(HTMLParser):
    """The elements of a page in order, each with its attributes and its text."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements = []
        self.open = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        element = {"tag": tag, "text": "", **dict(attrs)}
        if self.open and "data-evidence" in self.open[-1]:
            element.setdefault("data-evidence", self.open[-1]["data-evidence"])
        self.elements.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag, attrs):
        self.elements.append({"tag": tag, "text": "", **dict(attrs)})

    def handle_endtag(self, tag):
        if tag in VOID:
            return
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop()["tag"] == tag

    def handle_data(self, data):
        for element in self.open:
            element["text"] += data

    def all(self, tag, **attributes):
        return [
            e
            for e in self.elements
            if e["tag"] == tag and all(v in (e.get(k.rstrip("_")) or "").split() for k, v in attributes.items())
        ]


@pytest.fixture(scope="session")
def text(record):
    return to_html(record)


@pytest.fixture(scope="session")
def page(text):
    return Page(text)


@pytest.fixture(scope="session")
def hostile_page(hostile):
    return Page(to_html(hostile))


def test_every_element_is_closed(page, hostile_page):
    assert page.open == hostile_page.open == []


def test_the_page_asks_for_nothing(text, page):
    policies = [e["content"] for e in page.all("meta") if e.get("http-equiv") == "Content-Security-Policy"]
    assert policies == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]
    assert not {e["tag"] for e in page.elements} & {
        "script",
        "link",
        "iframe",
        "object",
        "embed",
        "base",
        "form",
        "video",
    }
    for element in page.elements:
        assert not [name for name in element if name.startswith("on")]
        assert (element.get("src") or "data:").startswith("data:image/png;base64,") or "src" not in element
        inside = "data:image/png;base64," if element["tag"] == "image" else "#"
        assert (element.get("href") or inside).startswith(inside)
    assert not re.search(r"@import|url\(\s*['\"]?(?!#)", text)


def test_no_name_becomes_markup(page, hostile_page):
    def shapes(page):
        return {(e["tag"], *sorted(k for k in e if k not in ("tag", "text"))) for e in page.elements}

    assert shapes(hostile_page) <= shapes(page)
    assert any("<script>" in e["text"] for e in hostile_page.all("h1"))


def test_no_control_character_is_written(hostile):
    assert not set(to_html(hostile)) & {"\x1b", "\x00", "\u202e"}


# ------------------------------------------------------------------------------------------------------- numbers


def test_every_number_names_its_evidence_and_its_value(record, page):
    by_key = {entry.unit.key: entry.evidence for entry in record.evidence}
    named = 0
    for element in page.all("data"):
        evidence = by_key[element["data-evidence"]]
        assert isinstance(evidence, Measured)
        name = element.get("data-estimate")
        if name:
            named += 1
            value = evidence.estimates[name].value
            assert element["value"] == ("" if value is None else repr(value))
        elif element["value"]:
            assert element["value"] in repr(evidence)
    assert named >= sum(len(e.estimates) for e in by_key.values() if isinstance(e, Measured))


def test_a_changed_number_changes_the_page(record, text):
    entry = record.evidence[-1]
    (name,) = entry.evidence.estimates
    changed = entry.evidence.model_copy(
        update={"estimates": {name: entry.evidence.estimates[name].model_copy(update={"value": 0.5000001})}}
    )
    other = record.model_copy(
        update={"evidence": (*record.evidence[:-1], entry.model_copy(update={"evidence": changed}))}
    )
    assert to_html(other) != text


def test_links_lead_somewhere_and_ids_are_unique(page, hostile_page):
    for each in (page, hostile_page):
        ids = Counter(e["id"] for e in each.elements if e.get("id"))
        assert max(ids.values()) == 1
        for link in each.all("a"):
            assert link["href"][1:] in ids


def test_the_same_check_twice_has_two_places(record):
    first = record.evidence[0]
    again = first.model_copy(update={"unit": first.unit.model_copy(update={"key": "f" * 32, "seed": 1})})
    page = Page(to_html(record.model_copy(update={"evidence": (*record.evidence, again)})))
    ids = Counter(e["id"] for e in page.elements if e.get("id"))
    assert max(ids.values()) == 1
    assert len(page.all("article")) == 7


def test_fractions_are_in_per_cent_and_undefined_says_why(page):
    shown = {(e.get("data-estimate"), e["text"]) for e in page.all("data")}
    assert ("accuracy", "85.1\u00a0%") in shown
    assert ("recall@class=unseen", "undefined: no rows") in shown
    answer = next(e["text"] for e in page.all("p", class_="answer") if "Accuracy is" in e["text"])
    assert answer.startswith("Accuracy is 85.1\u00a0% (95\u00a0% interval 84.5 to 85.7, n\u00a0=\u00a015,060).")


# ------------------------------------------------------------------------------------------------------- sections


def test_the_sections_stand_in_order_each_with_its_question(page):
    found = [e["id"] for e in page.all("section", class_="challenge")]
    assert found == ["explain", "robustness", "fairness", "data", "cost", "fit", "watermark"]
    questions = [e["text"] for e in page.all("h2")]
    assert [s.question for s in SECTIONS] == [q for q in questions if q in {s.question for s in SECTIONS}]
    assert "What was measured of watermark?" in questions


def test_every_section_answers_and_says_what_to_do(page):
    assert len(page.all("p", class_="answer")) == len(page.all("div", class_="next")) == 7
    assert all(e["text"].strip() for e in page.all("p", class_="answer"))
    assert all(len(e["text"].split()) > 6 for e in page.all("div", class_="next"))


def test_what_was_not_measured_says_why(page):
    told = " ".join(e["text"] for e in page.all("div", class_="unmeasured"))
    assert "Does not apply: needs training data; the plan names none." in told
    assert "Broke: ValueError: no group has rows (rates.py:42)." in told
    assert "Not run: the run was interrupted." in told


def test_the_outcome_is_large_and_the_verdicts_come_first(page):
    assert page.all("p", class_="word")[0]["text"] == "Failed"
    table = page.all("table", class_="verdict-table")[0]["text"]
    assert re.findall("Failed|Insufficient|Passed", table) == (["Failed"] * 2 + ["Insufficient"] * 3 + ["Passed"] * 3)
    ids = [e["id"] for e in page.elements if e.get("id")]
    assert ids.index("verdicts") < ids.index("explain")


@pytest.mark.parametrize(
    ("outcome", "word"), [(Outcome.PASS, "Passed"), (Outcome.INSUFFICIENT, "Insufficient evidence")]
)
def test_the_other_outcomes_have_their_word(record, outcome, word):
    kept = tuple(v for v in record.verdicts if v.outcome is outcome and v.gate.severity is Severity.ERROR)
    page = Page(to_html(record.model_copy(update={"verdicts": kept})))
    assert page.all("p", class_="word")[0]["text"] == word


def test_an_empty_record_is_still_a_page(record):
    empty = record.model_copy(
        update={"evidence": (), "verdicts": (), "missing": (), "cards": (), "environment": {}, "data": ()}
    )
    page = Page(to_html(empty))
    assert [e["id"] for e in page.all("section", class_="challenge")] == [s.id for s in SECTIONS]
    assert page.all("p", class_="word")[0]["text"] == "Insufficient evidence"
    assert all("Nothing was planned here" in e["text"] for e in page.all("div", class_="next"))


def test_tables_have_captions_and_scopes(page):
    assert len(page.all("table")) == len(page.all("caption"))
    assert all(e.get("scope") in ("col", "row") for e in page.all("th"))
    assert all(e.get("alt") for e in page.all("img"))
    assert page.all("html")[0]["lang"] == "en"
    assert page.all("a", class_="skip")[0]["href"] == "#verdicts"


def test_a_real_amount_of_evidence_stays_below_a_megabyte_and_a_half(record):
    fat = next(e for e in record.evidence if isinstance(e.evidence, Measured) and len(e.evidence.figures) > 2)
    entries = tuple(
        fat.model_copy(update={"unit": fat.unit.model_copy(update={"key": f"{i:032x}", "check": f"fit.c{i}"})})
        for i in range(25)
    )
    assert len(to_html(record.model_copy(update={"evidence": entries})).encode()) < 1_500_000


# ------------------------------------------------------------------------------------------------ answers, advice


def findings(record: Record, section: str) -> Findings:
    chosen: Section = next(s for s in SECTIONS if s.id == section)
    return Findings(
        chosen,
        tuple(e for e in record.evidence if e.unit.check.startswith(section)),
        tuple(v for v in record.verdicts if v.subject.startswith(section)),
    )


def test_a_failed_gate_calls_for_its_remedy(record):
    assert any("adversarial training" in step for step in findings(record, "robustness").advise())


def test_an_undecided_gate_calls_for_more_evidence(record):
    steps = findings(record, "fit").advise()
    assert any(step.startswith("Not decided: Macro F1, Recall, class=unseen.") for step in steps)


def test_a_difference_that_is_more_than_chance_calls_for_its_remedy(record):
    def steps(low, high):
        gap = Estimate(value=(low + high) / 2, low=low, high=high, n=9, method="Newcombe 95 %", unit="fraction")
        entry = next(e for e in record.evidence if e.unit.check == "fit.accuracy")
        evidence = entry.evidence.model_copy(update={"estimates": {"train_test_gap": gap}, "headline": ()})
        return Findings(
            next(s for s in SECTIONS if s.id == "fit"), (entry.model_copy(update={"evidence": evidence}),)
        ).advise()

    assert any("weight decay" in step for step in steps(0.01, 0.03))
    assert not any("weight decay" in step for step in steps(-0.01, 0.03))


def test_an_answer_prefers_what_is_defined(record):
    entry = next(e for e in record.evidence if e.unit.check == "fit.accuracy")
    undefined = Estimate(value=None, n=0, method="undefined", reason="no rows", unit="fraction")
    evidence = entry.evidence.model_copy(update={"estimates": {**entry.evidence.estimates, "accuracy": undefined}})
    found = Findings(next(s for s in SECTIONS if s.id == "fit"), (entry.model_copy(update={"evidence": evidence}),))
    answer = found.answer()
    assert answer[-1].finding.name == "accuracy"
    assert (answer[-1].before, answer[-1].after) == ("Accuracy is ", ".")


def test_an_empty_figure_leaves_its_title(record):
    entry = record.evidence[-1]
    evidence = entry.evidence.model_copy(update={"figures": (Bars(title="Nothing to draw", x_title="x", bars=()),)})
    other = record.model_copy(update={"evidence": (entry.model_copy(update={"evidence": evidence}),)})
    assert "Nothing to draw" in to_html(other)
