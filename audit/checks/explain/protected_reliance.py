"""How much the model relies on protected attributes that it is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from audit import statistics
from audit.check import Check, Effort
from audit.subject import Modality
from reports.record import Bar, Bars, Estimate, Measured, Table

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from audit.datasets import Dataset, Feature
    from audit.explaining.attributions import Attributions
    from audit.subject import Subject

    Floats = NDArray[np.float64]

UNIT = "log-odds"


@dataclass(frozen=True)
class ProtectedReliance(Check):
    """Reliance on protected attributes.

    What it measures:
        For each protected attribute among the features: its share of all Shapley magnitudes; how much it moves the
        log-odds of the favourable class in each group; and, as interventions, the share of answers that change and
        the change in accuracy when its values are shuffled among the rows while everything else stays, the
        share of people whose answer some other value would turn (flips), and of those whose score it would move at all.
        Whether the score moves with the group is tested against permutations of the groups.
    Why it matters:
        A model that uses a protected attribute treats people differently because of it, which many uses forbid, whether
        or not the groups end up with different rates.
    How to read it:
        The reliance is to be compared with an equal share of all features, the line in the picture. Answers that change
        under shuffling are people whose result hangs on the attribute alone; a row that is dealt its own value again
        cannot change, so the figure is a lower bound for attributes with a common value. If accuracy does not suffer, the
        attribute can be left out. The model is a fixed function: where no score moves (0 %), it does not use the attribute,
        and where one does, it does; the p-value says whether the move goes one way for a group. A reliance of 0 is no proof of fairness: other features can stand in for the
        attribute; the fairness section looks at the outcome.

    References:
        Lundberg and Lee 2017 (Shapley values); Breiman 2001, section 10, and Fisher et al. 2019 (shuffling).
    """

    modalities: ClassVar[frozenset[Modality]] = frozenset({Modality.TABULAR})
    version: ClassVar[int] = 3
    efforts: ClassVar[Mapping[Effort, Mapping[str, Any]]] = {
        Effort.QUICK: {
            "rows": 96,
            "evaluations": 256,
            "background": 16,
            "shuffles": 5,
            "resamples": 300,
            "people": 1000,
            "permutations": 199,
        },
        Effort.EXHAUSTIVE: {"rows": 512, "evaluations": 8192, "background": 64, "shuffles": 50},
    }

    #: examples explained
    rows: int = 256
    #: coalitions asked for in each example
    evaluations: int = 1024
    #: training rows that stand for "removed"
    background: int = 32
    #: times each attribute is shuffled
    shuffles: int = 10
    #: rows that get every value of an attribute
    people: int = 4000
    permutations: int = 999
    resamples: int = 1000
    #: rows below which groups are joined
    least: int = 20

    def unfit(self, subject: Subject, data: Dataset) -> str | None:
        """Needs a protected attribute among the features."""
        if not data.groups:
            return "no protected attribute is declared"
        if not _protected(data):
            return f"none of the protected attributes ({', '.join(data.groups)}) is among the model's features"
        return None

    def run(self, subject: Subject, data: Dataset, rng: np.random.Generator) -> Measured:
        """See the class."""
        import torch

        from audit.explaining.attributions import attribute

        sample = data.sample(self.rows, rng)
        source = data if data.train is None else data.train
        target = data.favourable
        targets = (
            subject.scores(sample).argmax(1)
            if target is None
            else torch.full((len(sample),), target, dtype=torch.int64)
        )
        found = attribute(
            "kernel_shap", subject, sample, targets, rng, source.sample(self.background, rng), self.evaluations
        )
        attributes = {feature.name: [feature] for feature in _protected(data)}
        if len(attributes) > 1:
            attributes["all together"] = _protected(data)
        names = [feature.name for feature in data.features]
        estimates: dict[str, Estimate] = {}
        rows, bars = [], []
        for name, features in attributes.items():
            players = [names.index(feature.name) for feature in features]
            share = self._share(found, players, rng)
            changed, lost = self._shuffled(subject, data, features, rng)
            flips, moved, p = self._given_every_value(subject, data, features, rng)
            estimates |= {
                f"reliance@{name}": share,
                f"answers_changed@{name}": changed,
                f"accuracy_change@{name}": lost,
                f"flips@{name}": flips,
                f"scores_moved@{name}": moved,
            }
            rows.append((name, share, changed, lost, flips, moved, p))
            if share.value is not None:
                bars.append(Bar(label=name, value=share.value, low=share.low, high=share.high))
        effects = _effects(found, sample, names)
        meant = "the predicted class" if target is None else f"{data.classes[target]!r}"
        shares = Bars(
            title="Share of what moves the answer",
            x_title="share of all Shapley magnitudes",
            bars=tuple(bars),
            reference=1 / len(names),
            percent=True,
            note=f"The line is an equal share of all {len(names)} features.",
        )
        groups = Bars(
            title="Effect of belonging to a group",
            x_title=f"mean Shapley value for {meant}, log-odds",
            bars=tuple(
                Bar(label=f"{attribute} = {group}", value=e.value, low=e.low, high=e.high, series=attribute)
                for attribute, group, e in effects
                if e.value is not None
            ),
            reference=0.0,
        )
        return Measured(
            estimates=estimates,
            headline=(*(f"reliance@{name}" for name in attributes), f"answers_changed@{list(attributes)[-1]}"),
            tables=(
                Table(
                    title="Reliance on each protected attribute",
                    columns=(
                        "attribute",
                        "share of Shapley magnitudes",
                        "answers changed",
                        "accuracy change",
                        "flips",
                        "scores moved",
                        "p",
                    ),
                    rows=tuple(rows),
                    note="Answers and accuracy when its values are shuffled among the rows; flips and moved scores when a "
                    "row gets every other value; p of the score's going with the group.",
                ),
                Table(
                    title="Effect of belonging to a group",
                    columns=("attribute", "group", f"mean Shapley value for {meant}"),
                    rows=tuple(effects),
                    note="In log-odds; fewer than two explained rows give no figure.",
                ),
            ),
            figures=tuple(figure for figure in (shares, groups) if figure.bars),
            notes=(
                f"Shapley values of {len(sample)} test rows, {found.evaluations} coalitions each; shuffled "
                f"{self.shuffles} times on all {len(data)}.",
            ),
        )

    def _share(self, found: Attributions, players: list[int], rng: np.random.Generator) -> Estimate:
        size = np.abs(np.stack(found.values))

        def share(own: Floats, total: Floats) -> float:
            return float(own.sum() / total.sum()) if total.sum() > 0 else float("nan")

        own, total = size[:, players].sum(1), size.sum(1)
        return statistics.bootstrap(share, own, total, rng=rng, replicates=self.resamples, unit="fraction")

    def _shuffled(
        self, subject: Subject, data: Dataset, features: list[Feature], rng: np.random.Generator
    ) -> tuple[Estimate, Estimate]:
        """Share of answers that change, and accuracy minus accuracy before, with these features shuffled together."""
        labels = data.labels.numpy()
        before = subject.scores(data).argmax(1).numpy()
        columns = [column for feature in features for column in feature.columns]
        changed, right = np.zeros(len(data)), np.zeros(len(data))
        for _ in range(self.shuffles):
            after = subject.predict(_dealt(data, columns, rng)).argmax(1).numpy()
            changed += after != before
            right += after == labels
        change = statistics.mean(right / self.shuffles - (before == labels), "fraction")
        return statistics.clustered_proportion(changed / self.shuffles, self.shuffles), change

    def _given_every_value(
        self, subject: Subject, data: Dataset, features: list[Feature], rng: np.random.Generator
    ) -> tuple[Estimate, Estimate, float | None]:
        """Share of rows whose answer some other value turns, or whose score it moves, and the p-value of the groups."""
        import torch

        from audit.checks.explain._carried import respond, tested
        from audit.datasets import FeatureKind
        from audit.fairness.attributes import VALUES, groups

        sample = data.sample(self.people, rng)
        assert isinstance(sample.inputs, torch.Tensor)
        feature = features[0]
        if len(features) > 1:
            columns = tuple(column for feature in features for column in feature.columns)
            if len(torch.unique(sample.inputs[:, list(columns)], dim=0)) > VALUES:
                many = statistics.undefined(
                    f"more than {VALUES} combinations of values", n=len(sample), unit="fraction"
                )
                return many, many, None
            feature = replace(feature, kind=FeatureKind.CATEGORICAL, columns=columns)
        targets = subject.scores(sample).argmax(1)
        targets = targets if data.favourable is None else torch.full_like(targets, data.favourable)
        found = respond(subject, sample, np.arange(len(sample)), targets, feature)
        moved = found.moves.any(1)
        p = None
        if len(features) == 1:
            people = groups(sample, least=self.least)[feature.name]
            if len(people.names) > 1:
                p = float(tested([found], people, self.permutations, 1, rng).p_carries.min())
        return (
            statistics.proportion(int(found.flips.sum()), len(sample)),
            statistics.proportion(int(moved.sum()), len(sample)),
            None if p is None else round(p, 4),
        )


def _protected(data: Dataset) -> list[Feature]:
    return [feature for feature in data.features if feature.name in data.groups]


def _dealt(data: Dataset, columns: list[int], rng: np.random.Generator) -> Tensor:
    """The inputs with these columns taken from other rows at random, together."""
    import torch

    assert isinstance(data.inputs, torch.Tensor)
    inputs = data.inputs.clone()
    inputs[:, columns] = data.inputs[torch.from_numpy(rng.permutation(len(data)))][:, columns]
    return inputs


def _effects(found: Attributions, sample: Dataset, names: list[str]) -> list[tuple[str, str, Estimate]]:
    """Mean Shapley value of each attribute in each of its groups; numbers of many values are cut at their quartiles."""
    from audit.fairness.attributes import groups

    values = np.stack(found.values)
    out = []
    for feature in _protected(sample):
        people = groups(sample)[feature.name]
        for code, group in enumerate(people.names):
            of_group = values[people.rows(code), names.index(feature.name)]
            out.append((feature.name, group, statistics.mean(of_group, UNIT)))
    return out
