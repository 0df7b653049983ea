"""Which concepts the model's inner layers hold, and which of them move its answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isnan
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from audit import statistics
from audit.check import Check, Effort
from audit.subject import Capability, Modality
from reports.record import Bar, Bars, Cell, Estimate, Matrix, MatrixRow, Measured, Table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from audit.datasets import Dataset
    from audit.explainers import Sensitivity
    from audit.subject import Subject

    Members = Mapping[str, NDArray[np.bool_]]


@dataclass(frozen=True)
class Concepts(Check):
    """Concept sensitivity.

    What it measures:
        For each concept and layer the share of rows whose log-odds rise when the layer moves towards the concept (the TCAV
        score), and by how much they change, to first order, from the mean of the rows without the concept to that of the
        rows with it. Concepts are read from the data: protected groups, and for tables the highest quarter of each number and
        the common categories. A permutation test compares each with random concepts, corrected over all of them.
    Why it matters:
        A model may not see an attribute and yet rebuild it inside. Concept sensitivity asks whether a layer holds the
        concept, whatever column or pixel it came from, and whether what follows uses it.
    How to read it:
        First the accuracy: a concept that the layer's activations do not tell is undefined there, which is good news for
        a concept that the model should not know; of forty that it does not hold, one or two pass by chance. Then the
        adjusted p: where it is large, a random set of rows would
        move the answer as much. Only then the share and the effect. Sensitivity to a concept that goes along with a
        legitimate one may come from the latter; the layer does not tell them apart.

    References:
        Kim et al. 2018 (TCAV); Haufe et al. 2014 (why means rather than a classifier's weights); Holm 1979.
    """

    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.HOOKS, Capability.INPUT_GRADIENT})
    modalities: ClassVar[frozenset[Modality]] = frozenset({Modality.TABULAR, Modality.IMAGE})
    efforts: ClassVar[Mapping[Effort, Mapping[str, Any]]] = {
        Effort.QUICK: {"examples": 300, "rows": 100, "depths": 1},
        Effort.EXHAUSTIVE: {"examples": 1500, "rows": 500, "depths": 5, "permutations": 4999},
    }

    #: training rows that show the concepts
    examples: int = 600
    #: test rows whose answers are differentiated
    rows: int = 200
    #: layers looked at, where none is named
    depths: int = 3
    #: names of layers; none: as many as `depths`, evenly deep
    layers: tuple[str, ...] = ()
    #: concepts at most: protected groups first, then numbers, then categories by how common they are
    most: int = 20
    #: fewest examples with a concept, and without it
    least: int = 20
    #: random concepts
    permutations: int = 1999

    def unfit(self, subject: Subject, data: Dataset) -> str | None:
        """Needs concepts."""
        if data.groups or data.features:
            return None
        return "the data name no concept: no protected group is declared, and there are no columns"

    def run(self, subject: Subject, data: Dataset, rng: np.random.Generator) -> Measured:
        """See the class."""
        import torch

        from audit.checks.explain._layers import LogOdds, hidden_layers
        from audit.explainers import concepts

        source = data if data.train is None else data.train
        shown, sample = source.sample(self.examples, rng), data.sample(self.rows, rng)
        members = dict(self._members(source, shown))
        seed = int(rng.integers(2**31))
        model = LogOdds(subject.model)
        assert isinstance(shown.inputs, torch.Tensor) and isinstance(sample.inputs, torch.Tensor)
        examples, inputs = shown.inputs.to(subject.device), sample.inputs.to(subject.device)
        names = list(self.layers) or hidden_layers(subject.model, inputs[:2], self.depths)
        reason = self._nothing(members, names)
        if reason:
            nothing = statistics.undefined(reason)
            return Measured(
                estimates={"concepts_there": nothing, "concepts_used": nothing}, headline=("concepts_used",)
            )
        targets = subject.scores(sample).argmax(1) if data.favourable is None else data.favourable
        found = concepts(
            model,
            [f"model.{name}" for name in names],
            {name: torch.from_numpy(member) for name, member in members.items()},
            examples,
            inputs,
            targets,
            permutations=self.permutations,
            seed=seed,
        )
        meant = "the predicted class" if data.favourable is None else f"{data.classes[data.favourable]!r}"
        sizes = {name: int(m.sum()) for name, m in members.items()}
        return _measured(found, sizes, len(shown), len(sample), meant, data.groups)

    def _nothing(self, members: Members, layers: list[str]) -> str | None:
        if not layers:
            return "the model has no hidden layer that runs once and returns floats"
        return None if members else f"no concept has {self.least} of the examples with it and as many without"

    def _members(self, source: Dataset, shown: Dataset) -> Iterator[tuple[str, NDArray[np.bool_]]]:
        """Concepts with enough examples, at most `most` of them."""
        left = self.most
        for name, member in _concepts(source, shown):
            if left and self.least <= int(member.sum()) <= len(member) - self.least:
                left -= 1
                yield name, member


def _concepts(source: Dataset, shown: Dataset) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Name -> which of the examples show it; thresholds come from all the rows that the examples were drawn from."""
    import torch

    from audit.datasets import FeatureKind
    from audit.fairness.attributes import masks

    rows_of = masks(shown)
    for (attribute, group), mask in rows_of.items():
        groups = [g for a, g in rows_of if a == attribute]
        if len(groups) != 2 or group == groups[0]:  # of two groups the second is the first turned round
            yield f"{attribute} = {group}", mask
    assert isinstance(source.inputs, torch.Tensor) and isinstance(shown.inputs, torch.Tensor)
    common = []
    for feature in source.features:
        if feature.name in source.groups:
            continue
        every, own = (rows[:, list(feature.columns)].double().numpy() for rows in (source.inputs, shown.inputs))
        if feature.kind is FeatureKind.NUMERIC:
            cut = float(np.quantile(every, 0.75))
            digits = max(0, 2 - int(np.floor(np.log10(feature.std))))
            words = f"{round(cut * feature.std + feature.mean, digits) + 0.0:.10g}"
            if cut > every.min():  # otherwise three quarters are at the lowest value
                yield f"{feature.name} at least {words}", own[:, 0] >= cut
            else:
                yield f"{feature.name} above {words}", own[:, 0] > cut
        else:
            some = list(zip(feature.categories, every.mean(0), own.T, strict=True))
            for category, share, held in some[:1] if len(some) == 2 else some:
                common.append((share, f"{feature.name} = {category}", held > 0.5))
    for _, name, held in sorted(common, key=lambda c: -c[0]):
        yield name, held


def _measured(
    found: list[Sensitivity],
    members: Mapping[str, int],
    examples: int,
    inputs: int,
    meant: str,
    groups: Mapping[str, Any],
) -> Measured:
    layers = list(dict.fromkeys(_layer(s) for s in found))
    deepest = [s for s in found if _layer(s) == layers[-1]]
    tested = [s for s in found if s.defined]
    estimates: dict[str, Estimate] = {
        "concepts_there": statistics.exact(sum(s.accuracy_low > 0.5 for s in deepest), len(deepest), "concepts"),
        "concepts_used": statistics.exact(sum(map(_used, deepest)), len(deepest), "concepts"),
    }
    rows: list[tuple[Cell, ...]] = []
    for s in found:
        accuracy, share, effect = _estimates(s, examples, inputs)
        if s in deepest:
            estimates |= {f"accuracy@{s.concept}": accuracy, f"share@{s.concept}": share, f"effect@{s.concept}": effect}
        p = None if isnan(s.adjusted) else round(s.adjusted, 4)
        rows.append((s.concept, _layer(s), members[s.concept], accuracy, share, effect, p))
    strongest = sorted((s for s in deepest if s.defined), key=lambda s: -abs(s.effect))
    figures: list[Bars | Matrix] = []
    if strongest:
        figures.append(
            Bars(
                title=f"Effect of each concept at layer {layers[-1]}",
                x_title=f"change of the log-odds of {meant}, from without the concept to with it",
                bars=tuple(
                    Bar(
                        label=s.concept,
                        value=s.effect,
                        low=s.effect_low,
                        high=s.effect_high,
                        series="used" if _used(s) else "as a random concept",
                    )
                    for s in strongest
                ),
                reference=0.0,
                note="A concept is used where its p, adjusted over all concepts and layers, is below 0.05.",
            )
        )
    if len(layers) > 1:
        held = {(s.concept, _layer(s)): s.accuracy for s in found}
        figures.append(
            Matrix(
                title="How well each layer tells each concept",
                columns=tuple(layers),
                rows=tuple(MatrixRow(label=c, values=tuple(held[c, layer] for layer in layers)) for c in members),
                percent=True,
                note="Balanced accuracy on held-out examples; 50 % is chance.",
            )
        )
    protected = [s for s in strongest if s.concept.split(" = ")[0] in groups]
    return Measured(
        estimates=estimates,
        headline=("concepts_there", "concepts_used", *(f"effect@{s.concept}" for s in (protected or strongest)[:1])),
        tables=(
            Table(
                title="Concepts",
                columns=(
                    "concept",
                    "layer",
                    "examples",
                    "accuracy",
                    "share that rises",
                    "effect, log-odds",
                    "adjusted p",
                ),
                rows=tuple(rows),
                note=f"For {meant}. No share where the layer does not tell the concept, or no answer moves.",
            ),
        ),
        figures=tuple(figures),
        notes=(
            f"{examples} examples of concepts and {inputs} explained rows; {len(tested)} of {len(found)} pairs of concept "
            f"and layer could be tested.",
        ),
    )


def _layer(s: Sensitivity) -> str:
    """The layer's name in the checkpoint."""
    return s.layer.removeprefix("model.")


def _used(s: Sensitivity) -> bool:
    return s.adjusted < 1 - statistics.LEVEL


def _estimates(s: Sensitivity, examples: int, inputs: int) -> tuple[Estimate, Estimate, Estimate]:
    """Accuracy, share and effect."""
    accuracy = Estimate(
        value=s.accuracy,
        low=s.accuracy_low,
        high=s.accuracy_high,
        n=examples,
        method="five folds, Wilson 95 %",
        unit="fraction",
    )
    if not s.defined:
        why = "the layer does not tell the concept" if s.accuracy_low <= 0.5 else "no answer moves with the layer"
        return accuracy, statistics.undefined(why, inputs, "fraction"), statistics.undefined(why, inputs, "log-odds")
    method = "bootstrap 95 % (400 resamples)"
    share = Estimate(value=s.share, low=s.low, high=s.high, n=inputs, method=method, unit="fraction")
    effect = Estimate(value=s.effect, low=s.effect_low, high=s.effect_high, n=inputs, method=method, unit="log-odds")
    return accuracy, share, effect
