"""Terminal, Markdown and JUnit: meaning, limits and the overall outcome."""

from io import StringIO
from xml.etree import ElementTree

import pytest
from rich.console import Console

from reports.junit import to_junit
from reports.markdown import escape, to_markdown
from reports.record import Outcome, Severity
from reports.summary import summarise, worst_first
from reports.terminal import verdict_table


def only(record, *outcomes):
    """The record with verdicts of severity error and these outcomes."""
    by_outcome = {v.outcome: v for v in record.verdicts if v.gate.severity is Severity.ERROR}
    return record.model_copy(update={"verdicts": tuple(by_outcome[outcome] for outcome in outcomes)})


@pytest.mark.parametrize(
    ("outcomes", "overall", "code"),
    [
        ((Outcome.PASS,), Outcome.PASS, 0),
        ((Outcome.PASS, Outcome.INSUFFICIENT), Outcome.INSUFFICIENT, 3),
        ((Outcome.PASS, Outcome.INSUFFICIENT, Outcome.FAIL), Outcome.FAIL, 1),
        ((), Outcome.INSUFFICIENT, 3),
    ],
)
def test_the_overall_outcome_is_that_of_the_exit_code(record, outcomes, overall, code):
    from audit.judgement import exit_code

    judged = only(record, *outcomes)
    assert summarise(judged).outcome is overall
    assert summarise(judged).exit_code == code == exit_code(judged.verdicts)


def test_warnings_decide_nothing(record):
    warnings = tuple(v for v in record.verdicts if v.gate.severity is Severity.WARNING)
    assert Outcome.FAIL in {v.outcome for v in warnings}
    passed = only(record, Outcome.PASS)
    judged = passed.model_copy(update={"verdicts": passed.verdicts + warnings})
    assert summarise(judged).outcome is Outcome.PASS
    assert "1 warning" in summarise(judged).remarks


def test_the_worst_comes_first(record):
    ranks = [(v.outcome, v.gate.severity) for v in worst_first(record.verdicts)]
    assert ranks[0] == (Outcome.FAIL, Severity.ERROR)
    assert [o for o, _ in ranks] == sorted((o for o, _ in ranks), key=["FAIL", "INSUFFICIENT", "PASS"].index)


# ------------------------------------------------------------------------------------------------------- terminal


def printed(record, width=100, **options):
    console = Console(file=StringIO(), width=width, **options)
    console.print(verdict_table(record))
    return console.file.getvalue()


def test_a_pipe_gets_no_colours_and_a_terminal_does(record):
    assert "\x1b" not in printed(record)
    assert "\x1b[" in printed(record, force_terminal=True, color_system="standard")


def test_markup_in_a_name_is_shown_and_not_obeyed(hostile):
    text = printed(hostile, width=400)
    assert "[red]x[/red]" in text
    assert not set(text) & {"\x1b", "\x00", "\u202e"}


@pytest.mark.parametrize("width", [40, 80, 200])
def test_every_verdict_has_its_row(record, width):
    text = printed(record, width=width)
    assert sum(text.count(o) for o in ("FAIL", "PASS", "INSUFFICIENT")) >= len(record.verdicts)
    assert all(len(line) <= width for line in text.splitlines())


# ------------------------------------------------------------------------------------------------------- markdown


def test_a_row_of_the_table_keeps_its_cells(record, hostile):
    def cells(text):
        return [line.replace("\\|", "").count("|") for line in text.splitlines() if line.startswith("|")]

    assert cells(to_markdown(hostile)) == cells(to_markdown(record))


def test_nothing_in_markdown_is_markup(hostile):
    text = to_markdown(hostile)
    assert "<" not in text
    assert "`" not in text.replace("\\`", "")
    assert "://" not in escape("https://example.org www.example.org")
    assert escape("1. a") == "1&#46; a"
    assert escape("- a") == "&#45; a"
    assert escape("28.3 %") == "28.3 %"
    assert escape("a@b #1") == "a&#64;b \\#1"


def test_a_step_summary_stays_below_a_mebibyte(record):
    many = record.model_copy(update={"verdicts": record.verdicts * 3000})
    text = to_markdown(many)
    assert len(text.encode()) < 2**20
    assert "more lines; see report.html" in text
    assert "| **Failed** |" in text  # what was cut is the end, and failures come first


# ---------------------------------------------------------------------------------------------------------- junit


def cases(record):
    return {
        (case.get("classname"), case.get("name")): case
        for case in ElementTree.fromstring(to_junit(record)).iter("testcase")
    }


def test_junit_stops_a_pipeline_where_the_exit_code_does(record):
    found = cases(record)
    assert len(found) == len(record.verdicts) + 3  # a broken, a skipped and an interrupted check

    def states(check, name):
        return [child.tag for child in found[check, name] if child.tag != "system-out"]

    assert states("assay.fit.accuracy", "accuracy at least 80 %") == []
    assert states("assay.robustness.evasion", "robust_accuracy@linf:0.1 at least 50 %") == ["failure"]
    assert states("assay.robustness.evasion", "robust_accuracy@l2:0.5 at least 60 %") == []  # a warning
    assert states("assay.fit.accuracy", "macro_f1 at least 78 %") == ["error"]
    assert states("assay.fairness.rates", "is measured") == ["error"]
    assert states("assay.data.leakage", "is measured") == ["skipped"]
    assert states("assay.data.duplicates", "is measured") == ["error"]


def test_a_warning_is_told_in_the_output(record):
    case = cases(record)["assay.robustness.evasion", "robust_accuracy@l2:0.5 at least 60 %"]
    assert case.findtext("system-out").startswith("warning: FAIL: observed 52.2 %")


def test_junit_counts_what_it_holds(record):
    root = ElementTree.fromstring(to_junit(record))
    for node in [root, *root]:
        for attribute, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            assert int(node.get(attribute)) == len(list(node.iter(tag)))
        assert int(node.get("tests")) == len(list(node.iter("testcase")))


def test_junit_of_hostile_names_is_xml_with_those_names(hostile):
    text = to_junit(hostile)
    assert not set(text) & {"\x1b", "\x00", "\u202e"}
    assert any("<script>" in case.get("name") for case in ElementTree.fromstring(text).iter("testcase"))
