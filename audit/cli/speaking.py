"""What the command line says, and how."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import Console

    from reports.record import Record

EFFORTS = ("quick", "standard", "exhaustive")


def say(text: str) -> None:
    """Print one line on standard error."""
    # names come from files: a control character must not reach the terminal
    plain = "".join(c if c.isprintable() else " " for c in text)
    click.echo("audit: " + " ".join(plain.split()), err=True)


def show(record: Record) -> None:
    """Print the verdicts."""
    from reports.terminal import verdict_table

    console().print(verdict_table(record))


def console() -> Console:
    """Standard output, wide where nobody can widen the window."""
    from rich.console import Console

    found = Console()
    return found if found.is_terminal else Console(width=120)
