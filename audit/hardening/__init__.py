"""`audit harden`: train a model against an attack, and audit it before and after on the same rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from audit.errors import PlanError
from audit.progress import Progress, Silent

if TYPE_CHECKING:
    from attacks.defence import Progress as Training
    from audit.plan import Plan
    from reports.record import Record, Table

__all__ = ["Outcome", "harden"]

HEADER = (
    "# Audits the hardened model beside it; written by `audit harden`, with the settings of the plan it was given.\n"
)


@dataclass(frozen=True)
class Outcome:
    """What a hardening left behind.

    Attributes:
        before: record of the model as it was.
        after: record of the hardened model; holds the comparison as `robustness.hardening`.
        table: the headline figures of both.
    """

    before: Record
    after: Record
    table: Table


def harden(
    plan: Plan,
    root: Path,
    out: Path,
    trust_pickle: bool = False,
    watch: Callable[[Training], object] | None = None,
    progress: Callable[[str], Progress] | None = None,
) -> Outcome:
    """Harden the model of a plan; the same call goes on where an interrupted one stopped.

    The folder `out` then holds `model.safetensors`, a `plan.yaml` that audits it (with the modules of its factory where
    they lay beside the plan), `training.json`, `comparison.json`, and the runs `before` and `after`.

    Args:
        plan: with paths that hold from the working directory; `plan.harden` says how to train.
        root: folder the factory's module is looked for first.
        out: the folder.
        trust_pickle: whether checkpoints may be unpickled.
        watch: told how the training goes.
        progress: makes what is told how an audit goes, "before" or "after".

    Raises:
        AssayError: the model cannot be trained, or something in the plan does not fit; nothing was lost.
        KeyboardInterrupt: what is done is kept.
    """
    from audit import comparison as audits
    from audit.hardening import comparison, training
    from audit.judgement import read_policy
    from audit.plan import read_plan
    from audit.rewriting import network, refuse_overwriting, write_model, write_plan
    from audit.runner import choose, preflight, run
    from audit.setup import subject_and_data
    from audit.store import Store
    from reports.artefacts import write_all
    from reports.record import Measured

    if plan.harden.eps is None:
        raise PlanError(
            "Expected a budget to withstand, found none; try --eps, such as 0.03 (images, in input units) or 0.25 "
            "(tables, in standard deviations), or harden.eps in the plan."
        )
    refuse_overwriting(plan, root, out)
    read_policy(plan.policy)
    checks = {name: plan.checks.get(name, {}) for name in choose(plan.harden.only, plan.effort)}
    choose(checks, plan.effort)
    Store(out / "before"), Store(out / "after")
    subject, dataset = subject_and_data(plan, root, trust_pickle)
    training.refuse(subject, dataset)
    preflight(subject, dataset)
    hardened = training.train(plan, subject, dataset, out / "training.pt", watch)
    name = write_model(plan, root, subject, network(hardened.model), out)
    written = write_plan(plan, name, out, "hardened", HEADER)
    training.describe(hardened, out / "training.json")
    after = subject_and_data(read_plan(written), out)[0]
    progress = progress or (lambda _: Silent())
    settings = (checks, plan.effort, plan.seed)
    first = run(subject, dataset, *settings, out / "before", plan.policy, progress("before"))
    second = run(after, dataset, *settings, out / "after", plan.policy, progress("after"))
    rows = audits.rows(first, second)
    entry = comparison.entry(plan, subject, after, dataset, hardened, rows, Store(out / "after"))
    audits.write(rows, entry, out / "comparison.json")
    whole = audits.joined(second, entry, comparison.CARD)
    write_all(whole, out / "after")
    assert isinstance(entry.evidence, Measured)
    return Outcome(first, whole, entry.evidence.tables[0])
