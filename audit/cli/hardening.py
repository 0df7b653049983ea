"""`audit harden`."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from audit.cli.comparing import grid, merge, two_audits
from audit.cli.speaking import console, say, show

if TYPE_CHECKING:
    from attacks.defence import Progress


@click.command()
@click.argument("plan", type=click.Path(path_type=Path))
@click.option("--recipe", type=click.Choice(("pgd", "trades", "fast")), help="How to train.  [default: trades]")
@click.option("--eps", type=click.FloatRange(min=0, min_open=True), help="Budget: input units; tables: deviations.")
@click.option("--norm", type=click.Choice(("linf", "l2", "l1", "l0")), help="Norm of the budget.  [default: linf]")
@click.option("--epochs", type=click.IntRange(min=1), help="Passes over the training data.  [default: 20]")
@click.option("--averaging", type=click.FloatRange(0, 1, max_open=True), help="Decay of an average of the weights.")
@click.option("--awp", type=click.FloatRange(0, 1, max_open=True), help="Adversarial weight perturbation, e.g. 0.005.")
@click.option("--patience", type=click.IntRange(min=1), help="Epochs without a better one after which to stop.")
@two_audits("hardened")
def harden(plan: Path, out: Path | None, trust_pickle: bool, only: tuple[str, ...], **options: Any) -> int:
    """Train the model of PLAN against an attack, and audit it before and after.

    Writes a new checkpoint, a plan that audits it, and one report with both.
    """
    from audit.hardening import harden as run_hardening
    from audit.judgement import exit_code
    from audit.plan import read_plan
    from audit.progress import progress_for

    merged = merge(read_plan(plan), "harden", options, only)
    folder = out or Path("runs") / f"{merged.name}-hardened"
    try:
        found = run_hardening(
            merged,
            plan.parent,
            folder,
            trust_pickle,
            watch=_Watch(merged.name),
            progress=lambda when: progress_for(f"{merged.name} {when}"),
        )
    except KeyboardInterrupt:
        say(f"interrupted; what is done is kept in {folder}. The same command goes on from there.")
        return 130
    show(found.after)
    console().print(grid(found.table))
    click.echo(f"checkpoint: {folder / 'plan.yaml'}\nreport: {folder / 'after' / 'report.html'}")
    return int(exit_code(found.after.verdicts))


class _Watch:
    """Says on standard error how the training goes: a line an epoch, and on a terminal the batch at work."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.began: float | None = None
        self.first = 0

    def __call__(self, at: Progress) -> None:
        """See `attacks.harden`."""
        if at.batches:
            if self.began is None:  # the first batch of this process: earlier epochs came from the state on disk
                self.began, self.first = time.monotonic(), at.epoch - 1
            if sys.stderr.isatty():
                click.echo(
                    f"\r{self.name}: epoch {at.epoch}/{at.epochs}, batch {at.batch}/{at.batches} ", nl=False, err=True
                )
            return
        assert at.last is not None
        line, done = at.last, at.epoch - self.first
        left = 0.0 if self.began is None else (time.monotonic() - self.began) / max(done, 1) * (at.epochs - at.epoch)
        loss = "before training" if line.loss is None else f"loss {line.loss:.3f}"
        undone = "  catastrophic overfitting: undone, repeated with a stronger attack" if line.overfitted else ""
        start = "\r" if sys.stderr.isatty() else ""
        click.echo(
            f"{start}{self.name}: epoch {at.epoch}/{at.epochs}  {loss}  held out: clean {line.clean:.1%}, "
            f"attacked {line.robust:.1%}   about {left:.0f} s left{undone}",
            err=True,
        )
