"""What is written: every file, whole or not at all, with equal bytes in every process; and what importing costs."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

import reports
from reports.artefacts import write_all, write_text
from reports.record import read_record

FILES = {"record.json", "report.html", "junit.xml", "results.sarif", "summary.md"}
ROOT = Path(reports.__file__).parents[1]


def digests(folder):
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}


def test_a_run_leaves_every_file_and_nothing_else(record, tmp_path):
    paths = write_all(record, str(tmp_path / "new" / "run"))
    assert {p.name for p in (tmp_path / "new" / "run").iterdir()} == FILES == set(paths)
    assert read_record(paths["record.json"]) == record


def test_render_writes_the_page(record, tmp_path):
    reports.render(record, str(tmp_path / "a.html"))
    reports.render(record, tmp_path / "b.html")
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    assert (tmp_path / "a.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_a_broken_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "report.html"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "new \ud800")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_a_folder_that_is_a_file_is_refused(record, tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(OSError, match="run"):
        write_all(record, tmp_path / "run")
    with pytest.raises(OSError, match=r"r\.html"):
        reports.render(record, tmp_path / "none" / "r.html")


def python(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_equal_records_give_equal_bytes_in_every_process(record, tmp_path):
    record.write(tmp_path / "record.json")
    here = tmp_path / "here"
    write_all(record, here)
    for seed in ("1", "2"):
        there = tmp_path / seed
        there.mkdir()
        python(
            "import os, sys; from pathlib import Path; from reports.artefacts import write_all;"
            "from reports.record import read_record;"
            f"os.chdir({str(there)!r}); write_all(read_record(Path('..') / 'record.json'), '.')",
            PYTHONHASHSEED=seed,
            TZ="Asia/Tokyo",
            LC_ALL="C",
        )
        assert digests(there) == digests(here)


def test_reports_is_a_leaf():
    loaded = python(
        "import sys, reports.artefacts, reports.html.page, reports.junit, reports.markdown, reports.sarif, "
        "reports.terminal, reports.figures, reports.pictures;"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    ).split()
    assert not {"torch", "audit", "attacks", "pandas", "numpy"} & set(loaded)


def test_importing_reports_loads_no_renderer():
    loaded = python("import sys, reports; print(*sys.modules)").split()
    assert not {"jinja2", "altair", "vl_convert", "PIL", "pydantic", "rich", "junitparser"} & set(loaded)
    assert reports.__all__ == ["render"]
