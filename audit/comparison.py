"""Two audits of two models on the same rows, held against each other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from audit import statistics
from reports.record import Card, Entry, Estimate, Frozen, Measured, Record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from audit.checks.robustness._space import Space
    from audit.datasets import Dataset
    from audit.subject import Subject

#: rows attacked to compare two models, by effort
ROWS = {"quick": 120, "standard": 500, "exhaustive": 1000}


class Row(Frozen):
    """One estimate of both audits."""

    check: str
    name: str
    headline: bool
    before: Estimate
    after: Estimate
    change: Estimate

    @property
    def subject(self) -> str:
        """`check.id/estimate`."""
        return f"{self.check}/{self.name}"


def rows(before: Record, after: Record) -> tuple[Row, ...]:
    """Every estimate that both records hold, in the order of the first."""
    others = dict(_measured(after))
    pairs = [(check, old, others[check]) for check, old in _measured(before) if check in others]
    return tuple(
        Row(
            check=check,
            name=name,
            headline=name in old.headline,
            before=old.estimates[name],
            after=new.estimates[name],
            change=change(old.estimates[name], new.estimates[name]),
        )
        for check, old, new in pairs
        for name in sorted(old.estimates.keys() & new.estimates.keys(), key=lambda n: (n not in old.headline, n))
    )


def _measured(record: Record) -> Iterator[tuple[str, Measured]]:
    return ((e.unit.check, e.evidence) for e in record.evidence if isinstance(e.evidence, Measured))


def change(before: Estimate, after: Estimate) -> Estimate:
    """After - before; exact where both are, else with an interval that would hold for independent rows too."""
    found = statistics.difference(after, before)
    if found.value is None or found.low != found.high:
        return found
    return statistics.exact(found.value, found.n, found.unit, method="exact difference")


def brier(subject: Subject, dataset: Dataset) -> NDArray[np.float64]:
    """Squared distance of each row's probabilities from the truth, (n,)."""
    p = subject.scores(dataset).double().softmax(1).numpy()
    truth = np.eye(len(dataset.classes))[dataset.labels.numpy()]
    distance: NDArray[np.float64] = ((p - truth) ** 2).sum(1)
    return distance


def right(subject: Subject, dataset: Dataset) -> NDArray[np.bool_]:
    """Which rows the model gets right, (n,)."""
    found: NDArray[np.bool_] = (subject.scores(dataset).argmax(1) == dataset.labels).numpy()
    return found


def stands(here: Space, subject: Subject, norm: str, eps: float, effort: str, seed: int) -> NDArray[np.bool_]:
    """Which of the rows in a space are right, and stay so under attack at one budget, (n,)."""
    found = here.evaluate(subject, norm, eps, effort, seed)  # type: ignore[arg-type]  # a plan's string
    kept: NDArray[np.bool_] = (found.robust & found.clean_correct).cpu().numpy()
    return kept


def write(compared: tuple[Row, ...], entry: Entry, path: Path) -> None:
    """Write every estimate of both audits, and the comparison itself, as JSON."""
    from reports.artefacts import write_text

    document = {
        "comparison": entry.model_dump(mode="json"),
        "rows": [row.model_dump(mode="json") for row in compared],
    }
    write_text(path, json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def joined(record: Record, entry: Entry, card: Card) -> Record:
    """A record with the comparison in it."""
    return record.model_copy(update={"evidence": (*record.evidence, entry), "cards": (*record.cards, card)})
