"""What a model is like for the people in the data: fairness, accuracy, calibration, and what it stands under attack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from audit import comparison, statistics
from audit.checks.fit._reliability import ece
from audit.fairness import Cube
from audit.fairness.attributes import Levels
from audit.mitigation.material import groups_of, training
from audit.mitigation.methods._rates import strata
from audit.mitigation.remedy import Aim, Definition
from audit.mitigation.widening import widening
from reports.record import Estimate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from audit.checks.robustness._space import Space
    from audit.mitigation.material import Material
    from audit.subject import Subject

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

#: rates that a definition compares
RATES = {
    Definition.DEMOGRAPHIC_PARITY: ("selection_rate",),
    Definition.EQUAL_OPPORTUNITY: ("true_positive_rate",),
    Definition.EQUALISED_ODDS: ("true_positive_rate", "false_positive_rate"),
}
#: slice of the figures that methods are chosen by
CHOICE = "choice"
BINS, RESAMPLES = 15, 200


@dataclass(frozen=True, eq=False)
class Answers:
    """What a model answers to some rows.

    Attributes:
        scores: (n, classes) whose softmax are the probabilities.
        labels: (n,) true classes.
        levels: groups of the rows.
    """

    scores: Floats
    labels: Ints
    levels: Levels

    @property
    def predicted(self) -> Ints:
        """(n,) classes."""
        return np.asarray(self.scores.argmax(1))

    @property
    def right(self) -> NDArray[np.bool_]:
        """(n,) whether they are the true ones."""
        return np.asarray(self.predicted == self.labels)

    @property
    def probabilities(self) -> Floats:
        """(n, classes)."""
        found = np.exp(self.scores - self.scores.max(1, keepdims=True))
        return np.asarray(found / found.sum(1, keepdims=True))

    @property
    def brier(self) -> Floats:
        """(n,) squared distances of the probabilities from the truth."""
        p = self.probabilities
        p[np.arange(len(p)), self.labels] -= 1
        return np.asarray((p**2).sum(1))

    def cube(self, favourable: int) -> Cube:
        """Counts of the rows that a group counts."""
        rows = self.levels.code >= 0
        return Cube.count(
            self.labels[rows],
            self.predicted[rows],
            self.levels.column()[rows],
            classes=range(self.scores.shape[1]),
            positive=favourable,
        )


def difference(cube: Cube, definition: Definition) -> Estimate:
    """Largest difference between groups under a definition; where it looks at two rates, the larger of the two.

    The interval holds for all pairs of groups, and for both rates, at once.
    """
    rates = RATES[definition]
    found = [cube.disparity(rate, alpha=(1 - statistics.LEVEL) / len(rates)) for rate in rates]
    missing = next((one for one in found if one.value is None), None)
    if missing is not None or len(found) == 1:
        return missing or found[0]
    both = [(one.value or 0.0, one.low or 0.0, one.high or 0.0) for one in found]
    value, low, high = (max(part) for part in zip(*both, strict=True))
    method = f"{found[0].method}, both rates at once"
    return Estimate(value=value, low=low, high=high, n=found[0].n, method=method, unit="fraction")


def alone(answers: Answers, aim: Aim, rng: np.random.Generator) -> dict[str, Estimate]:
    """Figures of one model: differences under every definition, accuracy and calibration."""
    cube = answers.cube(aim.favourable)
    found = {f"{definition}_difference": difference(cube, definition) for definition in Definition}
    confidence = answers.probabilities.max(1)
    return found | {
        "accuracy_difference": cube.disparity("accuracy"),
        "accuracy": statistics.proportion(int(answers.right.sum()), len(answers.labels)),
        "brier_score": statistics.mean(answers.brier),
        "ece": ece(confidence, answers.right.astype(np.float64), BINS, rng, RESAMPLES)[0],
        "calibration_gap": calibration_gap(answers, aim.favourable),
    }


def whole(old: Answers, new: Answers, chosen: Answers, aim: Aim, rng: np.random.Generator) -> dict[str, Estimate]:
    """Figures of a model, its changes, and what it is chosen by.

    Args:
        old: answers of the model as it was to the test rows; `new` itself where that is measured.
        new: answers of the model.
        chosen: its answers to the rows to choose on.
        aim: whose difference counts.
        rng: of the bootstraps.
    """
    found = alone(new, aim, rng)
    found[f"{aim.definition}_difference@{CHOICE}"] = difference(chosen.cube(aim.favourable), aim.definition)
    found[f"accuracy@{CHOICE}"] = statistics.proportion(int(chosen.right.sum()), len(chosen.labels))
    return found if new is old else found | changes(old, new, aim)


def calibration_gap(answers: Answers, favourable: int) -> Estimate:
    """The largest gap of any group between the mean probability of the favourable class and its true share."""
    over = answers.probabilities[:, favourable] - (answers.labels == favourable)
    groups = len(answers.levels.names)
    gaps = [statistics.mean(over[answers.levels.rows(g)], "fraction", of=groups) for g in range(groups)]
    seen = [gap for gap in gaps if gap.value is not None]
    if not seen:
        return statistics.undefined("no group has two rows", n=len(over), unit="fraction")
    widest = max(seen, key=lambda gap: abs(gap.value or 0.0))
    ends = sorted((abs(widest.low or 0.0), abs(widest.high or 0.0)))
    crosses = (widest.low or 0.0) <= 0 <= (widest.high or 0.0)
    return Estimate(
        value=abs(widest.value or 0.0),
        low=0.0 if crosses else ends[0],
        high=ends[1],
        n=widest.n,
        method=widest.method,
        unit="fraction",
    )


def changes(before: Answers, after: Answers, aim: Aim) -> dict[str, Estimate]:
    """After - before on the same rows, in pairs."""
    return {
        f"{aim.definition}_difference_change": difference_change(before, after, aim),
        "accuracy_change": statistics.paired_difference(after.right, before.right),
        "brier_score_change": statistics.mean(after.brier - before.brier),
    }


def difference_change(before: Answers, after: Answers, aim: Aim) -> Estimate:
    """Change of the largest difference between groups; see `widening`."""
    first, second = (one.predicted == aim.favourable for one in (before, after))
    of = [np.flatnonzero(rows) for rows in strata(aim, before.labels)]
    return widening(before.levels.code, first, second, of)


def on_test(subject: Subject, material: Material, reads: bool) -> Answers:
    """A model's answers to the test rows; `reads` says whether it is given the group."""
    data = material.data(reads)
    return Answers(subject.scores(data).double().numpy(), data.labels.numpy(), groups_of(data, material.attribute))


def on_choice(subject: Subject, material: Material, reads: bool) -> Answers:
    """A model's answers to the training rows to choose on."""
    rows, known = material.choice, material.levels
    data = training(material.data(reads)).take(rows)
    scores = subject.predict(data.inputs).double().numpy()
    return Answers(scores, data.labels.numpy(), Levels(known.code[rows], known.names))


@dataclass(frozen=True, eq=False)
class Attack:
    """The attack that robustness is compared by.

    Attributes:
        norm: of the budget.
        eps: the budget.
        effort: of the attack.
        seed: of the attack.
        spaces: rows under attack, as a model that does not read the group is given them, and as one that does.
    """

    norm: str
    eps: float
    effort: str
    seed: int
    spaces: Mapping[bool, Space]

    @property
    def budget(self) -> str:
        """In words for an estimate's name."""
        return f"{self.norm}:{self.eps:.4g}"

    def stands(self, subject: Subject, wide: bool) -> NDArray[np.bool_]:
        """(n,) which rows are right and stay so."""
        return comparison.stands(self.spaces[wide], subject, self.norm, self.eps, self.effort, self.seed)
