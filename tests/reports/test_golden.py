"""Each renderer against a kept copy. After a wanted change: ASSAY_UPDATE_GOLDEN=1 pytest tests/reports/test_golden.py."""

import os
import re
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from reports.html.page import to_html
from reports.junit import to_junit
from reports.markdown import to_markdown
from reports.record import Record
from reports.sarif import to_sarif
from reports.terminal import verdict_table

GOLDEN = Path(__file__).parent / "golden"


def to_terminal(record: Record) -> str:
    console = Console(file=StringIO(), width=100)
    console.print(verdict_table(record))
    return console.file.getvalue()


def to_structure(record: Record) -> str:
    """The page without what another version of vl-convert or pillow draws otherwise, and without the style sheet."""
    page = re.sub(r'(<svg [^>]*class="chart"[^>]*>).*?</svg>', r"\1</svg>", to_html(record), flags=re.DOTALL)
    page = re.sub(r'viewBox="0 0 [\d.]+ [\d.]+" width="[\d.]+" height="[\d.]+" class="chart"', 'class="chart"', page)
    page = re.sub(r"data:image/png;base64,[\w+/=]+", "data:image/png;base64,", page)
    return re.sub(r"<style>.*?</style>", "<style></style>", page, flags=re.DOTALL)


RENDERERS = {
    "terminal.txt": to_terminal,
    "summary.md": to_markdown,
    "junit.xml": to_junit,
    "results.sarif": to_sarif,
    "record.json": Record.to_json,
    "report.html": to_structure,
}


@pytest.mark.parametrize("name", RENDERERS)
def test_a_renderer_writes_what_it_wrote(name, record):
    path = GOLDEN / name
    written = RENDERERS[name](record)
    if os.environ.get("ASSAY_UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(written.encode())
    assert written.encode() == path.read_bytes()
