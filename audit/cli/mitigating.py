"""`audit mitigate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from audit.cli.comparing import grid, merge, shortened, two_audits
from audit.cli.speaking import console, say, show

if TYPE_CHECKING:
    from audit.mitigation.remedy import Step

DEFINITIONS = ("demographic_parity", "equal_opportunity", "equalised_odds")


@click.command()
@click.argument("plan", type=click.Path(path_type=Path))
@click.option("--attribute", help="Protected attribute, or several: 'sex x race'.  [default: the first declared]")
@click.option("--definition", type=click.Choice(DEFINITIONS), help="What is to fall.  [default: demographic_parity]")
@click.option("--method", "methods", multiple=True, metavar="NAME", help="Try this method only; may be repeated.")
@click.option("--choose", metavar="RULE", help="pareto, difference, or a method.  [default: pareto]")
@click.option(
    "--margin", type=click.FloatRange(0, 1, max_open=True), help="Difference that is no fault.  [default: 0.02]"
)
@click.option(
    "--strength", type=click.FloatRange(0, 1, min_open=True), help="How far to go.  [default: 1, all the way]"
)
@click.option(
    "--epochs", type=click.IntRange(min=1), help="Passes over the training data, where one trains.  [default: 10]"
)
@click.option("--learning-rate", type=click.FloatRange(min=0, min_open=True), help="Highest one.  [default: 0.001]")
@click.option("--scratch", is_flag=True, default=None, help="Train from new weights, not on from those there.")
@click.option("--norm", type=click.Choice(("linf", "l2", "l1", "l0")), help="Of the small attack.  [default: linf]")
@click.option(
    "--eps", type=click.FloatRange(min=0, min_open=True), help="Its budget.  [default: images 0.01, tables 0.1]"
)
@two_audits("mitigated")
def mitigate(
    plan: Path, out: Path | None, trust_pickle: bool, only: tuple[str, ...], methods: tuple[str, ...], **options: Any
) -> int:
    """Try remedies for a difference between groups of PLAN's model, and write the best.

    Every remedy is learnt on training rows and audited on the test rows; which one is taken is decided on training rows
    that none has seen. Writes a new checkpoint or a post-processor, a plan that audits it, and one report.
    """
    from audit.judgement import exit_code
    from audit.mitigation import mitigate as run_mitigation
    from audit.plan import read_plan
    from audit.progress import progress_for

    merged = merge(read_plan(plan), "mitigate", options | {"methods": list(methods) or None}, only)
    folder = out or Path("runs") / f"{merged.name}-mitigated"
    try:
        found = run_mitigation(
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
    console().print(grid(shortened(found.table)))
    for name, reason in found.left_out.items():
        click.echo(f"left out: {name}: {reason}")
    click.echo(f"taken: {found.why}")
    if found.unproven:
        click.echo(found.unproven)
    click.echo(f"checkpoint: {folder / 'plan.yaml'}\nreport: {folder / 'after' / 'report.html'}")
    return int(exit_code(found.after.verdicts))


class _Watch:
    """Says on standard error which method is at work, and how far it is."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, at: Step) -> None:
        """See `audit.mitigation.mitigate`."""
        click.echo(f"{self.name}: {at.method} {at.done}/{at.steps}  {at.words}", err=True)
