"""Why these predictions: a few examples, by every method that applies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from audit import statistics
from audit.check import Check, Effort
from audit.subject import Modality
from reports.record import Bar, Bars, Cell, Estimate, Figure, Images, Measured, Panel, Table, TokenLine, Tokens

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from audit.checks.explain._attributions import Attributions
    from audit.datasets import Dataset
    from audit.subject import Subject

#: method -> name in the report
METHODS = {
    "kernel_shap": "SHAP",
    "lime": "LIME",
    "integrated_gradients": "integrated gradients",
    "attention_rollout": "attention rollout",
}


@dataclass(frozen=True)
class Local(Check):
    """Why these predictions.

    What it measures:
        For a few test examples, how much each feature, cell or word adds to the log-odds of the predicted class, by
        Shapley values (SHAP), by a local linear surrogate (LIME), by integrated gradients where the checkpoint gives
        gradients, and by attention rollout for attention models. The examples are chosen by rule: the most confident
        right and wrong predictions, the ones in the middle of each, and the least certain of all.
    Why it matters:
        A person who was refused, or a clinician who must sign, asks about one case. Wrong but confident predictions
        show best what misled the model.
    How to read it:
        Positive speaks for the predicted class, negative against it. Methods answer different questions, so trust what
        they agree on. LIME's R² says how well a straight line fits; below one half, its weights say little.
        Integrated gradients must add up to the change in score; the completeness error is what they miss. Rollout has
        no sign and knows no class: it shows what was mixed into the answer, not what decided it.

    References:
        Lundberg and Lee 2017; Ribeiro, Singh and Guestrin 2016; Sundararajan, Taly and Yan 2017; Abnar and Zuidema 2020.
    """

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
        from audit.checks.explain._attributions import attribute
        from audit.checks.explain._methods import applicable

        scores = subject.scores(data)
        chosen = _choose(scores.softmax(1).numpy(), data.labels.numpy())
        rows = np.array([row for _, row in chosen])
        sample = data.take(rows)
        targets = scores.argmax(1)[rows]
        background = (data if data.train is None else data.train).sample(self.background, rng)
        found = {
            method: attribute(method, subject, sample, targets, rng, background, self.evaluations)
            for method in METHODS
            if applicable(method, subject)
        }
        captions = [f"{why}: row {row}" for why, row in chosen]
        draw = {Modality.TABULAR: self._bars, Modality.IMAGE: _images, Modality.TEXT: _tokens}[subject.modality]
        estimates = _quality(found, rng)
        left_out = [name for method, name in METHODS.items() if method not in found]
        return Measured(
            estimates=estimates,
            headline=tuple(estimates),
            tables=(_table(chosen, scores, sample, targets, found["kernel_shap"]),),
            figures=draw(captions, sample, found),
            notes=(
                "Explained is the log-odds of the predicted class.",
                *([f"Not applicable to this checkpoint or kind of input: {', '.join(left_out)}."] if left_out else []),
            ),
        )

    def _bars(self, captions: list[str], sample: Dataset, found: Mapping[str, Attributions]) -> tuple[Figure, ...]:
        figures = []
        for i, caption in enumerate(captions):
            order = np.argsort(-np.abs(found["kernel_shap"].values[i]), kind="stable")[: self.top]
            bars = tuple(
                Bar(
                    label=_with_value(a.names[i][player], sample, i),
                    value=float(a.values[i][player]),
                    low=float(a.low[i][player]),
                    high=float(a.high[i][player]),
                    series=METHODS[method],
                )
                for player in order
                for method, a in found.items()
            )
            figures.append(
                Bars(title=caption, x_title="share of the log-odds of the predicted class", bars=bars, reference=0.0)
            )
        return tuple(figures)


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


def _with_value(name: str, sample: Dataset, row: int) -> str:
    """A table's feature with its value in the file, where the rows as read are at hand."""
    if sample.frame is None or name not in sample.frame.columns:
        return name
    value = sample.frame[name].iloc[row]
    return f"{name} = {value:g}" if isinstance(value, int | float | np.number) else f"{name} = {value}"


def _images(captions: list[str], sample: Dataset, found: Mapping[str, Attributions]) -> tuple[Figure, ...]:
    import torch

    from audit.checks.explain._pictures import of_cells, of_elements, png

    pictures = sample.inputs
    assert isinstance(pictures, torch.Tensor)
    low, high = sample.bounds or (float(pictures.min()), float(pictures.max()))
    height, width = pictures.shape[-2:]
    panels = []
    for i, caption in enumerate(captions):
        picture = png(pictures[i], low, high)
        panels.append(Panel(caption=caption, image=picture))
        for method, a in found.items():
            heat = of_cells(a.values[i], height, width) if a.elements is None else of_elements(a.elements[i])
            panels.append(Panel(caption=METHODS[method], image=picture, heat=heat))
    note = "Each heat map has its own scale. SHAP and LIME play grid cells, integrated gradients single pixels."
    return (Images(title="Explanations side by side", panels=tuple(panels), per_row=1 + len(found), note=note),)


def _tokens(captions: list[str], sample: Dataset, found: Mapping[str, Attributions]) -> tuple[Figure, ...]:
    figures = []
    for i, caption in enumerate(captions):
        lines = tuple(
            TokenLine(
                caption=METHODS[method], tokens=a.names[i], weights=tuple(round(float(v), 4) for v in a.values[i])
            )
            for method, a in found.items()
        )
        figures.append(Tokens(title=caption, lines=lines, note="Each line has its own scale."))
    return tuple(figures)
