"""`audit mitigate`: several remedies for a difference between groups, audited side by side, and one of them written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from audit.errors import DataError, ModelError
from audit.progress import Progress, Silent

if TYPE_CHECKING:
    from audit.datasets import Dataset
    from audit.mitigation.material import Material
    from audit.mitigation.measuring import Attack
    from audit.mitigation.remedy import Aim, Step
    from audit.plan import Plan
    from audit.subject import Subject
    from reports.record import Record, Table

__all__ = ["Outcome", "mitigate"]

#: the check that asks what would help; it has nothing to say of a model that was helped
CHECK = "fairness.mitigation"
#: budgets that robustness is compared at where the plan gives none
EPS = {"image": 0.01, "tabular": 0.1}


@dataclass(frozen=True)
class Outcome:
    """What a mitigation left behind.

    Attributes:
        before: record of the model as it was.
        after: record of the model that was taken; holds the comparison as `fairness.mitigated`.
        table: every remedy on the test rows.
        chosen: name of the method that was taken.
        why: by which rule.
        left_out: methods that could not be tried, and why.
        unproven: that the test rows show no smaller difference, in a sentence; None where they do.
    """

    before: Record
    after: Record
    table: Table
    chosen: str
    why: str
    left_out: dict[str, str]
    unproven: str | None


def mitigate(
    plan: Plan,
    root: Path,
    out: Path,
    trust_pickle: bool = False,
    watch: Callable[[Step], object] | None = None,
    progress: Callable[[str], Progress] | None = None,
) -> Outcome:
    """Mitigate the model of a plan; the same call goes on where an interrupted one stopped.

    The folder `out` then holds the checkpoint that was taken (`model.safetensors`: new weights, or a post-processor with
    the audited checkpoint beside it), a `plan.yaml` that audits it, `comparison.json`, the runs `before` and `after`,
    and every remedy under `methods`.

    Args:
        plan: with paths that hold from the working directory; `plan.mitigate` says what to try.
        root: folder the factory's module is looked for first.
        out: the folder.
        trust_pickle: whether checkpoints may be unpickled.
        watch: told how the methods go.
        progress: makes what is told how an audit goes, "before" or "after".

    Raises:
        AssayError: no method can be tried, or something in the plan does not fit; nothing was lost.
        KeyboardInterrupt: what is done is kept.
    """
    from audit import comparison
    from audit.judgement import read_policy
    from audit.mitigation import choosing, methods, showing, writing
    from audit.mitigation.material import gather
    from audit.mitigation.measuring import CHOICE
    from audit.mitigation.remedy import Bench
    from audit.mitigation.trials import BEFORE, NAME, VERSION, Workshop
    from audit.plan import read_plan
    from audit.rewriting import refuse_overwriting
    from audit.runner import choose, preflight, run
    from audit.setup import subject_and_data
    from audit.store import Store
    from reports.artefacts import write_all
    from reports.record import Entry, Unit

    wish = plan.mitigate
    names = tuple(dict.fromkeys(wish.methods or methods.NAMES))
    refuse_overwriting(plan, root, out)
    for name in names:
        methods.find(name)
    choosing.refuse_rule(wish.choose, names)
    read_policy(plan.policy)
    checks = {name: plan.checks.get(name, {}) for name in choose(wish.only, plan.effort) if name != CHECK}
    choose(checks, plan.effort)
    Store(out / "before"), Store(out / "after")
    subject, dataset = subject_and_data(plan, root, trust_pickle)
    refuse(subject, dataset)
    preflight(subject, dataset)
    material = gather(dataset, wish.attribute, wish.held, plan.seed)
    aim = aim_of(plan, material)
    shop = Workshop(
        writing.Origin(plan, root, subject, trust_pickle),
        material,
        Bench(
            subject=subject,
            train=material.part(material.learn),
            held=material.part(material.held),
            groups=material.levels.names,
            classes=subject.classes,
            aim=aim,
            reader=material.reader,
            seed=plan.seed,
            epochs=wish.epochs,
            batch_size=wish.batch_size,
            learning_rate=wish.learning_rate,
            scratch=wish.scratch,
        ),
        out / "methods",
        Store(out / "methods"),
        attack_of(plan, subject, material),
    )
    trials, left_out = shop.trials(names, watch or (lambda _: None))
    if not trials:
        raise ModelError(
            f"Expected a method that fits this model and its data, found none: {next(iter(left_out.values()))}"
        )
    found = {BEFORE: shop.figures(None)} | {trial.method: shop.figures(trial) for trial in trials}
    spots = {trial.method: showing.spot(found[trial.method], str(aim.definition), CHOICE) for trial in trials}
    chosen, why = choosing.choose(spots, wish.choose, aim.margin)
    taken = next(trial for trial in trials if trial.method == chosen)
    writing.install(shop.folder / chosen, out)
    written = writing.write_audit(shop.origin, taken.checkpoint, material.added, aim.attribute, taken.reads, out)
    progress = progress or (lambda _: Silent())
    settings = (checks, plan.effort, plan.seed)
    first = run(subject, dataset, *settings, out / "before", plan.policy, progress("before"))
    after, data = subject_and_data(read_plan(written), out, trust_pickle)
    second = run(after, data, *settings, out / "after", plan.policy, progress("after"))
    notes = [
        f"The difference aimed at: {showing.words(str(aim.definition))} between groups of {aim.attribute}. Taken: {why}",
        f"Of {len(material.levels.code)} training rows, {len(material.learn)} were learnt from, {len(material.held)} set "
        f"thresholds and epochs, and {len(material.choice)} were chosen on.",
        *(
            []
            if shop.attack
            else ["Accuracy under attack was not compared: these inputs cannot be attacked by gradient."]
        ),
        *showing.told(trials, left_out, found, chosen, aim),
    ]
    rows = comparison.rows(first, second)
    evidence = showing.evidence(found, trials, chosen, aim, rows, notes)
    params = {"method": chosen, "choose": wish.choose, "attribute": aim.attribute, "definition": str(aim.definition)}
    key = hashlib.sha256((evidence.model_dump_json() + json.dumps(params)).encode()).hexdigest()[:32]
    entry = Entry(unit=Unit(key=key, check=NAME, version=VERSION, params=params, seed=plan.seed), evidence=evidence)
    Store(out / "after").put(entry)
    comparison.write(rows, entry, out / "comparison.json")
    whole = comparison.joined(second, entry, showing.CARD)
    write_all(whole, out / "after")
    return Outcome(
        first, whole, evidence.tables[0], chosen, why, left_out, showing.unproven(found[chosen], chosen, aim)
    )


def refuse(subject: Subject, dataset: Dataset) -> None:
    """Refuse what no method could help.

    Raises:
        AssayError: a post-processor, no training data, or no protected attribute.
    """
    from audit.loading import Format
    from audit.mitigation.material import training

    if subject.format == Format.POST_PROCESSOR:
        raise ModelError(
            f"Expected a checkpoint to mitigate, found the post-processor {subject.source}; try the plan of the model inside."
        )
    training(dataset)
    if not dataset.groups:
        raise DataError("Expected a protected attribute to mitigate for, found none in the plan; try data.protected.")


def aim_of(plan: Plan, material: Material) -> Aim:
    """What the plan asks for.

    Raises:
        PlanError: it asks for what there is not.
    """
    from audit.fairness.attributes import positive
    from audit.mitigation.remedy import Aim, Definition

    wish = plan.mitigate
    return Aim(material.attribute, Definition(wish.definition), positive(material.own), wish.strength, wish.margin)


def attack_of(plan: Plan, subject: Subject, material: Material) -> Attack | None:
    """The attack that robustness is compared by; None where inputs cannot be attacked by gradient."""
    import numpy as np

    from audit.checks.robustness._space import space, unfit
    from audit.comparison import ROWS
    from audit.mitigation.measuring import Attack
    from audit.mitigation.trials import NAME
    from audit.subject import Capability

    text = str(subject.modality) not in EPS
    if text or Capability.INPUT_GRADIENT not in subject.capabilities or unfit(material.own) is not None:
        return None
    rng = np.random.default_rng([plan.seed, int.from_bytes(hashlib.sha256(NAME.encode()).digest()[:8])])
    count = min(ROWS[plan.effort], len(material.own))
    rows = np.sort(rng.choice(len(material.own), count, replace=False))
    spaces = {wide: space(subject, material.data(wide), material.data(wide).take(rows)) for wide in (False, True)}
    eps = plan.mitigate.eps or EPS[str(subject.modality)]
    return Attack(plan.mitigate.norm, eps, str(plan.effort), plan.seed, spaces)
