"""`audit init`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
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
