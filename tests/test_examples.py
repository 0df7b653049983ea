"""The three examples end to end, as a user runs them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from audit.check import SECTIONS
from reports.record import Failed, Measured, Record, Skipped, read_record
from tests.chromium import NEEDS_CHROMIUM, Visit

ROOT = Path(__file__).parent.parent
EXAMPLES = ("adult", "fashion", "movies")
LARGEST = 1_500_000

Audited = Callable[[str], tuple[Path, Record, str]]


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "audit.cli", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, check=False)


@pytest.fixture(scope="session")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Audited:
    """Audit an example once; returns its folder, its record and what the terminal showed."""

    @cache
    def run(name: str) -> tuple[Path, Record, str]:
        out = tmp_path_factory.mktemp("runs") / name
        done = command("run", ROOT / "examples" / name / "plan.yaml", "--effort", "quick", "--out", out)
        assert done.returncode in (0, 1, 3), done.stderr
        return out, read_record(out / "record.json"), done.stdout + done.stderr

    return run


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_check_runs(audited, name):
    _, record, said = audited(name)
    failed = {e.unit.check: e.evidence.error for e in record.evidence if isinstance(e.evidence, Failed)}
    assert failed == {}
    assert not record.missing
    assert "Traceback" not in said
    assert "Warning" not in said


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_section_is_measured(audited, name):
    _, record, _ = audited(name)
    measured = {e.unit.check.split(".")[0] for e in record.evidence if isinstance(e.evidence, Measured)}
    # fashion declares no protected attribute, so nobody is to be compared; of texts, identity terms can be exchanged
    assert measured == set(SECTIONS) - ({"fairness"} if name == "fashion" else set())
    for e in record.evidence:
        if isinstance(e.evidence, Skipped):
            assert len(e.evidence.reason) > 10


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_figure_carries_its_uncertainty(audited, name):
    _, record, _ = audited(name)
    for e in record.evidence:
        if isinstance(e.evidence, Measured):
            assert e.evidence.estimates, e.unit.check
            for estimate in e.evidence.estimates.values():
                assert estimate.method
                assert estimate.value is None or estimate.low <= estimate.value <= estimate.high


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_report_is_one_small_file_that_asks_nobody(audited, name):
    folder, _, _ = audited(name)
    html = (folder / "report.html").read_text(encoding="utf-8")
    assert len(html.encode()) < LARGEST
    assert "default-src 'none'" in html
    assert "<script" not in html
    for word in ("http-equiv", "src=", "href="):
        for part in html.split(word)[1:]:
            assert not part.lstrip("\"'=").startswith(("http:", "https:", "//")), part[:80]


def estimates(record: Record, check: str) -> dict[str, float]:
    for e in record.evidence:
        if e.unit.check == check and isinstance(e.evidence, Measured):
            return {k: v.value for k, v in e.evidence.estimates.items() if v.value is not None}
    raise AssertionError(f"{check} was not measured")


@pytest.mark.parametrize(("name", "least"), [("adult", 0.84), ("fashion", 0.85), ("movies", 0.70)])
def test_the_audit_measures_the_accuracy_that_the_example_claims(audited, name, least):
    _, record, _ = audited(name)
    assert estimates(record, "fit.accuracy")["accuracy"] >= least


@pytest.mark.parametrize("name", ["adult", "fashion"])
def test_robust_accuracy_falls_with_the_budget_and_noise_is_kinder_than_an_attack(audited, name):
    _, record, _ = audited(name)
    found = estimates(record, "robustness.evasion")
    for norm in ("linf", "l2"):
        curve = [v for _, v in sorted((float(k.split(":")[1]), v) for k, v in found.items() if f"@{norm}:" in k)]
        assert len(curve) >= 4
        assert curve == sorted(curve, reverse=True)
        assert curve[-1] < curve[0]


def test_what_adult_declares_immutable_never_moves(audited):
    _, record, _ = audited("adult")
    (evasion,) = (e.evidence for e in record.evidence if e.unit.check == "robustness.evasion")
    moved = {cell for table in evasion.tables for row in table.rows for cell in row if isinstance(cell, str)}
    assert moved
    assert not {"age", "sex", "race", "native-country"} & moved


def test_the_exported_checkpoint_is_audited_too_and_says_what_it_cannot_do(tmp_path):
    out = tmp_path / "run"
    only = [part for name in ("fit.accuracy", "explain.sanity", "cost.size") for part in ("--only", name)]
    plan = ROOT / "examples/fashion/plan-pt2.yaml"
    done = command("run", plan, "--effort", "quick", "--out", out, *only)
    assert done.returncode in (0, 1, 3), done.stderr
    record = read_record(out / "record.json")
    assert record.subject.format == "torch.export"
    kinds = {e.unit.check: e.evidence.kind for e in record.evidence}
    assert kinds["fit.accuracy"] == "measured"
    assert kinds["explain.sanity"] == "skipped"


@pytest.mark.parametrize("name", EXAMPLES)
def test_other_renderings_are_well_formed(audited, name):
    import xml.etree.ElementTree as ElementTree

    folder, record, said = audited(name)
    suite = ElementTree.parse(folder / "junit.xml").getroot()
    assert int(suite.get("tests", "0")) >= len(record.verdicts)
    sarif = json.loads((folder / "results.sarif").read_text())
    assert sarif["version"] == "2.1.0"
    assert record.subject.name in (folder / "summary.md").read_text()
    assert str(folder / "report.html") in said


@pytest.mark.parametrize("name", [pytest.param(name, marks=NEEDS_CHROMIUM) for name in EXAMPLES])
def test_the_report_opens_with_the_network_off(audited, browser, name):
    folder, _, _ = audited(name)
    for width, scheme in ((1200, "light"), (400, "dark")):
        with Visit(browser, folder / "report.html", width, scheme) as visit:
            assert visit.complaints == []
            assert [r for r in visit.requests if not r.startswith("data:")] == [visit.url]
            assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
            visit.keep(f"{name}-{width}-{scheme}")
