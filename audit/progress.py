"""What a waiting person sees: a bar with the time left on a terminal, a line a check elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Protocol

from reports.record import Evidence


class Progress(Protocol):
    """Told by the runner how far it is."""

    def start(self, total: int, kept: int) -> None:
        """`total` units are planned, `kept` of them are there already."""
        ...

    def begin(self, check: str) -> None:
        """A unit starts."""
        ...

    def end(self, check: str, evidence: Evidence) -> None:
        """A unit is done."""
        ...

    def stop(self) -> None:
        """No more units."""
        ...


class Silent:
    """Says nothing."""

    def start(self, total: int, kept: int) -> None:
        """Say nothing."""

    def begin(self, check: str) -> None:
        """Say nothing."""

    def end(self, check: str, evidence: Evidence) -> None:
        """Say nothing."""

    def stop(self) -> None:
        """Say nothing."""


class Lines:
    """One line a finished unit on standard error, for logs."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.total = self.done = self.fresh = 0
        self.started = self.began = time.monotonic()

    def start(self, total: int, kept: int) -> None:
        """Say how much is planned."""
        self.total, self.done, self.started = total, kept, time.monotonic()
        again = f", {kept} kept from before" if kept else ""
        print(f"{self.name}: {total} checks{again}", file=sys.stderr)  # noqa: T201 - the terminal is this class's trade

    def begin(self, check: str) -> None:
        """Note the time."""
        self.began = time.monotonic()

    def end(self, check: str, evidence: Evidence) -> None:
        """Say what came of it, how long it took and how long the rest may take."""
        self.done += 1
        self.fresh += 1
        now = time.monotonic()
        left = (now - self.started) / self.fresh * (self.total - self.done)
        width = len(str(self.total))
        print(  # noqa: T201
            f"  [{self.done:>{width}}/{self.total}] {check:<28} {evidence.kind:<8} "
            f"{now - self.began:6.1f} s   about {left:.0f} s left",
            file=sys.stderr,
        )

    def stop(self) -> None:
        """Nothing to close."""


class Terminal:
    """A rich progress bar on standard error."""

    def __init__(self, name: str) -> None:
        from rich.console import Console
        from rich.markup import escape
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        self.bar = Bar(
            TextColumn("[bold]{task.fields[name]}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=False),
            TextColumn("{task.description}"),
            console=Console(stderr=True),
        )
        self.task = self.bar.add_task("loading", total=None, name=escape(name))
        self.bar.start()

    def start(self, total: int, kept: int) -> None:
        """Open the bar."""
        self.bar.reset(self.task, total=total, completed=kept)

    def begin(self, check: str) -> None:
        """Name the unit at work."""
        self.bar.update(self.task, description=check)

    def end(self, check: str, evidence: Evidence) -> None:
        """Move on; what went wrong stays on the screen."""
        from rich.markup import escape

        if evidence.kind == "failed":
            self.bar.console.print(f"[red]failed[/] {check}: {escape(evidence.error)}")
        self.bar.advance(self.task)

    def stop(self) -> None:
        """Close the bar."""
        self.bar.update(self.task, description="done")
        self.bar.stop()


def progress_for(name: str) -> Progress:
    """A bar on a terminal, lines elsewhere."""
    return Terminal(name) if sys.stderr.isatty() else Lines(name)
