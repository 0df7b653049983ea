"""`audit list`, `audit explain` and `audit schema`: what there is."""

from __future__ import annotations

from typing import Any

import click


@click.command("list")
def list_checks() -> int:
    """List the checks."""
    from audit.check import card, registry

    width = max(len(name) for name in registry())
    for name in registry():
        click.echo(f"{name:<{width}}  {card(name).title}")
    return 0


@click.command()
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


@click.command()
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
