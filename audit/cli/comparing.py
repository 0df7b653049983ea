"""What `audit harden` and `audit mitigate` share: options over a plan, and a comparison for the terminal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from audit.cli.speaking import EFFORTS

if TYPE_CHECKING:
    from rich.table import Table as RichTable

    from audit.plan import Plan
    from reports.record import Table


def two_audits(changed: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The options of a command that changes a model and audits it before and after; `changed` ends its folder's name."""
    options = (
        click.option(
            "--only", multiple=True, metavar="ID", help="Compare this check or section only; may be repeated."
        ),
        click.option(
            "--out", type=click.Path(path_type=Path), help=f"Folder to write to.  [default: runs/NAME-{changed}]"
        ),
        click.option("--effort", type=click.Choice(EFFORTS), help="Work of the two audits.  [default: the plan's]"),
        click.option("--device", help="auto, cpu, cuda, mps ...  [default: the plan's, else auto]"),
        click.option(
            "--seed", type=click.IntRange(min=0), help="Seed of every random draw.  [default: the plan's, else 0]"
        ),
        click.option("--policy", help="A shipped policy or a YAML file.  [default: the plan's, else default]"),
        click.option(
            "--trust-pickle", is_flag=True, help="Unpickle a checkpoint. It may run any code: only for files you trust."
        ),
    )

    def dressed(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return dressed


def merge(plan: Plan, section: str, options: dict[str, Any], only: tuple[str, ...]) -> Plan:
    """The plan, changed by the options; those that a section of it knows go there."""
    from audit.check import Effort

    part = getattr(plan, section)
    given = {name: value for name, value in options.items() if value is not None}
    own = {name: given.pop(name) for name in tuple(given) if name in type(part).model_fields}
    if only:
        own["only"] = list(only)
    if "effort" in given:
        given["effort"] = Effort(given["effort"])
    return plan.model_copy(update=given | {section: part.model_copy(update=own)})


def shortened(table: Table, columns: int = 3, last: int = 2) -> Table:
    """The first and the last columns of a table too wide for a terminal."""
    kept = [*range(columns), *range(len(table.columns) - last, len(table.columns))]
    return table.model_copy(
        update={
            "columns": tuple(table.columns[i] for i in kept),
            "rows": tuple(tuple(row[i] for i in kept) for row in table.rows),
        }
    )


def grid(table: Table) -> RichTable:
    """The comparison for the terminal."""
    from rich import box
    from rich.table import Table as Grid
    from rich.text import Text

    from reports import words
    from reports.record import Estimate

    found = Grid(box=box.SIMPLE_HEAD, expand=False, pad_edge=False)
    for column in table.columns:
        found.add_column(column, overflow="fold")
    for row in table.rows:
        cells = (
            words.show(cell, column).short if isinstance(cell, Estimate) else str(cell)
            for cell, column in zip(row, table.columns, strict=True)
        )
        found.add_row(*(Text(words.line(cell)) for cell in cells))
    return found
