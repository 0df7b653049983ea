"""Whether explanations depend on what the model has learned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from audit import statistics
from audit.check import Check, Effort
from audit.explaining.methods import METHODS, methods_of
from audit.subject import Capability
from reports.record import Curves, Estimate, Measured, Point, Table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from audit.datasets import Dataset
    from audit.explaining.attributions import Values
    from audit.explaining.examples import Examples
    from audit.subject import Subject


@dataclass(frozen=True)
class Sanity(Check):
    """Explanations of a model that has forgotten everything.

    What it measures:
        The weights of a copy of the model are replaced by random ones, from the head down to the input, and the same
        examples are explained for the same classes again. Another copy starts from random weights and is trained on labels
        in random order. Measured is the rank correlation of the magnitudes with the explanation of the trained model.
    Why it matters:
        An explanation that stays the same when the model has forgotten all it learned does not explain the model. It
        shows the input: its edges, its large values, its rare words.
    How to read it:
        Near 0, the explanation depends on the weights, as it should; near 1, it does not. Values in between are common
        where the method multiplies by the input, for a feature at its usual value then gets little under any weights.
        For random weights the interval is over draws of the weights, for random labels over the examples.

    References:
        Adebayo et al. 2018 (the test); Binder et al. 2023 (its limits: scale and noise alone lower the correlation).
    """

    version: ClassVar[int] = 3
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.TRAIN})
    efforts: ClassVar[Mapping[Effort, Mapping[str, Any]]] = {
        Effort.QUICK: {
            "methods": ("integrated_gradients", "attention_rollout"),
            "rows": 48,
            "media": 8,
            "evaluations": 32,
            "background": 16,
            "draws": 4,
            "learned": 128,
            "epochs": 4,
        },
        Effort.EXHAUSTIVE: {"rows": 256, "media": 64, "evaluations": 1024, "draws": 20, "stages": 6},
    }

    methods: tuple[str, ...] = ("kernel_shap", "integrated_gradients", "attention_rollout")
    #: examples of tables
    rows: int = 96
    #: examples of pictures and texts
    media: int = 12
    #: coalitions asked for in each example
    evaluations: int = 96
    #: training rows that stand for "removed" (tables)
    background: int = 16
    #: times the weights are drawn
    draws: int = 5
    #: steps from the head to the whole model
    stages: int = 3
    #: training rows whose labels are put in random order, and passes over them
    learned: int = 512
    epochs: int = 8

    def unfit(self, subject: Subject, data: Dataset) -> str | None:
        """Needs a method and weights."""
        if not methods_of(subject, self.methods):
            return f"none of {', '.join(self.methods)} applies to this checkpoint"
        return None if any(p.numel() > 1 for p in subject.model.parameters()) else "the model has no weights"

    def run(self, subject: Subject, data: Dataset, rng: np.random.Generator) -> Measured:
        """See the class."""
        from audit.explaining.examples import examples, mean_correlation

        chosen = examples(subject, data, rng, self.rows, self.media, self.background)
        explained, refused = chosen.attribute_each(
            methods_of(subject, self.methods), rng, self.evaluations, complete=False
        )
        original = {name: found.values for name, found in explained.items()}
        methods = list(original)
        found = [self._draw(chosen, original, rng) for _ in range(self.draws)]
        shares = list(found[0])
        by_share: dict[str, dict[float, Estimate]] = {}
        for method in methods:
            means = {share: np.array([of_draw[share][method] for of_draw in found]) for share in shares}
            by_share[method] = {share: mean_correlation(m) for share, m in means.items()}
        estimates = {f"correlation_with_random_weights@{method}": by_share[method][1.0] for method in methods}
        of_labels, said = self._relearn(chosen, data, original, rng)
        estimates |= {f"correlation_with_random_labels@{method}": of_labels[method] for method in methods}
        for (
            method,
            why,
        ) in refused.items():  # said, so that nobody takes a method that was not tested for one that passed
            nothing = statistics.undefined(f"{METHODS[method].title} refuses this model: {why}")
            estimates |= {f"correlation_with_random_{what}@{method}": nothing for what in ("weights", "labels")}
        points = [
            Point(x=share, y=e.value, low=e.low, high=e.high, series=METHODS[method].title)
            for method, of_method in by_share.items()
            for share, e in of_method.items()
            if e.value is not None
        ]
        return Measured(
            estimates=estimates,
            headline=tuple(estimates),
            tables=(
                Table(
                    title="Rank correlation with the explanation of the trained model",
                    columns=("layers made random, from the head", *(METHODS[m].title for m in methods)),
                    rows=(
                        *((f"{share:.0%}", *(by_share[m][share] for m in methods)) for share in shares),
                        ("trained on random labels", *(of_labels[m] for m in methods)),
                    ),
                ),
            ),
            figures=(
                Curves(
                    title="As the model forgets",
                    x_title="layers made random, from the head",
                    y_title="rank correlation",
                    points=tuple(points),
                    reference=0.0,
                    x_percent=True,
                ),
            )
            if points
            else (),
            notes=(
                f"{len(chosen.rows)} test examples, {self.draws} draws of the weights; the audited model is not touched.",
                "Weights are drawn with each tensor's own mean and deviation; tensors of one value stay as they are.",
                said,
            ),
        )

    def _draw(
        self, chosen: Examples, original: Mapping[str, Values], rng: np.random.Generator
    ) -> dict[float, dict[str, float]]:
        """Share of layers made random -> method -> mean correlation over the examples, for one draw."""
        from audit.explaining.copies import Copy

        copy = Copy(chosen.subject)
        number = len(copy.layers)
        ends = sorted({max(1, round(number * stage / self.stages)) for stage in range(1, self.stages + 1)})
        found: dict[float, dict[str, float]] = {}
        for layers in ends:
            forgetful = replace(chosen, subject=copy.randomise(layers, rng))
            each = self._correlations(forgetful, original, rng)
            of_methods = {m: float(np.nanmean(v)) if np.isfinite(v).any() else float("nan") for m, v in each.items()}
            found[layers / number] = of_methods
        return found

    def _relearn(
        self, chosen: Examples, data: Dataset, original: Mapping[str, Values], rng: np.random.Generator
    ) -> tuple[dict[str, Estimate], str]:
        """Correlation of each method with the explanation of a copy trained on random labels, and how far it got."""
        from audit.explaining.copies import Copy
        from audit.explaining.examples import mean_correlation

        rows = (data if data.train is None else data.train).sample(self.learned, rng)
        nonsense, share = Copy(chosen.subject).relearn(rows, self.epochs, rng)
        each = self._correlations(replace(chosen, subject=nonsense), original, rng)
        commonest = float(np.bincount(rows.labels.numpy()).max() / len(rows))
        return {name: mean_correlation(values) for name, values in each.items()}, (
            f"Of {len(rows)} labels in random order the copy learned {share:.0%} in {self.epochs} passes; always saying the "
            f"commonest would have got {commonest:.0%}."
        )

    def _correlations(
        self, other: Examples, original: Mapping[str, Values], rng: np.random.Generator
    ) -> dict[str, NDArray[np.float64]]:
        """Rank correlation of each example's explanation with the original one; NaN where the method refuses the copy."""
        from audit.explaining.examples import rank_correlation

        after, _ = other.attribute_each(original, rng, self.evaluations, complete=False)
        found = {}
        for name, before in original.items():
            pairs = zip(before, after[name].values, strict=True) if name in after else ()
            found[name] = np.array([rank_correlation(a, b) for a, b in pairs])
        return found
