"""Evasion: small changes that alter the answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from audit import statistics
from audit.check import Check, Effort
from audit.subject import Capability, Modality
from reports.record import Cell, Curves, Estimate, Figure, Measured, Table

if TYPE_CHECKING:
    from attacks import Curve, Norm
    from audit.checks.robustness._space import Space
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
        never move. Gradient attacks come first, random search last, and every success is verified afresh. A control
        plants adversarial changes that exist by construction and counts how many the attack finds; where gradients
        look blinded, attacks that see scores or answers only are run as well.
    Why it matters:
        A model can be right on every test row and still turn on a change nobody sees. Whoever gains from a wrong
        answer will look for it, and a short distance to the boundary also means little room for honest errors.
    How to read it:
        Each figure is an upper bound: a better attack can only lower it. Read the curve from its left end, the
        accuracy without attack; where it falls steeply, the model is decided by changes of that size. If signs of a
        blinded attack were found, or the control's hit rate is low, the robust accuracies are not to be trusted until
        that is explained. Adversarial
        training is the remedy that has stood; hiding gradients is none.

    References:
        Croce and Hein 2020 (ensembles of attacks); Athalye, Carlini and Wagner 2018 (blinded attacks); Zimmermann,
        Brendel, Tramer and Carlini 2022 (tests of attacks by planted solutions); Szegedy et al. 2014.
    """

    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.INPUT_GRADIENT})
    modalities: ClassVar[frozenset[Modality]] = frozenset({Modality.TABULAR, Modality.IMAGE})
    version: ClassVar[int] = 2
    efforts: ClassVar[Mapping[Effort, Mapping[str, Any]]] = {
        Effort.QUICK: {"rows": 120, "effort": "quick"},
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

        return unfit(data) if self._budgets(data) else "no budget is given"

    def _budgets(self, data: Dataset) -> dict[Norm, tuple[float, ...]]:
        """Norm -> budgets, rising."""
        image = data.modality is Modality.IMAGE
        given: dict[Norm, tuple[float, ...]] = {
            "linf": self.linf_image if image else self.linf_table,
            "l2": self.l2_image if image else self.l2_table,
        }
        return {norm: tuple(sorted(set(eps))) for norm, eps in given.items() if eps}

    def run(self, subject: Subject, data: Dataset, rng: np.random.Generator) -> Measured:
        """See the class."""
        from audit.checks.robustness._grid import draw_seed
        from audit.checks.robustness._space import fixed_columns, space

        sample = data.sample(self.rows, rng)
        here = space(subject, data, sample)
        seed = draw_seed(rng)
        curves = {norm: here.curve(subject, norm, eps, self.effort, seed) for norm, eps in self._budgets(data).items()}
        estimates: dict[str, Estimate] = {}
        headline = ["clean_accuracy"]
        for norm, found in curves.items():
            estimates |= _estimates(norm, found, here.unit)
            middle = found.epsilons[len(found.epsilons) // 2]
            headline += [
                f"robust_accuracy@{norm}:{middle:.4g}",
                f"median_distance@{norm}",
                f"untrusted_findings@{norm}",
                f"control_hit_rate@{norm}",
            ]
        tables, pictures = self._examples(subject, sample, here, *next(iter(curves.items())))
        notes = [
            f"{len(sample)} of {len(data)} test rows. Budgets and distances are in {here.unit}.",
            f"Forward and backward passes of single rows: {sum(c.forwards + c.backwards for c in curves.values()):,}.",
            *((fixed_columns(data),) if data.features else ()),
        ]
        notes += [
            f"{norm}, signs of a blinded attack: {', '.join(sign.name.replace('_', ' ') for sign in found.findings)}."
            for norm, found in curves.items()
            if found.findings
        ]
        if all(found.trustworthy for found in curves.values()):
            notes.append("No sign of a blinded attack was found.")
        return Measured(
            estimates=estimates,
            headline=tuple(headline),
            tables=(_trust(curves, estimates), *tables),
            figures=(*(_curve(norm, found, here.unit) for norm, found in curves.items()), *pictures),
            notes=tuple(notes),
        )

    def _examples(
        self, subject: Subject, sample: Dataset, here: Space, norm: Norm, found: Curve
    ) -> tuple[list[Table], list[Figure]]:
        """The rows that the smallest changes broke."""
        from audit.checks.robustness._examples import as_pictures, as_rows

        distance = found.distance.cpu().numpy()
        fallen = np.flatnonzero((distance > 0) & (distance <= found.epsilons[-1]))
        order = fallen[np.argsort(distance[fallen], kind="stable")][: self.shown]
        if not len(order):
            return [], []
        clean, adversarial = here.inputs[order], found.adversarial[order]
        if sample.modality is Modality.IMAGE:
            title = f"Images that fell first ({norm})"
            return [], [as_pictures(subject, sample, clean, adversarial, title)]
        title = f"Rows that fell first ({norm})"
        return ([as_rows(subject, sample, clean, adversarial, title)] if sample.features else []), []


def _estimates(norm: str, found: Curve, unit: str) -> dict[str, Estimate]:
    from audit.checks.robustness._space import median_distance

    n = len(found.clean_correct)
    out = {"clean_accuracy": statistics.proportion(int(found.clean_correct.sum()), n)}
    for eps, robust in zip(found.epsilons, found.robust.T, strict=True):
        out[f"robust_accuracy@{norm}:{eps:.4g}"] = statistics.proportion(int(robust.sum()), n)
    out[f"median_distance@{norm}"] = median_distance(found.distance[found.clean_correct].cpu().numpy(), unit)
    out[f"untrusted_findings@{norm}"] = statistics.exact(len(found.findings), n)
    out[f"control_hit_rate@{norm}"] = (
        statistics.proportion(found.control.hits, found.control.planted)
        if found.control.planted
        else statistics.undefined("no adversarial change could be planted", unit="fraction")
    )
    return out


def _trust(curves: Mapping[Norm, Curve], estimates: Mapping[str, Estimate]) -> Table:
    """The control's hit rate and every sign of a blinded attack, a line each."""
    lines: list[tuple[Cell, ...]] = []
    for norm, found in curves.items():
        control = estimates[f"control_hit_rate@{norm}"]
        lines.append((norm, "control: found", control, "planted points", "The attack on a task with a known answer."))
        lines += [
            (norm, sign.name.replace("_", " "), round(sign.measurement, 3), sign.of, sign.advice)
            for sign in found.findings
        ]
        if not found.findings:
            lines.append((norm, "no sign of a blinded attack", None, "", ""))
    return Table(
        title="Can these numbers be trusted?",
        columns=("norm", "sign", "share", "of", "what it means, what to do"),
        rows=tuple(lines),
        note="The control is to find almost everything that was planted; any other line is a reason for doubt.",
    )


def _curve(norm: str, found: Curve, unit: str) -> Curves:
    from audit.checks.robustness._grid import point

    n = len(found.clean_correct)
    counts = [int(found.clean_correct.sum()), *(int(robust.sum()) for robust in found.robust.T)]
    estimates = [statistics.proportion(count, n) for count in counts]
    return Curves(
        title=f"Accuracy under attack, {norm}",
        x_title=f"{NORMS[norm]}, in {unit}",
        y_title="accuracy",
        points=tuple(
            point(x, e) for x, e in zip((0.0, *found.epsilons), estimates, strict=True) if e.value is not None
        ),
        y_percent=True,
        note="At 0 the accuracy without attack. The band is the interval of each point alone.",
    )
