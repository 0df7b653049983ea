"""Record -> a table for the terminal."""

from __future__ import annotations

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from reports import words
from reports.record import Outcome, Record, Severity, Verdict
from reports.summary import summarise, worst_first

_STYLES = {Outcome.PASS: "green", Outcome.FAIL: "bold red", Outcome.INSUFFICIENT: "yellow"}


def verdict_table(record: Record) -> Group:
    """The verdicts, worst first, and the overall outcome; print it with `rich.console.Console().print`.

    Every name goes through `rich.text.Text`, so that markup inside it is shown, not obeyed. Colours vanish where the
    console writes to no terminal.
    """
    table = Table(box=box.SIMPLE_HEAD, expand=False, pad_edge=False, title=None)
    for heading, share in (("outcome", 0), ("asked", 4), ("observed", 4), ("why", 5)):
        table.add_column(heading, overflow="fold", ratio=share or None, no_wrap=share == 0)
    for verdict in worst_first(record.verdicts):
        table.add_row(*_row(verdict))
    summary = summarise(record)
    last = Text.assemble(
        (str(summary.outcome), _STYLES[summary.outcome]),
        f"  {summary.sentence}",
        f" {', '.join(summary.remarks).capitalize()}." if summary.remarks else "",
        f" Exit code {summary.exit_code}.",
    )
    model = Text(f"{words.line(record.subject.name)} under policy {words.line(record.policy or 'none')}", style="bold")
    return Group(model, table, last) if record.verdicts else Group(model, last)


def _row(verdict: Verdict) -> tuple[Text, Text, Text, Text]:
    warning = verdict.gate.severity is Severity.WARNING
    style = "" if warning and verdict.outcome is Outcome.PASS else _STYLES[verdict.outcome]
    name = verdict.subject.partition("/")[2]
    observed = "none" if verdict.observed is None else words.show(verdict.observed, name).short
    asked = Text.assemble(
        words.line(verdict.subject, 120), ("\n" + words.bound(verdict.gate, verdict.observed, name), "dim")
    )
    outcome = Text.assemble((str(verdict.outcome), style), ("\nwarning gate", "dim") if warning else "")
    return outcome, asked, Text(words.line(observed)), Text(words.line(verdict.why))
