"""`audit run`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from audit.cli.speaking import EFFORTS, say, show

if TYPE_CHECKING:
    from audit.plan import Plan
    from reports.record import Record


@click.command()
@click.argument("plan", required=False, type=click.Path(path_type=Path))
@click.option("--model", type=click.Path(path_type=Path), help="Checkpoint, where there is no plan.")
@click.option("--data", type=click.Path(path_type=Path), help="Test data, where there is no plan.")
@click.option("--train", type=click.Path(path_type=Path), help="Training data, where there is no plan.")
@click.option("--label", help="Label column, where there is no plan.")
@click.option("--factory", help="package.module:name that builds the network of a bare state_dict.")
@click.option("--classes", help="Class names in the order of the outputs, separated by commas.")
@click.option("--output", help="logits, probabilities or log_probabilities, where there is no plan.")
@click.option("--protected", help="Protected columns, separated by commas.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the run.  [default: runs/NAME]")
@click.option("--effort", type=click.Choice(EFFORTS), help="How much work.  [default: the plan's, else standard]")
@click.option("--only", multiple=True, metavar="ID", help="Run this check or section only; may be repeated.")
@click.option("--device", help="auto, cpu, cuda, mps ...  [default: the plan's, else auto]")
@click.option("--seed", type=click.IntRange(min=0), help="Seed of every random draw.  [default: the plan's, else 0]")
@click.option("--policy", help="A shipped policy or a YAML file.  [default: the plan's, else default]")
@click.option(
    "--trust-pickle", is_flag=True, help="Unpickle a checkpoint. It may run any code: only for files you trust."
)
def run(plan: Path | None, out: Path | None, trust_pickle: bool, **options: Any) -> int:
    """Audit a model: run PLAN, or name --model and --data."""
    from audit.judgement import exit_code
    from audit.progress import progress_for
    from audit.runner import Interrupted
    from audit.store import Store

    merged = merge(plan, options, trust_pickle)
    folder = out or Path("runs") / merged.name
    Store(folder)  # an output folder that cannot be written is refused before anything is loaded
    progress = progress_for(merged.name)
    try:
        root = plan.parent if plan else merged.model.path.parent
        record = _audit(merged, root, folder, progress, trust_pickle)
    except Interrupted as stop:
        done, left = len(stop.record.evidence), len(stop.record.missing)
        say(
            f"interrupted; {done} checks are kept in {folder} and {left} are missing. The same command goes on from there."
        )
        return 130
    finally:
        progress.stop()
    show(record)
    click.echo(f"report: {folder / 'report.html'}")
    return int(exit_code(record.verdicts))


def merge(plan: Path | None, options: dict[str, Any], trust_pickle: bool) -> Plan:
    """The plan, or one made from --model and --data, changed by the options."""
    from audit.errors import PlanError
    from audit.plan import read_plan

    sources = ("model", "data", "train", "label", "factory", "classes", "protected", "output")
    given = {name: options.pop(name) for name in sources}
    only = options.pop("only")
    changes = {name: value for name, value in options.items() if value is not None} | (
        {"only": list(only)} if only else {}
    )
    if plan is not None:
        extra = [name for name, value in given.items() if value is not None]
        if extra:
            raise PlanError(
                f"Expected a plan or --model and --data, found both a plan and --{extra[0]}; try the plan alone."
            )
        base = read_plan(plan)
    else:
        if given["model"] is None or given["data"] is None:
            raise PlanError("Expected a plan, or --model and --data, found neither; try `audit init MODEL DATA` first.")
        from audit.proposal import propose

        for name in ("classes", "protected"):
            given[name] = None if given[name] is None else [part.strip() for part in given[name].split(",")]
        base = propose(**given, trust_pickle=trust_pickle).plan
    return base.model_copy(update=changes)


def _audit(plan: Plan, root: Path, folder: Path, progress: Any, trust_pickle: bool) -> Record:
    from audit.judgement import read_policy
    from audit.runner import choose

    read_policy(plan.policy)
    wanted = plan.only or None
    choose(wanted, plan.effort)
    choose(plan.checks, plan.effort)

    from audit.runner import run as run_audit
    from audit.setup import subject_and_data

    subject, dataset = subject_and_data(plan, root, trust_pickle)
    checks = {name: plan.checks.get(name, {}) for name in choose(wanted, plan.effort)}
    return run_audit(subject, dataset, checks, plan.effort, plan.seed, folder, plan.policy, progress)
