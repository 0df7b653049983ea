"""Which examples the audits of explanations look at, and how two attributions of one example are compared."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from audit import statistics
from audit.explaining.attributions import Attributions, attribute, attribute_each
from audit.subject import Modality
from reports.record import Estimate

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from audit.datasets import Dataset
    from audit.subject import Subject


@dataclass(frozen=True)
class Examples:
    """Some rows of the data, the class explained for each (the predicted one), and what stands for "removed"."""

    subject: Subject
    rows: Dataset
    targets: Tensor
    background: Dataset

    def first(self, number: int) -> Examples:
        """The first of these examples."""
        if number >= len(self.rows):
            return self
        return replace(self, rows=self.rows.take(np.arange(number)), targets=self.targets[:number])

    def attribute(
        self, method: str, rng: np.random.Generator, evaluations: int, removal: str | None = None
    ) -> Attributions:
        """Attributions of these examples by one method."""
        return attribute(method, self.subject, self.rows, self.targets, rng, self.background, evaluations, removal)

    def attribute_each(
        self,
        methods: Iterable[str],
        rng: np.random.Generator,
        evaluations: int,
        removal: str | None = None,
        complete: bool = True,
    ) -> tuple[dict[str, Attributions], dict[str, str]]:
        """Attributions by several methods, and what those that refuse this model say."""
        return attribute_each(
            methods, self.subject, self.rows, self.targets, rng, self.background, evaluations, removal, complete
        )


def examples(
    subject: Subject, data: Dataset, rng: np.random.Generator, rows: int, media: int, background: int
) -> Examples:
    """A random sample.

    Args:
        subject: the model.
        data: the test split.
        rng: source of the sample.
        rows: examples of tables.
        media: examples of pictures and texts.
        background: training rows that stand for "removed" (tables).
    """
    sample = data.sample(rows if subject.modality is Modality.TABULAR else media, rng)
    source = data if data.train is None else data.train
    return Examples(subject, sample, subject.scores(sample).argmax(1), source.sample(background, rng))


def rank_correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Spearman's correlation of magnitudes, (players,) each; NaN where one is constant or there are fewer than three."""
    from audit.explainers import quality

    return float(quality.rank_correlation(a, b))


def mean_correlation(values: NDArray[np.float64]) -> Estimate:
    """Mean of correlations, those that are undefined left out; the interval stays within [-1, 1]."""
    found = statistics.mean(values[np.isfinite(values)])
    if found.low is None or found.high is None:
        return found
    return found.model_copy(update={"low": max(found.low, -1.0), "high": min(found.high, 1.0)})
