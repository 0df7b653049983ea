"""Everything a run leaves behind, each file replaced only when its successor is complete."""

from __future__ import annotations

import os
from pathlib import Path

from reports.record import Record


def write_all(record: Record, folder: str | Path) -> dict[str, Path]:
    """Write the record and every report of it.

    Args:
        record: what `audit.run` returned.
        folder: made if it is missing.

    Returns:
        The path of each file, by its name: record.json, report.html, junit.xml, results.sarif, summary.md.

    Raises:
        OSError: the folder cannot be written to.
    """
    from reports.html.page import to_html
    from reports.junit import to_junit
    from reports.markdown import to_markdown
    from reports.sarif import to_sarif

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    renderers = {
        "record.json": Record.to_json,  # first: it is what the others can be made from again
        "junit.xml": to_junit,
        "results.sarif": to_sarif,
        "summary.md": to_markdown,
        "report.html": to_html,
    }
    paths = {}
    for name, renderer in renderers.items():
        paths[name] = folder / name
        write_text(paths[name], renderer(record))
    return paths


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text to a file beside `path`, then move it there in one step.

    Raises:
        OSError: the folder cannot be written to.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        part.write_text(text, encoding="utf-8", newline="\n")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
