"""People in the version of every group: a table's attribute set, a text's identity terms exchanged. Imports torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from audit.datasets.types import FeatureKind
from audit.explaining.players import log_odds
from audit.fairness.attributes import Levels, positive
from audit.fairness.individuals.paired import Answers

if TYPE_CHECKING:
    from audit.datasets import Dataset, Feature
    from audit.fairness.individuals.swaps import Family
    from audit.subject import Subject


@dataclass(frozen=True, eq=False)
class Comparison:
    """One attribute or family of terms: its groups, the answers to every version, and the texts where there are any.

    Attributes:
        name: of the attribute or family.
        groups: what the groups are called.
        answers: to the rows that have versions.
        before: the texts as they are; empty for tables.
        after: the text of each version; None where there is none.
    """

    name: str
    groups: tuple[str, ...]
    answers: Answers
    before: tuple[str, ...] = ()
    after: tuple[tuple[str | None, ...], ...] = ()


def of_table(subject: Subject, data: Dataset, feature: Feature, groups: Levels) -> Comparison:
    """Give every row the value of every group: its median for a number, its commonest one for a category.

    Args:
        subject: the model.
        data: the rows.
        feature: the protected attribute as an input of the model.
        groups: of these rows.
    """
    assert isinstance(data.inputs, torch.Tensor)
    groups = _present(groups)
    values = _representatives(data.inputs, feature, groups)
    target = positive(data)
    scores = subject.scores(data)
    answer = np.empty((len(data), len(values)), dtype=np.int64)
    score = np.empty((len(data), len(values)))
    for group, value in enumerate(values):
        moved = data.inputs.clone()
        moved[:, list(feature.columns)] = value
        found = subject.predict(moved)
        answer[:, group] = found.argmax(1).numpy()
        score[:, group] = _probability(found, target)
    # a row in the version of its own group is itself, not its group's usual value
    at = np.flatnonzero(groups.code >= 0), groups.code[groups.code >= 0]
    before, now = scores.argmax(1).numpy(), _probability(scores, target)
    answer[at], score[at] = before[at[0]], now[at[0]]
    return Comparison(feature.name, groups.names, Answers(groups.code, answer, score, before, now, target))


def _present(groups: Levels) -> Levels:
    """Without the groups that have no row here."""
    kept = np.unique(groups.code[groups.code >= 0])
    code = np.where(groups.code >= 0, np.searchsorted(kept, groups.code), -1)
    return Levels(code, tuple(groups.names[group] for group in kept.tolist()))


def _probability(scores: torch.Tensor, target: int) -> NDArray[np.float64]:
    return np.asarray(scores.double().softmax(1)[:, target].numpy())


def _representatives(inputs: torch.Tensor, feature: Feature, groups: Levels) -> list[torch.Tensor]:
    found = []
    for group in range(len(groups.names)):
        own = inputs[torch.from_numpy(groups.rows(group))][:, list(feature.columns)]
        if feature.kind is FeatureKind.NUMERIC:
            found.append(own.median(0).values)
        else:
            values, count = torch.unique(own, dim=0, return_counts=True)
            found.append(values[count.argmax()])
    return found


def of_texts(
    subject: Subject, texts: list[str], family: Family, favourable: int, most: int, rng: np.random.Generator
) -> tuple[Comparison | None, int]:
    """Write texts that name a group of the family in the version of every other, and ask the model about each.

    Args:
        subject: the model.
        texts: all of them.
        family: identity terms.
        favourable: the favourable class.
        most: texts at most; more are drawn from.
        rng: draws them.

    Returns:
        The comparison, None where no text has a version; and how many texts have one.
    """
    found = [(text, versions) for text in texts if (versions := family.versions(text))]
    found = [(text, v) for text, v in found if sum(version is not None for version in v.texts) > 1]
    if not found:
        return None, 0
    chosen = sorted(rng.choice(len(found), size=min(most, len(found)), replace=False).tolist())
    kept = [found[i] for i in chosen]
    batch = [text for text, _ in kept] + [version for _, v in kept for version in v.texts if version is not None]
    scores = subject.predict(batch)
    target = torch.full((len(batch),), favourable, dtype=torch.int64)
    odds = log_odds(scores, target).double().numpy()
    said = scores.argmax(1).numpy()
    there = np.array([[version is not None for version in v.texts] for _, v in kept])
    answer = np.full(there.shape, -1, dtype=np.int64)
    score = np.full(there.shape, np.nan)
    n = len(kept)
    answer[there], score[there] = said[n:], odds[n:]
    own = np.array([v.own for _, v in kept])
    answers = Answers(own, answer, score, said[:n], odds[:n], favourable)
    before, after = tuple(text for text, _ in kept), tuple(v.texts for _, v in kept)
    return Comparison(family.name, family.groups, answers, before, after), len(found)
