"""Robust accuracy per protected group."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from audit.check import Check, Effort
from audit.subject import Capability, Modality
from reports.record import Bar, Bars, Cell, Estimate, Measured, Table

if TYPE_CHECKING:
    from audit.datasets import Dataset
    from audit.subject import Subject


@dataclass(frozen=True)
class Groups(Check):
    """Robust accuracy per protected group.

    What it measures:
        Accuracy of each protected group on its rows as they are, and under attack with one budget (linf), on a sample
        of equal size from each group; the largest difference between two groups of one attribute; and how far the
        rightly answered rows of each group lie from a wrong answer: the median of the smallest changes found.
    Why it matters:
        Two groups with equal accuracy can lie at different distances from the decision boundary. The closer group's
        answers turn on smaller changes: it is less protected against manipulation, and against noise.
    How to read it:
        The interval of the largest difference allows for having picked the two groups out of all pairs. If robust
        accuracies differ and clean ones do not, add data for the weaker group near its boundary, or train
        adversarially with group-wise weights.

    References:
        Nanda, Dooley, Singla, Feizi and Dickerson 2021 (robustness bias); Newcombe 1998 (interval of a difference).
    """

    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.INPUT_GRADIENT})
    modalities: ClassVar[frozenset[Modality]] = frozenset({Modality.TABULAR, Modality.IMAGE})
    version: ClassVar[int] = 2
    efforts: ClassVar[Mapping[Effort, Mapping[str, Any]]] = {
        Effort.QUICK: {"per_group": 120, "effort": "quick", "steps": 20},
        Effort.EXHAUSTIVE: {"per_group": 1000, "effort": "exhaustive", "steps": 100},
    }

    #: rows sampled from each group, or all it has
    per_group: int = 200
    #: budget for images, in input units
    eps_image: float = 4 / 255
    #: budget for tables, in standard deviations
    eps_table: float = 0.25
    #: how long `attacks.evaluate` tries
    effort: str = "standard"
    #: gradients the search for the smallest change of a row may take
    steps: int = 40

    def unfit(self, subject: Subject, data: Dataset) -> str | None:
        """See `Check.unfit`."""
        from audit.checks.robustness._space import unfit
        from audit.fairness.attributes import NO_GROUPS

        return unfit(data) if data.groups else NO_GROUPS

    def run(self, subject: Subject, data: Dataset, rng: np.random.Generator) -> Measured:
        """See the class."""
        from audit.checks.robustness._grid import draw_seed
        from audit.checks.robustness._space import fixed_columns, median_distance, space
        from audit.fairness.attributes import masks

        chosen = {
            key: np.sort(rng.choice(np.flatnonzero(mask), min(self.per_group, int(mask.sum())), replace=False))
            for key, mask in masks(data).items()
        }
        rows = np.unique(np.concatenate(list(chosen.values())))
        sample = data.take(rows)
        here = space(subject, data, sample)
        eps = self.eps_image if data.modality is Modality.IMAGE else self.eps_table
        seed = draw_seed(rng)
        found = here.evaluate(subject, "linf", eps, self.effort, seed)
        distance = here.minimal(subject, "linf", self.steps, seed)
        clean = found.clean_correct.cpu().numpy()
        robust = found.robust.cpu().numpy() & clean
        estimates: dict[str, Estimate] = {}
        lines: list[tuple[Cell, ...]] = []
        bars: list[Bar] = []
        for attribute in data.groups:
            # a group is judged on its own draw alone: rows drawn for another attribute would tilt it
            mine = {group: np.searchsorted(rows, at) for (name, group), at in chosen.items() if name == attribute}
            for quantity, hits in (("clean_accuracy", clean), ("robust_accuracy", robust)):
                rates, disparity = _rates(hits, mine)
                estimates |= {f"{quantity}@{attribute}={group}": rate for group, rate in rates.items()}
                estimates[f"{quantity}_difference@{attribute}"] = disparity
                bars += [
                    Bar(label=f"{attribute}: {group}", value=r.value, low=r.low, high=r.high, series=quantity[:-9])
                    for group, r in rates.items()
                    if r.value is not None
                ]
            for group, at in mine.items():
                name = f"median_distance@{attribute}={group}"
                estimates[name] = median_distance(distance[at][clean[at]], here.unit)
                cells = [
                    estimates[f"{quantity}@{attribute}={group}"]
                    for quantity in ("clean_accuracy", "robust_accuracy", "median_distance")
                ]
                lines.append((attribute, group, len(at), *cells))
        names = ", ".join(f.name for f in found.findings)
        return Measured(
            estimates=estimates,
            headline=tuple(f"robust_accuracy_difference@{attribute}" for attribute in data.groups),
            tables=(
                Table(
                    title=f"Accuracy per group, linf {eps:.4g}",
                    columns=("attribute", "group", "rows", "as given", "under attack", "median distance"),
                    rows=tuple(lines),
                ),
            ),
            figures=(
                Bars(
                    title=f"Accuracy per group, as given and under attack (linf {eps:.4g} {here.unit})",
                    x_title="accuracy",
                    bars=tuple(bars),
                    percent=True,
                ),
            ),
            notes=(
                f"At most {self.per_group} rows of each group, drawn by chance; the budget is {eps:.4g} {here.unit}.",
                *((fixed_columns(data),) if data.features else ()),
                *(
                    (f"The attack may have been blinded ({names}): robust accuracies are upper bounds.",)
                    if names
                    else ()
                ),
            ),
        )


def _rates(hits: NDArray[np.bool_], groups: Mapping[str, NDArray[np.intp]]) -> tuple[dict[str, Estimate], Estimate]:
    """Share of hits in each group, and the largest difference between two with its simultaneous interval."""
    from audit.fairness import Cube

    at = np.concatenate(list(groups.values()))
    names = np.repeat(np.array(list(groups), dtype=object), [len(rows) for rows in groups.values()])
    cube = Cube.count(np.ones(len(at), dtype=int), hits[at].astype(int), names, classes=(0, 1), positive=1)
    return {str(group): rate for group, rate in cube.rate("accuracy").items()}, cube.disparity("accuracy")
