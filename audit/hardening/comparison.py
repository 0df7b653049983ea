"""What hardening changed: before and after, on the same rows."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import numpy as np

from audit import statistics
from audit.comparison import ROWS, Row, brier, right, stands
from audit.fairness.attributes import masks
from reports.record import (
    Card,
    Curves,
    Entry,
    Estimate,
    Measured,
    Point,
    Table,
    Unit,
)

if TYPE_CHECKING:
    from attacks import Hardened
    from audit.datasets import Dataset
    from audit.plan import Plan
    from audit.store import Store
    from audit.subject import Subject

NAME = "robustness.hardening"
ACCURACY = "fit.accuracy/accuracy"

CARD = Card(
    id=NAME,
    section="robustness",
    version=1,
    title="Hardening, before and after",
    what="The model as it was and the model after adversarial training, on the same test rows: accuracy, accuracy under "
    "the attack it was trained against, and every headline figure of the other checks. No test row was trained on.",
    why="Robustness is bought: with accuracy on clean inputs, often more of it for some groups than for others, and with "
    "probabilities that mean something else than before. The price belongs beside the gain.",
    how="The three changes on top compare the two models row by row, so their intervals are narrow. Most of those in the "
    "table treat the two audits as if they had seen different rows, which makes them wider than they need be: where such an "
    "interval leaves out 0, the change is real all the same. The curve shows rows held out of the training data; "
    "weights of its best epoch were kept.",
    references="Madry et al. 2018 (adversarial training); Zhang et al. 2019 (TRADES); de Jorge et al. 2022 (N-FGSM); "
    "Rice et al. 2020 (early stopping); Agresti and Min 2005 (paired proportions).",
)


def entry(
    plan: Plan,
    before: Subject,
    after: Subject,
    dataset: Dataset,
    hardened: Hardened,
    compared: tuple[Row, ...],
    store: Store,
) -> Entry:
    """The comparison as evidence; measured once, then found in the store."""
    from audit.runner import fingerprint

    params = json.loads(plan.harden.model_dump_json(exclude={"only"})) | {"effort": str(plan.effort)}
    content = [before.digest, after.digest, fingerprint(dataset), params, plan.seed]
    content += [row.model_dump_json() for row in compared]
    key = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]
    kept = store.get(key)
    if kept is None:
        evidence = measure(plan, before, after, dataset, hardened, compared)
        kept = Entry(unit=Unit(key=key, check=NAME, version=1, params=params, seed=plan.seed), evidence=evidence)
        store.put(kept)
    return kept


def measure(
    plan: Plan, before: Subject, after: Subject, dataset: Dataset, hardened: Hardened, compared: tuple[Row, ...]
) -> Measured:
    """Attack both models on the same rows with the budget trained against, and put all that changed together."""
    from audit.checks.robustness._space import fixed_columns, space

    wish = plan.harden
    assert wish.eps is not None
    rng = np.random.default_rng([plan.seed, int.from_bytes(hashlib.sha256(NAME.encode()).digest()[:8])])
    sample = dataset.sample(ROWS[plan.effort], rng)
    here = space(before, dataset, sample)
    budget = f"{wish.norm}:{wish.eps:.4g}"
    both = (before, after)
    standing = [stands(here, subject, wish.norm, wish.eps, str(plan.effort), plan.seed) for subject in both]
    correct = [right(subject, dataset) for subject in both]
    scores = [brier(subject, dataset) for subject in both]
    estimates = {
        f"robust_accuracy_change@{budget}": statistics.paired_difference(standing[1], standing[0]),
        "accuracy_change": statistics.paired_difference(correct[1], correct[0]),
        "brier_score_change": statistics.mean(scores[1] - scores[0]),
    }
    headline = tuple(estimates)
    estimates |= {
        f"robust_accuracy_{when}@{budget}": statistics.proportion(int(one.sum()), len(one))
        for when, one in zip(("before", "after"), standing, strict=True)
    }
    estimates |= {
        f"accuracy_change@{attribute}={group}": statistics.paired_difference(correct[1][mask], correct[0][mask])
        for (attribute, group), mask in masks(dataset).items()
    }
    undone = [str(line.epoch) for line in hardened.history if line.overfitted]
    notes = [
        f"Trained with the recipe {wish.recipe} against {budget} in {here.unit}; the weights are those of epoch "
        f"{hardened.history[hardened.best].epoch} of {hardened.history[-1].epoch}.",
        f"Under attack: {len(sample)} of {len(dataset)} test rows. Accuracy and Brier score: all {len(dataset)}.",
        f"Rows through the model in training: {hardened.forwards:,} forwards, {hardened.backwards:,} backwards.",
        *((fixed_columns(dataset),) if dataset.features else ()),
        *((f"Undone and repeated for catastrophic overfitting: epoch {', '.join(undone)}.",) if undone else ()),
    ]
    return Measured(
        estimates=estimates,
        headline=headline,
        tables=(_table(compared, estimates, budget),),
        figures=(_curve(hardened),),
        notes=tuple(notes),
    )


def _table(compared: tuple[Row, ...], paired: dict[str, Estimate], budget: str) -> Table:
    """The headline figures of both audits, those compared row by row on top."""
    rows = [
        (
            f"{NAME}/robust_accuracy@{budget}",
            *(paired[f"robust_accuracy_{name}@{budget}"] for name in ("before", "after", "change")),
        )
    ]
    chosen = sorted((row for row in compared if row.headline), key=lambda row: row.subject != ACCURACY)
    rows += [
        (row.subject, row.before, row.after, paired["accuracy_change"] if row.subject == ACCURACY else row.change)
        for row in chosen
    ]
    return Table(
        title="Before and after",
        columns=("figure", "before", "after", "change"),
        rows=tuple(rows),
        note="Every figure of both audits, these and the others, is in comparison.json.",
    )


def _curve(hardened: Hardened) -> Curves:
    names = (("clean", "without attack"), ("one_step", "after one step"), ("robust", "after ten steps"))
    kept = [line for line in hardened.history if not line.overfitted]
    return Curves(
        title="Rows held out while training",
        x_title="epoch",
        y_title="accuracy",
        points=tuple(
            Point(x=line.epoch, y=getattr(line, field), series=name) for field, name in names for line in kept
        ),
        y_percent=True,
        note="Epoch 0 is the model before. Where the curve after ten steps falls while that after one step rises, "
        "training overfits to the single step.",
    )
