"""What the model relies on over many examples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from audit import statistics
from audit.check import Check, Effort
from audit.subject import Modality
from reports.record import Bar, Bars, Estimate, Figure, Images, Measured, Panel, Table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from audit.datasets import Dataset
    from audit.explaining.attributions import Attributions
    from audit.subject import Subject

UNIT = "log-odds"


@dataclass(frozen=True)
class GlobalImportance(Check):
    """What the model relies on.

    What it measures:
        The mean magnitude of the Shapley values over many test examples, for each feature of a table, each cell of a
        grid over a picture, or each word of a text. A Shapley value says how much of the log-odds of the predicted
        class is due to the feature's being known rather than replaced by other rows (tables), a blur (pictures) or
        the mask token (texts). The features of one example always add up to its score minus the score without any.
    Why it matters:
        It shows whether the model leans on what people in the field would lean on, or on a by-product: an identifier,
        a watermark, a corner of the picture, an attribute it must not use.
    How to read it:
        An importance of 0.5 moves the log-odds of the predicted class by 0.5 on average, in either direction. The
        interval tells how much the mean would vary with other test examples. The relative error is
        the half width of the explainer's own intervals against the magnitudes of one example: where it nears 1, single
        values are mostly guesses, and more evaluations are due before you compare neighbours in the ranking. In the swarm
        of a table, a point is an example, and its colour tells whether the feature is low or high there: where the
        colours part, more of the feature moves the answer one way. Importance is not cause: a feature can stand in for
        another that it goes along with.

    References:
        Lundberg and Lee 2017 (Shapley values, kernel regression); Covert and Lee 2021 (paired sampling and intervals).
    """

    version: ClassVar[int] = 3
    efforts: ClassVar[Mapping[Effort, Mapping[str, Any]]] = {
        Effort.QUICK: {"rows": 64, "media": 32, "evaluations": 512, "background": 16},
        Effort.EXHAUSTIVE: {"rows": 512, "media": 256, "evaluations": 4096, "background": 64},
    }

    #: examples explained, of tables
    rows: int = 128
    #: examples explained, of pictures and texts, where each evaluation costs more
    media: int = 64
    #: coalitions asked for in each example
    evaluations: int = 1024
    #: training rows that stand for "removed" (tables)
    background: int = 32
    #: examples a word must stand in before it is ranked
    seen: int = 3
    #: features shown
    top: int = 20
    resamples: int = 1000

    def run(self, subject: Subject, data: Dataset, rng: np.random.Generator) -> Measured:
        """See the class."""
        from audit.checks.explain._shown import swarm
        from audit.explaining.attributions import attribute

        sample = data.sample(self.rows if subject.modality is Modality.TABULAR else self.media, rng)
        source = data if data.train is None else data.train
        background = source.sample(self.background, rng)
        targets = subject.scores(sample).argmax(1)
        found = attribute("kernel_shap", subject, sample, targets, rng, background, self.evaluations)
        names, size = _by_name(found)
        order = self._rank(subject, size)
        shown = order[: self.top]
        estimates = {
            f"importance@{names[i]}": statistics.bootstrap(
                _mean, size[:, i], rng=rng, replicates=self.resamples, unit=UNIT
            )
            for i in shown
        }
        estimates["share_of_top_3"] = statistics.bootstrap(
            _share, size[:, order[:3]].sum(1), size.sum(1), rng=rng, replicates=self.resamples, unit="fraction"
        )
        estimates["relative_error"] = statistics.mean(_relative_error(found), unit="fraction")
        gap = max(abs(b + v.sum() - f) for b, v, f in zip(found.base, found.values, found.full, strict=True))
        estimates["additivity_gap"] = statistics.exact(gap, len(sample), UNIT, method="largest of all examples")
        ranked = [(names[i], estimates[f"importance@{names[i]}"], int((size[:, i] != 0).sum())) for i in shown]
        title = {Modality.TABULAR: "feature", Modality.IMAGE: "cell", Modality.TEXT: "word"}[subject.modality]
        figures: tuple[Figure, ...] = (_bars(ranked, title),)
        if subject.modality is Modality.TABULAR:
            figures = (*figures, swarm(found, sample, targets.numpy(), order))
        if subject.modality is Modality.IMAGE:
            figures = (_maps(found, sample, targets.numpy()),)
        return Measured(
            estimates=estimates,
            headline=(*(f"importance@{names[i]}" for i in order[:1]), "share_of_top_3", "relative_error"),
            tables=(
                Table(
                    title=f"The {len(ranked)} most important",
                    columns=(title, "mean |Shapley value|", "examples with an effect"),
                    rows=tuple(ranked),
                    note="In units of log-odds of the predicted class.",
                ),
            ),
            figures=figures,
            notes=(
                f"{len(sample)} test examples, {found.evaluations} coalitions each"
                + (
                    f", over {len(background)} {background.split} rows."
                    if subject.modality is Modality.TABULAR
                    else "."
                ),
                "The magnitude of a value that is known only roughly is overstated; the relative error says how roughly.",
            ),
        )

    def _rank(self, subject: Subject, size: NDArray[np.float64]) -> NDArray[np.int64]:
        """Columns by importance; words of fewer than `seen` texts last, for one text is no pattern."""
        rare = (size != 0).sum(0) < self.seen
        if subject.modality is not Modality.TEXT:
            rare[:] = False
        return np.lexsort((-size.mean(0), rare))


def _by_name(found: Attributions) -> tuple[list[str], NDArray[np.float64]]:
    """Names of all players, and (n, names) magnitudes; a word that comes twice in a text counts with both."""
    column: dict[str, int] = {}
    for of_example in found.names:
        for name in of_example:
            column.setdefault(name, len(column))
    size = np.zeros((len(found.values), len(column)))
    for row, (of_example, values) in enumerate(zip(found.names, found.values, strict=True)):
        np.add.at(size[row], [column[name] for name in of_example], np.abs(values))
    return list(column), size


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean())


def _share(part: NDArray[np.float64], whole: NDArray[np.float64]) -> float:
    return float(part.sum() / whole.sum()) if whole.sum() > 0 else float("nan")


def _relative_error(found: Attributions) -> NDArray[np.float64]:
    """Half the interval's width over the magnitude, both added up over an example; examples without effect left out."""
    half = np.array([(high - low).sum() / 2 for low, high in zip(found.low, found.high, strict=True)])
    size = np.array([np.abs(values).sum() for values in found.values])
    return np.asarray(half[size > 0] / size[size > 0])


def _bars(ranked: list[tuple[str, Estimate, int]], title: str) -> Bars:
    return Bars(
        title=f"Mean importance of each {title}",
        x_title="mean |Shapley value|, log-odds of the predicted class",
        bars=tuple(
            Bar(label=name, value=e.value, low=e.low, high=e.high) for name, e, _ in ranked if e.value is not None
        ),
        note="Whiskers: 95 % bootstrap over test examples.",
    )


def _maps(found: Attributions, sample: Dataset, targets: NDArray[np.int64]) -> Images:
    """The mean magnitude over the mean picture, then the signed mean for each predicted class."""
    import torch

    from audit.explaining.pictures import of_cells, png

    pictures, values = sample.inputs, np.stack(found.values)
    assert isinstance(pictures, torch.Tensor)
    low, high = sample.bounds or (float(pictures.min()), float(pictures.max()))
    height, width = pictures.shape[-2:]

    def panel(caption: str, rows: NDArray[np.bool_], of_cell: NDArray[np.float64]) -> Panel:
        mean = pictures[torch.from_numpy(rows)].mean(0)
        return Panel(caption=caption, image=png(mean, low, high), heat=of_cells(of_cell, height, width))

    panels = [panel("all: magnitude", np.ones(len(values), dtype=np.bool_), np.abs(values).mean(0))]
    counts = np.bincount(targets, minlength=len(sample.classes))
    for index in np.argsort(-counts, kind="stable")[:9]:
        if counts[index]:
            rows = targets == index
            panels.append(panel(f"{sample.classes[index]} ({counts[index]})", rows, values[rows].mean(0)))
    return Images(
        title="Where the model looks, on average",
        panels=tuple(panels),
        note="Mean picture with mean Shapley values; by predicted class, positive cells speak for the class. "
        "Each panel has its own scale.",
    )
