"""`audit judge` and `audit report`: what is done with a record; nothing is measured."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from audit.cli.speaking import show

if TYPE_CHECKING:
    from reports.record import Record


@click.command()
@click.argument("record", type=click.Path(path_type=Path))
@click.option("--policy", default="default", show_default=True, help="A shipped policy or a YAML file.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the judged record and its reports to this folder.")
def judge(record: Path, policy: str, out: Path | None) -> int:
    """Judge a RECORD again, under another policy; nothing is measured."""
    from audit.judgement import exit_code, read_policy
    from audit.judgement import judge as judge_record
    from audit.store import Store
    from reports.artefacts import write_all

    found = _read(record)
    verdicts = judge_record(found, policy)
    judged = found.model_copy(update={"verdicts": verdicts, "policy": read_policy(policy).name})
    if out is not None:
        write_all(judged, Store(out).folder)
    show(judged)
    return int(exit_code(verdicts))


@click.command()
@click.argument("record", type=click.Path(path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), default=Path("report.html"), show_default=True)
def report(record: Path, out: Path) -> int:
    """Render the HTML report of a RECORD."""
    from audit.errors import OutputError
    from reports import render

    found = _read(record)
    try:
        render(found, out)
    except OSError as error:
        raise OutputError(
            f"Expected a file that can be written at {out}, found {error.strerror}; try another -o."
        ) from None
    click.echo(f"report: {out}")
    return 0


def _read(path: Path) -> Record:
    from audit.errors import DataError
    from reports.record import read_record

    if path.is_dir():
        path = path / "record.json"
    try:
        return read_record(path)
    except OSError as error:
        raise DataError(
            f"Expected a record at {path}, found {error.strerror or error}; try `audit run` first."
        ) from None
    except ValueError as error:
        first = str(error).splitlines()[0]
        raise DataError(f"Expected a record that `audit run` wrote at {path}, found: {first}") from None
