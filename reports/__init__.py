"""Record -> report: terminal, Markdown, JUnit, SARIF and HTML. A leaf: no torch, no audit, no attacks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reports.record import Record

__all__ = ["render"]


def render(record: Record, path: str | Path) -> None:
    """Write the HTML report of a record: one file, no script, no request.

    Args:
        record: what `audit.run` returned or `reports.record.read_record` read.
        path: the file to write; replaced at once when the page is complete.

    Raises:
        OSError: it cannot be written.
    """
    from reports.artefacts import write_text
    from reports.html.page import to_html

    write_text(Path(path), to_html(record))
