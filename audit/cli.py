"""The command line. Heavy modules are imported inside the commands, so that `audit --help` stays quick."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

if TYPE_CHECKING:
    from audit.plan import Plan
    from reports.record import Record

EFFORTS = ("quick", "standard", "exhaustive")


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line; turn what a user can mend into one sentence and exit code 2."""
    from audit.errors import AssayError, IntegrityError

    try:
        code = commands.main(arguments, prog_name="audit", standalone_mode=False)
    except click.exceptions.Exit as stop:
        code = stop.exit_code
    except click.UsageError as error:
        error.show()
        code = 2
    except click.ClickException as error:
        _say(error.format_message())
        code = 2
    except AssayError as error:
        _say(str(error))
        code = 2
    except IntegrityError as error:
        _say(str(error))
        code = 4
    except (KeyboardInterrupt, click.Abort):
        _say("interrupted.")
        code = 130
    except BrokenPipeError:  # the reader of a pipe left; nobody is there to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except Exception as error:  # a fault of ours: say so shortly, keep the traceback for those who ask
        if os.environ.get("ASSAY_DEBUG"):
            raise
        _say(
            f"the audit itself broke: {type(error).__name__}: {error}. "
            "What was measured is kept; set ASSAY_DEBUG=1 to see where, and please report it."
        )
        code = 70
    sys.exit(code)


def _say(text: str) -> None:
    # names come from files: a control character must not reach the terminal
    plain = "".join(c if c.isprintable() else " " for c in text)
    click.echo("audit: " + " ".join(plain.split()), err=True)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="assay")
def commands() -> None:
    """Audit a trained deep model: explain it, attack it, measure it, judge it.

    Exit codes: 0 passed, 1 a gate failed, 2 usage or bad input, 3 evidence insufficient, 4 integrity broken,
    70 the audit itself broke, 130 interrupted.
    """


@commands.command()
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

    merged = _merge(plan, options, trust_pickle)
    folder = out or Path("runs") / merged.name
    Store(folder)  # an output folder that cannot be written is refused before anything is loaded
    progress = progress_for(merged.name)
    try:
        root = plan.parent if plan else merged.model.path.parent
        record = _audit(merged, root, folder, progress, trust_pickle)
    except Interrupted as stop:
        done, left = len(stop.record.evidence), len(stop.record.missing)
        _say(
            f"interrupted; {done} checks are kept in {folder} and {left} are missing. The same command goes on from there."
        )
        return 130
    finally:
        progress.stop()
    _show(record)
    click.echo(f"report: {folder / 'report.html'}")
    return int(exit_code(record.verdicts))


def _merge(plan: Path | None, options: dict[str, Any], trust_pickle: bool) -> Plan:
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


def _show(record: Record) -> None:
    from rich.console import Console

    from reports.terminal import verdict_table

    console = Console()
    # in a log nobody widens the window
    wide = console if console.is_terminal else Console(width=120)
    wide.print(verdict_table(record))


@commands.command()
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
    _show(judged)
    return int(exit_code(verdicts))


@commands.command()
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


@commands.command("list")
def list_checks() -> int:
    """List the checks."""
    from audit.check import card, registry

    width = max(len(name) for name in registry())
    for name in registry():
        click.echo(f"{name:<{width}}  {card(name).title}")
    return 0


@commands.command()
@click.argument("check")
def explain(check: str) -> int:
    """Explain a CHECK: what it measures, why it matters, how to read it, its parameters."""
    from dataclasses import fields

    from audit.check import card, find

    found = card(check)
    click.echo(f"{found.id}: {found.title}\n")
    for heading, text in (
        ("What it measures", found.what),
        ("Why it matters", found.why),
        ("How to read it", found.how),
        ("References", found.references),
    ):
        if text:
            click.echo(click.wrap_text(f"{heading}: {text}", width=100, subsequent_indent="  ") + "\n")
    cls = find(check)
    if fields(cls):
        click.echo("Parameters (standard effort; others where they differ):")
        for field in fields(cls):
            others = [
                f"{effort} {values[field.name]}" for effort, values in cls.efforts.items() if field.name in values
            ]
            click.echo(f"  {field.name} = {field.default}" + (f"   ({', '.join(others)})" if others else ""))
    return 0


@commands.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("data", type=click.Path(path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), default=Path("plan.yaml"), show_default=True)
@click.option("--train", type=click.Path(path_type=Path), help="Training data.")
@click.option("--label", help="Label column.")
@click.option("--factory", help="package.module:name that builds the network of a bare state_dict.")
@click.option("--force", is_flag=True, help="Overwrite the plan.")
def init(
    model: Path, data: Path, out: Path, train: Path | None, label: str | None, factory: str | None, force: bool
) -> int:
    """Write a plan by looking at MODEL and DATA."""
    from audit.errors import OutputError
    from audit.proposal import propose

    if out.exists() and not force:
        raise OutputError(f"Expected no file at {out}, found one; try another -o, or --force.")
    proposal = propose(model=model, data=data, train=train, label=label, factory=factory)
    try:
        out.write_text(proposal.to_yaml(out.parent), encoding="utf-8")
    except OSError as error:
        raise OutputError(
            f"Expected a file that can be written at {out}, found {error.strerror}; try another -o."
        ) from None
    click.echo(f"plan: {out}")
    for question in proposal.questions:
        click.echo(f"  check: {question}")
    click.echo(f"next: audit run {out}")
    return 0


@commands.command()
@click.argument("what", type=click.Choice(["plan", "policy", "record"]), default="plan")
def schema(what: str) -> int:
    """Print the JSON schema of a plan, a policy or a record (for editors)."""
    import json

    from audit.judgement import Policy
    from audit.plan import Plan
    from reports.record import Record

    models: dict[str, Any] = {"plan": Plan, "policy": Policy, "record": Record}
    document = {"$schema": "https://json-schema.org/draft/2020-12/schema"} | models[what].model_json_schema()
    click.echo(json.dumps(document, indent=2))
    return 0


if __name__ == "__main__":
    main()
