"""Whether like people get like answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from audit import statistics
from audit.check import Check, Effort
from audit.checks.fairness._bounded import drawn
from audit.checks.fairness._groups import told, withheld
from audit.fairness.attributes import positive
from audit.subject import Modality
from reports.record import Bar, Bars, Cell, Estimate, Measured, Table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from audit.datasets import Dataset
    from audit.fairness.attributes import Levels
    from audit.fairness.individuals.benefits import Unevenness
    from audit.fairness.individuals.likeness import Neighbours
    from audit.subject import Subject

    Floats = NDArray[np.float64]

#: pairs drawn to find how far apart two people usually are
PAIRS = 10_000


@dataclass(frozen=True)
class Individual(Check):
    """Like people, like answers.

    What it measures:
        People are compared by the model's inputs without the protected attributes (numbers in deviations, categories 0
        or 1). Consistency: 1 less the mean distance of an answer from the mean answer of the nearest people. Lipschitz
        violations: the share of near pairs whose favourable probabilities lie further apart than the people do, where the
        distance of two usual people allows all the way from 0 to 1. Unevenness: the generalised entropy of benefits
        (answer less truth plus 1), and its share that lies between groups. Each beside what chance gives.
    Why it matters:
        Groups can be treated equally on average while two people who differ in nothing that counts are not. Unequal
        benefits hurt the ones who are wrongly refused, whichever group they are in.
    How to read it:
        Consistency near that of shuffled answers says that the answers have nothing to do with who is alike. A lower
        consistency in one group says that its members are treated more like in a lottery. Whether near means alike is a
        judgement about the inputs: scale and choice of columns decide. The share of the entropy between groups is
        never 0 by chance; compare it with that of random groups of the same sizes.

    References:
        Dwork et al. 2012; Zemel et al. 2013 (consistency); John, Vijaykeerthy and Saha 2020 (local Lipschitz bias);
        Speicher et al. 2018 (generalised entropy); Efron and Stein 1981 (jackknife).
    """

    modalities: ClassVar[frozenset[Modality]] = frozenset({Modality.TABULAR})
    efforts: ClassVar[Mapping[Effort, Mapping[str, Any]]] = {
        Effort.QUICK: {"people": 1000, "pool": 10_000, "each": 200, "shuffles": 49, "replicates": 500},
        Effort.EXHAUSTIVE: {"people": 100_000, "pool": 100_000, "shuffles": 999},
    }

    #: neighbours of a person
    neighbours: int = 5
    #: people whose neighbours are looked up
    people: int = 4000
    #: rows that may be neighbours
    pool: int = 20_000
    #: members of each group whose neighbours are looked up
    each: int = 500
    shuffles: int = 199
    replicates: int = 1000
    #: rows below which groups are joined
    least: int = 20

    def unfit(self, subject: Subject, data: Dataset) -> str | None:
        """Needs an input that is no protected attribute, and enough rows."""
        if not data.features:
            return "needs named features to say who is alike"
        if all(feature.name in data.groups for feature in data.features):
            return "every input is a protected attribute: all people are alike without them"
        if len(data) < self.neighbours + 2:
            return f"needs at least {self.neighbours + 2} rows for {self.neighbours} neighbours, found {len(data)}"
        return None

    def run(self, subject: Subject, data: Dataset, rng: np.random.Generator) -> Measured:
        """See the class."""
        from audit.fairness.individuals.benefits import unevenness
        from audit.fairness.individuals.likeness import by_chance, consistency, neighbours, violations

        at = positive(data)
        _, pool, parts = drawn(data, self.pool, self.least, rng)
        probability = subject.scores(pool).double().softmax(1)[:, at].numpy()
        favoured = (subject.scores(pool).argmax(1).numpy() == at).astype(np.float64)
        vectors = _vectors(pool)
        asked = np.sort(rng.choice(len(pool), min(self.people, len(pool)), replace=False))
        found = neighbours(vectors, self.neighbours, asked)
        scale = _usual_distance(vectors, rng)
        estimates: dict[str, Estimate] = {}
        lines: list[tuple[Cell, ...]] = []
        words = {"consistency": "consistency of answers", "consistency_of_scores": "consistency of scores"}
        for name, values in (("consistency", favoured), ("consistency_of_scores", probability)):
            chance, p = by_chance(partial(consistency, found), values, self.shuffles, rng)
            estimates |= {name: consistency(found, values), f"{name}_by_chance": chance}
            lines.append((words[name], estimates[name], chance, told(p)))
        if scale > 0:
            estimates["lipschitz_violations"] = violations(found, probability, scale)
            chance, _ = by_chance(lambda v: violations(found, v, scale), probability, self.shuffles, rng)
        else:
            estimates["lipschitz_violations"] = chance = statistics.undefined(
                "all people are alike", n=len(asked), unit="fraction"
            )
        estimates["lipschitz_violations_by_chance"] = chance
        lines.append(("Lipschitz violations", estimates["lipschitz_violations"], chance, None))
        codes = {name: part.code for name, part in parts.items()}
        uneven = unevenness(favoured, pool.labels.numpy() == at, codes, rng, self.replicates)
        estimates |= self._uneven(uneven, lines)
        estimates |= (of_groups := self._by_group(vectors, favoured, parts, rng))
        return Measured(
            estimates=estimates,
            headline=("consistency", "lipschitz_violations"),
            tables=(
                Table(
                    title="Like treatment of like people",
                    columns=("what", "measured", "by chance", "p"),
                    rows=tuple(lines),
                    note="By chance: answers and scores shuffled among people, answers without regard to the truth, people "
                    "in groups of the same sizes at random. The p-value asks whether shuffled answers are as consistent.",
                ),
            ),
            figures=_figures(of_groups, estimates["consistency"]),
            notes=self._notes(data, pool, found, probability, scale),
        )

    def _by_group(
        self, vectors: Floats, favoured: Floats, parts: Mapping[str, Levels], rng: np.random.Generator
    ) -> dict[str, Estimate]:
        """The consistency of every group's members, of whichever group their neighbours are."""
        from audit.fairness.individuals.likeness import consistency, neighbours

        members: dict[str, NDArray[np.int64]] = {}
        for attribute, part in parts.items():
            for group, label in enumerate(part.names):
                rows = np.flatnonzero(part.code == group)
                members[f"{attribute}={label}"] = rng.choice(rows, min(self.each, len(rows)), replace=False)
        if not members:
            return {}
        found = neighbours(vectors, self.neighbours, np.unique(np.concatenate(list(members.values()))))
        return {
            f"consistency@{at}": consistency(found, favoured, np.isin(found.rows, own)) for at, own in members.items()
        }

    def _uneven(self, found: Unevenness, lines: list[tuple[Cell, ...]]) -> dict[str, Estimate]:
        estimates = {
            "theil_index": found.theil,
            "generalised_entropy": found.entropy,
            "generalised_entropy_by_chance": found.independent,
        }
        lines.append(("generalised entropy of benefits", found.entropy, found.independent, None))
        for name, share in found.shares.items():
            estimates |= {f"between_share@{name}": share, f"between_share_by_chance@{name}": found.chance[name]}
            lines.append((f"share of it between groups of {name}", share, found.chance[name], None))
        return estimates

    def _notes(
        self, data: Dataset, pool: Dataset, found: Neighbours, probability: Floats, scale: float
    ) -> tuple[str, ...]:
        removed = [feature.name for feature in data.features if feature.name in data.groups]
        left_out = f"without {', '.join(removed)}" if removed else "none of which is a protected attribute"
        twins = found.distance[:, : found.k] == 0
        apart = np.abs(probability[found.rows][:, None] - probability[found.near[:, : found.k]])[twins]
        alike = (
            f" Of the near pairs {int(twins.sum())} are equal in all of that; their probabilities differ by "
            f"{apart.mean():.3g} on average, by {apart.max():.3g} at most."
            if apart.size
            else ""
        )
        return (
            f"The {found.k} nearest of {len(pool):,} test rows to each of {len(found.rows):,}, by all inputs, {left_out}.{alike}",
            f"Two usual people are {scale:.3g} apart (the median of random pairs); the favourable class is "
            f"{data.classes[positive(data)]!r}.",
            *withheld(data),
        )


def _vectors(data: Dataset) -> Floats:
    """The inputs without the protected attributes: numbers as the data at hand standardise them, categories as 0 or 1."""
    from audit.datasets import FeatureKind

    inputs = np.asarray(data.inputs, dtype=np.float64)
    blocks = []
    for feature in data.features:
        if feature.name in data.groups:
            continue
        own = inputs[:, list(feature.columns)]
        if feature.kind is FeatureKind.NUMERIC:
            spread = own.std(0)
            own = (own - own.mean(0)) / np.where(spread > 0, spread, 1.0)
        blocks.append(own)
    return np.concatenate(blocks, axis=1)


def _usual_distance(vectors: Floats, rng: np.random.Generator) -> float:
    one, other = rng.integers(0, len(vectors), (2, PAIRS))
    apart = one != other
    return float(np.median(np.sqrt(((vectors[one[apart]] - vectors[other[apart]]) ** 2).sum(1))))


def _figures(of_groups: Mapping[str, Estimate], whole: Estimate) -> tuple[Bars, ...]:
    bars = []
    for name, e in of_groups.items():
        attribute, _, group = name.partition("@")[2].partition("=")
        if e.value is not None:
            label = f"{attribute} = {group}"
            bars.append(Bar(label=label, value=e.value, low=e.low, high=e.high, series=attribute))
    figure = Bars(
        title="Consistency of answers by group",
        x_title="1 less the mean distance from the neighbours' answers",
        bars=tuple(bars),
        reference=whole.value,
        percent=True,
        note="The line is the consistency of all. Neighbours may be of any group.",
    )
    return (figure,) if bars else ()
