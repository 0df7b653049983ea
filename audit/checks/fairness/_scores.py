"""Histograms of the probability of the favourable class by group, shared by the checks that look at scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from audit.checks.fairness._groups import largest
from audit.fairness import Scores
from audit.fairness.attributes import Levels, groups, positive

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from audit.datasets import Dataset
    from audit.subject import Subject

#: probabilities are kept this far from 0 and 1: too little to be seen, and enough to tell them from labels
EDGE = 1e-15


def probabilities(subject: Subject, data: Dataset) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """(n,) probability of the favourable class, and whether it is true; other classes are the rest."""
    at = positive(data)
    found = subject.scores(data).double().softmax(1)[:, at].numpy()
    return np.clip(found, EDGE, 1 - EDGE), data.labels.numpy() == at


def histograms(subject: Subject, data: Dataset, depth: int, most: int) -> tuple[dict[str, Scores], tuple[str, ...]]:
    """Scores by the groups of each attribute and combination of attributes.

    Args:
        subject: the model.
        data: the data set.
        depth: attributes crossed at most.
        most: groups of one attribute that are looked at, those of most rows.

    Returns:
        Scores by attribute, and what is to be said of groups left out.
    """
    score, true = probabilities(subject, data)
    found, notes = dict[str, Scores](), list[str]()
    for name, level in groups(data, depth).items():
        kept = _most(level, most)
        if len(kept.names) < len(level.names):
            notes.append(f"Of the {len(level.names):,} groups of {name}, the {most} largest are looked at.")
        rows = kept.code >= 0
        if rows.any():
            column = Levels(kept.code[rows], kept.names).column()
            found[name] = Scores.count(true[rows], score[rows], column, classes=(False, True))
    return found, tuple(notes)


def _most(level: Levels, most: int) -> Levels:
    """The groups of most rows; rows of others count nowhere."""
    if len(level.names) <= most:
        return level
    chosen = largest(level.sizes(), most)
    place = np.full(len(level.names) + 1, -1)  # the last one for rows that count nowhere
    place[chosen] = np.arange(most)
    return Levels(place[level.code], tuple(level.names[at] for at in chosen))
