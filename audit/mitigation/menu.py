"""Several remedies in memory, side by side: what would help, without anything written."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from audit.errors import AssayError
from audit.fairness.attributes import positive
from audit.loading.processed import around
from audit.mitigation.applying import apply
from audit.mitigation.choosing import choose
from audit.mitigation.material import gather, groups_of
from audit.mitigation.measuring import CHOICE, Answers, difference, on_choice, on_test, whole
from audit.mitigation.remedy import Aim, Bench, Definition
from audit.mitigation.showing import spot
from audit.mitigation.trials import BEFORE
from reports.record import Measured

if TYPE_CHECKING:
    import numpy as np

    from audit.datasets import Dataset
    from audit.subject import Subject


@dataclass(frozen=True, eq=False)
class Menu:
    """What was found.

    Attributes:
        aim: whose difference.
        found: figures by remedy, the model as it was first.
        reads: whether a remedy reads the group to answer.
        best: the remedy with the smallest difference on the rows to choose on; None where that is defined for none.
        notes: sentences.
        left_out: remedies that could not be tried, and why.
        rows: training rows used.
    """

    aim: Aim
    found: dict[str, Measured]
    reads: dict[str, bool]
    best: str | None
    notes: tuple[str, ...]
    left_out: dict[str, str]
    rows: int


def menu(
    subject: Subject,
    data: Dataset,
    attribute: str | None,
    definition: str,
    names: tuple[str, ...],
    rows: int,
    kept: float,
    rng: np.random.Generator,
) -> Menu:
    """Learn on a sample of the training rows, measure on the test rows.

    Args:
        subject: the model.
        data: with its training split.
        attribute: whom it is for; None: the one whose difference on the test rows is surest.
        definition: whose difference is to fall.
        names: of the methods.
        rows: training rows at most.
        kept: share of them kept back.
        rng: of the sample and the bootstraps.

    Raises:
        AssayError: the data do not allow it.
    """
    assert data.train is not None
    seed = int(rng.integers(2**31))
    aim = Aim("", Definition(definition), positive(data))
    material = gather(
        replace(data, train=data.train.sample(rows, rng)), attribute or surest(subject, data, aim), kept, seed
    )
    aim = replace(aim, attribute=material.attribute)
    bench = Bench(
        subject=subject,
        train=material.part(material.learn),
        held=material.part(material.held),
        groups=material.levels.names,
        classes=subject.classes,
        aim=aim,
        reader=material.reader,
        seed=seed,
    )
    old = on_test(subject, material, False)
    found = {BEFORE: Measured(estimates=whole(old, old, on_choice(subject, material, False), aim, rng))}
    reads, left_out, notes = dict[str, bool](), dict[str, str](), list[str]()
    for name in names:
        try:
            remedy = apply(name, bench)
        except AssayError as error:
            left_out[name] = str(error)
            continue
        model, reads[name] = around(subject, remedy.model), remedy.group_at_prediction
        new, chosen = (part(model, material, reads[name]) for part in (on_test, on_choice))
        found[name] = Measured(estimates=whole(old, new, chosen, aim, rng))
        notes += [f"{name}: {note}" for note in remedy.notes]
    spots = {name: spot(found[name], definition, CHOICE) for name in reads}
    sized = any(one.difference is not None for one in spots.values())
    best = choose(spots, "difference", 0.0)[0] if sized else None
    return Menu(aim, found, reads, best, tuple(notes), left_out, len(material.levels.code))


def surest(subject: Subject, data: Dataset, aim: Aim) -> str:
    """The protected attribute whose difference between groups has the largest lower bound on the test rows."""
    scores, labels = subject.scores(data).double().numpy(), data.labels.numpy()

    def bound(name: str) -> float:
        cube = Answers(scores, labels, groups_of(data, name)).cube(aim.favourable)
        low = difference(cube, aim.definition).low
        return -1.0 if low is None else low

    return max(data.groups, key=bound)
