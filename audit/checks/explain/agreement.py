"""Whether methods of explanation agree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from audit import statistics
from audit.check import Check, Effort
from audit.explaining.methods import METHODS, methods_of
from reports.record import Bar, Bars, Estimate, Measured, Table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from audit.datasets import Dataset
    from audit.subject import Subject

    Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Agreement(Check):
    """Agreement between the explanations.

    What it measures:
        For each pair of methods and the same examples: Spearman's rank correlation of the magnitudes they give to
        features, cells or words, and the share of the three most important that both name. The agreement is the mean
        correlation over all pairs.
    Why it matters:
        Methods that disagree cannot all describe the model. Whoever may choose the method then chooses the
        explanation.
    How to read it:
        1 is the same order, 0 is no relation. The top three overlap by chance too: by 3 of the number of features, which
        the table shows. Agreement is no proof of truth: methods can share a fault. Where they disagree, look at the
        faithfulness of each.

    References:
        Krishna et al. 2022 (the disagreement problem).
    """

    version: ClassVar[int] = 2
    efforts: ClassVar[Mapping[Effort, Mapping[str, Any]]] = {
        Effort.QUICK: {"rows": 64, "media": 16, "evaluations": 192, "background": 16},
        Effort.EXHAUSTIVE: {"rows": 512, "media": 128, "evaluations": 4096, "background": 64},
    }

    methods: tuple[str, ...] = ("kernel_shap", "lime", "integrated_gradients", "attention_rollout")
    #: examples of tables
    rows: int = 128
    #: examples of pictures and texts
    media: int = 32
    #: coalitions asked for in each example
    evaluations: int = 1024
    #: training rows that stand for "removed" (tables)
    background: int = 32

    def unfit(self, subject: Subject, data: Dataset) -> str | None:
        """Needs two methods."""
        found = methods_of(subject, self.methods)
        return None if len(found) > 1 else f"needs two methods of explanation, this checkpoint allows {len(found)}"

    def run(self, subject: Subject, data: Dataset, rng: np.random.Generator) -> Measured:
        """See the class."""
        from audit.explainers import quality
        from audit.explaining.examples import examples, mean_correlation, rank_correlation

        chosen = examples(subject, data, rng, self.rows, self.media, self.background)
        explained, refused = chosen.attribute_each(methods_of(subject, self.methods), rng, self.evaluations)
        values = {method: found.values for method, found in explained.items()}
        methods = list(values)
        if len(methods) < 2:
            one = statistics.undefined(f"needs two methods of explanation, {len(methods)} did not refuse this model")
            return Measured(estimates={"agreement": one}, headline=("agreement",), notes=tuple(refused.values()))
        chance = [min(3 / len(v), 1.0) if len(v) else np.nan for v in values[methods[0]]]
        estimates: dict[str, Estimate] = {}
        rows, of_pairs = [], []
        for a, b in combinations(methods, 2):
            both = list(zip(values[a], values[b], strict=True))
            order = np.array([rank_correlation(x, y) for x, y in both])
            top = np.array([float(quality.top_k_overlap(x, y, 3)) for x, y in both])
            of_pairs.append(order)
            pair = f"{a},{b}"
            estimates[f"agreement@{pair}"] = mean_correlation(order)
            estimates[f"top_3_agreement@{pair}"] = statistics.clustered_proportion(top[np.isfinite(top)], 3)
            by_chance = (
                f"{np.nanmean(np.where(np.isfinite(top), chance, np.nan)):.0%}" if np.isfinite(top).any() else ""
            )
            names = (METHODS[a].title, METHODS[b].title)
            rows.append((*names, estimates[f"agreement@{pair}"], estimates[f"top_3_agreement@{pair}"], by_chance))
        overall = np.ma.masked_invalid(np.stack(of_pairs)).mean(0).compressed()
        estimates = {"agreement": mean_correlation(overall), **estimates}
        bars = tuple(
            Bar(label=f"{first} and {second}", value=e.value, low=e.low, high=e.high)
            for first, second, e, _, _ in rows
            if e.value is not None
        )
        return Measured(
            estimates=estimates,
            headline=("agreement",),
            tables=(
                Table(
                    title="Agreement of each pair",
                    columns=("method", "and", "rank correlation", "overlap of the top three", "overlap by chance"),
                    rows=tuple(rows),
                ),
            ),
            figures=(Bars(title="Rank correlation of each pair", x_title="Spearman's correlation", bars=bars),)
            if bars
            else (),
            notes=(
                f"{len(chosen.rows)} test examples; left out where a method tells no players apart or there are too few "
                "(three to rank, four for the top three).",
                "Compared are magnitudes, because attention rollout has no sign.",
                *refused.values(),
            ),
        )
