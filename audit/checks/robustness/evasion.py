"""Evasion: small changes that alter the answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from audit import statistics
from audit.check import Check, Effort
from audit.subject import Capability, Modality
from reports.record import Curves, Estimate, Figure, Measured, Table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from attacks.evaluate import Effort as AttackEffort
    from attacks.threat import Norm
    from audit.checks.robustness._space import Space
    from audit.checks.robustness._sweep import Sweep
    from audit.datasets import Dataset
    from audit.subject import Subject

NORMS = {"linf": "largest change of any element (linf)", "l2": "Euclidean size of the change (l2)"}


@dataclass(frozen=True)
class Evasion(Check):
    """Small changes that alter the answer.

    What it measures:
        Accuracy on test rows when an attacker who knows the model may change each of them by at most a budget, for
        several budgets and two norms, and the smallest change that breaks half of the rightly classified rows. Images
        stay within the range of a pixel, tables within what the training data hold; immutable and categorical columns
        never move. Gradient attacks come first, random search last, and every success is verified afresh.
    Why it matters:
        A model can be right on every test row and still turn on a change nobody sees. Whoever gains from a wrong
        answer will look for it, and a short distance to the boundary also means little room for honest errors.
    How to read it:
        Each figure is an upper bound: a better attack can only lower it. Read the curve from its left end, the
        accuracy without attack; where it falls steeply, the model is decided by changes of that size. If signs of a
        blinded attack were found, the robust accuracies are not to be trusted until they are explained. Adversarial
        training is the remedy that has stood; hiding gradients is none.

    References:
        Croce and Hein 2020 (ensembles of attacks); Athalye, Carlini and Wagner 2018 (blinded attacks); Szegedy et al.
        2014.
    """

    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.INPUT_GRADIENT})
    modalities: ClassVar[frozenset[Modality]] = frozenset({Modality.TABULAR, Modality.IMAGE})
    efforts: ClassVar[Mapping[Effort, Mapping[str, Any]]] = {
        Effort.QUICK: {"rows": 48, "effort": "quick"},
        Effort.EXHAUSTIVE: {"rows": 1000, "effort": "exhaustive"},
    }

    #: test rows attacked
    rows: int = 200
    #: budgets for images, in input units
    linf_image: tuple[float, ...] = (1 / 255, 2 / 255, 4 / 255, 8 / 255)
    l2_image: tuple[float, ...] = (0.1, 0.25, 0.5, 1.0)
    #: budgets for tables, in standard deviations
    linf_table: tuple[float, ...] = (0.05, 0.1, 0.25, 0.5)
    l2_table: tuple[float, ...] = (0.1, 0.25, 0.5, 1.0)
    #: how long `attacks.evaluate` tries
    effort: str = "standard"
    #: examples shown
    shown: int = 4

    def unfit(self, subject: Subject, data: Dataset) -> str | None:
        """See `Check.unfit`."""
        from audit.checks.robustness._space import unfit

        return unfit(data)

    def run(self, subject: Subject, data: Dataset, rng: np.random.Generator) -> Measured:
        """See the class."""
        from audit.checks.robustness._grid import draw_seed
        from audit.checks.robustness._space import fixed_columns, space
        from audit.checks.robustness._sweep import sweep

        sample = data.sample(self.rows, rng)
        here = space(subject, data, sample)
        image = data.modality is Modality.IMAGE
        effort: AttackEffort = self.effort  # type: ignore[assignment]  # a plan's string; evaluate refuses unknown ones
        budgets: dict[Norm, tuple[float, ...]] = {
            "linf": self.linf_image if image else self.linf_table,
            "l2": self.l2_image if image else self.l2_table,
        }
        seed = draw_seed(rng)
        sweeps = {norm: sweep(subject, here, norm, eps, effort, seed) for norm, eps in budgets.items()}
        estimates: dict[str, Estimate] = {}
        figures: list[Figure] = []
        for norm, found in sweeps.items():
            mine = _estimates(norm, found, here.unit)
            estimates |= mine
            figures.append(_curve(norm, found, here))
        chosen = [f"robust_accuracy@{norm}:{sorted(eps)[len(eps) // 2]:.4g}" for norm, eps in budgets.items() if eps]
        tables, pictures = self._examples(subject, sample, here, sweeps["linf"])
        notes = [
            f"{len(sample)} of {len(data)} test rows. Budgets and distances are in {here.unit}.",
            f"Forward and backward passes of single rows: {sum(s.passes for s in sweeps.values()):,}.",
            *((fixed_columns(data),) if data.features else ()),
        ]
        for norm, found in sweeps.items():
            notes += [
                f"{norm}, a sign of a blinded attack: {name}. {advice}" for name, advice in found.findings.items()
            ]
        if not any(found.findings for found in sweeps.values()):
            notes.append("No sign of a blinded attack was found.")
        return Measured(
            estimates=estimates,
            headline=(
                "clean_accuracy",
                *chosen,
                "median_distance@l2",
                "untrusted_findings@linf",
                "untrusted_findings@l2",
            ),
            tables=tuple(tables),
            figures=(*figures, *pictures),
            notes=tuple(notes),
        )

    def _examples(
        self, subject: Subject, sample: Dataset, here: Space, found: Sweep
    ) -> tuple[list[Table], list[Figure]]:
        """Examples that the smallest sufficient linf budget broke."""
        from audit.checks.robustness._examples import as_pictures, as_rows

        fallen = (
            np.flatnonzero(found.clean & (found.distance <= found.eps[-1])) if found.eps else np.array([], dtype=int)
        )
        order = fallen[np.argsort(found.distance[fallen], kind="stable")][: self.shown]
        if not len(order):
            return [], []
        clean, adversarial = here.inputs[order], found.adversarial[order]
        if sample.modality is Modality.IMAGE:
            title = "Images that fell first (linf)"
            return [], [as_pictures(subject, sample, clean, adversarial, title)]
        title = "Rows that fell first (linf)"
        return ([as_rows(subject, sample, clean, adversarial, title)] if sample.features else []), []


def _estimates(norm: str, found: Sweep, unit: str) -> dict[str, Estimate]:
    n = len(found.clean)
    out = {"clean_accuracy": statistics.proportion(int(found.clean.sum()), n)}
    for eps, robust in zip(found.eps, found.robust, strict=True):
        out[f"robust_accuracy@{norm}:{eps:.4g}"] = statistics.proportion(int(robust.sum()), n)
    out[f"median_distance@{norm}"] = _median(found.distance[found.clean], unit)
    out[f"untrusted_findings@{norm}"] = statistics.exact(len(found.findings), n)
    return out


def _median(distance: NDArray[np.float64], unit: str) -> Estimate:
    """Median distance, infinite ones included; undefined where its interval reaches them."""
    # a number beyond all others keeps the ranks, which are all that a median and its interval use
    beyond = 1e300
    estimate = statistics.quantile(np.where(np.isfinite(distance), distance, beyond), 0.5, unit=unit)
    if estimate.high is not None and estimate.high >= beyond / 4:
        return statistics.undefined("no change was found for too many of the rows", n=len(distance), unit=unit)
    return estimate


def _curve(norm: str, found: Sweep, here: Space) -> Curves:
    from audit.checks.robustness._grid import point

    n = len(found.clean)
    counts = [int(found.clean.sum()), *(int(robust.sum()) for robust in found.robust)]
    estimates = [statistics.proportion(count, n) for count in counts]
    return Curves(
        title=f"Accuracy under attack, {norm}",
        x_title=f"{NORMS[norm]}, in {here.unit}",
        y_title="accuracy",
        points=tuple(point(x, e) for x, e in zip((0.0, *found.eps), estimates, strict=True) if e.value is not None),
        y_percent=True,
        note="At 0 the accuracy without attack. The band is the interval of each point alone.",
    )
