"""Why these predictions: a few examples, by every method that applies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from audit import statistics
from audit.check import Check, Effort
from audit.explaining.methods import METHODS, methods_of
from audit.subject import Modality
from reports.record import Cell, Estimate, Measured, Table

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from audit.datasets import Dataset
    from audit.explaining.attributions import Attributions
    from audit.subject import Subject


@dataclass(frozen=True)
class Local(Check):
    """Why these predictions.

    What it measures:
        For a few test examples, how much each feature, cell or word adds to the log-odds of the predicted class, by
        Shapley values (SHAP), by a local linear surrogate (LIME), by methods that follow the gradients where the
        checkpoint gives them, and by attention rollout for attention models. Shapley values lead step by step from the
        log-odds without any feature to those of the example. The examples are chosen by rule: the most confident
        right and wrong predictions, the ones in the middle of each, and the least certain of all.
    Why it matters:
        A person who was refused, or a clinician who must sign, asks about one case. Wrong but confident predictions
        show best what misled the model.
    How to read it:
        Positive speaks for the predicted class, negative against it; some methods know only how much. Methods answer different questions, so trust what
        they agree on. LIME's R² says how well a straight line fits; below one half, its weights say little.
        Integrated gradients must add up to the change in score; the completeness error is what they miss, and a method
        that does not add up on this model is left out and says so. Rollout knows no class: it shows what was mixed into
        the answer, not what decided it.

    References:
        Lundberg and Lee 2017; Ribeiro, Singh and Guestrin 2016; Sundararajan, Taly and Yan 2017; Abnar and Zuidema 2020.
    """

    version: ClassVar[int] = 2
    efforts: ClassVar[Mapping[Effort, Mapping[str, Any]]] = {
        Effort.QUICK: {"evaluations": 1024, "background": 32},
        Effort.EXHAUSTIVE: {"evaluations": 8192, "background": 100},
    }

    #: coalitions asked for in each example
    evaluations: int = 2048
    #: training rows that stand for "removed" (tables)
    background: int = 64
    #: features shown of each example (tables)
    top: int = 8

    def run(self, subject: Subject, data: Dataset, rng: np.random.Generator) -> Measured:
        """See the class."""
        from audit.checks.explain import _shown
        from audit.explaining.attributions import attribute_each

        scores = subject.scores(data)
        chosen = _choose(scores.softmax(1).numpy(), data.labels.numpy())
        rows = np.array([row for _, row in chosen])
        sample = data.take(rows)
        targets = scores.argmax(1)[rows]
        background = (data if data.train is None else data.train).sample(self.background, rng)
        asked = [name for name in METHODS if name != "random"]
        found, refused = attribute_each(
            methods_of(subject, asked), subject, sample, targets, rng, background, self.evaluations
        )
        captions = [f"{why}: row {row}" for why, row in chosen]
        if subject.modality is Modality.TABULAR:
            figures = _shown.of_tables(captions, sample, found, self.top)
        elif subject.modality is Modality.IMAGE:
            figures = _shown.of_pictures(captions, sample, found)
        else:
            figures = _shown.of_texts(captions, sample, found)
        estimates = _quality(found, rng)
        return Measured(
            estimates=estimates,
            headline=tuple(estimates),
            tables=(_table(chosen, scores, sample, targets, found["kernel_shap"]),),
            figures=figures,
            notes=(
                "Explained is the log-odds of the predicted class.",
                *_left_out([name for name in asked if name not in found and name not in refused]),
                *(f"{METHODS[name].title}: {sentence}" for name, sentence in refused.items()),
            ),
        )


def _left_out(names: list[str]) -> list[str]:
    titles = ", ".join(METHODS[name].title for name in names)
    return [f"Not applicable to this checkpoint or kind of input: {titles}."] if names else []


def _choose(probability: NDArray[np.float64], labels: NDArray[np.int64]) -> list[tuple[str, int]]:
    """Rows by rule; a row is shown once, a rule without a row is left out."""
    predicted, confidence = probability.argmax(1), probability.max(1)
    two = np.sort(probability, axis=1)[:, -2:]
    right = np.flatnonzero(predicted == labels)
    wrong = np.flatnonzero(predicted != labels)
    picks: list[tuple[str, int]] = []
    for name, rows in (("right", right), ("wrong", wrong)):
        order = rows[np.argsort(-confidence[rows], kind="stable")]
        if len(order):
            picks.append((f"most confident {name}", int(order[0])))
            picks.append((f"typical {name}", int(order[len(order) // 2])))
    picks.append(("least certain", int((two[:, 1] - two[:, 0]).argmin())))
    first: dict[int, str] = {}
    for why, row in picks:
        first.setdefault(row, why)
    return [(why, row) for row, why in first.items()]


def _quality(found: Mapping[str, Attributions], rng: np.random.Generator) -> dict[str, Estimate]:
    """How far each method may be trusted on these examples."""
    shap, lime = found["kernel_shap"], found["lime"]
    widths = [
        float((high - low).mean() / 2 / np.abs(values).max())
        for low, high, values in zip(shap.low, shap.high, shap.values, strict=True)
        if np.abs(values).max(initial=0.0) > 0
    ]
    assert lime.fit is not None
    # bootstrapped, for both end at 0 or 1 and a symmetric interval would not
    estimates = {
        "shap_relative_half_width": statistics.bootstrap(_mean, np.array(widths), rng=rng, unit="fraction"),
        "lime_r2": statistics.bootstrap(_mean, lime.fit[np.isfinite(lime.fit)], rng=rng),
    }
    if "integrated_gradients" in found:
        error = found["integrated_gradients"].error
        assert error is not None
        estimates["completeness_error"] = statistics.exact(
            error.max(), len(error), "fraction", method="largest of these examples"
        )
    return estimates


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean())


def _table(
    chosen: list[tuple[str, int]], scores: Tensor, sample: Dataset, targets: Tensor, shap: Attributions
) -> Table:
    lines: list[tuple[Cell, ...]] = []
    for i, (why, row) in enumerate(chosen):
        target = int(targets[i])
        lines.append(
            (
                why,
                row,
                sample.classes[int(sample.labels[i])],
                sample.classes[target],
                round(float(scores[row].softmax(0)[target]), 4),
                round(float(shap.full[i]), 3),
                round(float(shap.base[i]), 3),
            )
        )
    columns = ("chosen as", "row", "truth", "predicted", "probability", "log-odds", "log-odds without the input")
    return Table(title="The examples", columns=columns, rows=tuple(lines))
