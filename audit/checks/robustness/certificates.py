"""Certificates: rows that no attack within a budget can turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from audit import statistics
from audit.check import Check, Effort
from audit.subject import Capability, Modality
from reports.record import Cell, Curves, Estimate, Measured, Point, Table

if TYPE_CHECKING:
    from attacks import Certificate, Curve
    from audit.checks.robustness._space import Space
    from audit.datasets import Dataset
    from audit.subject import Subject

    Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Certificates(Check):
    """Rows that no attack within a budget can turn.

    What it measures:
        A lower bound of robust accuracy beside the upper bound that attacks give, on the same test rows and for the
        same budgets (linf). A row is certified where bounds on the model's scores over every allowed change prove that
        its right answer stays; rows neither certified nor broken are undecided. Apart from that, the accuracy and the
        certified Euclidean radius of the smoothed model, which answers by vote under normal noise.
    Why it matters:
        An attack that fails proves nothing: a better one may succeed. A certificate ends the search. The width between
        the two bounds says how well the robustness of this model is known.
    How to read it:
        The true robust accuracy of these rows lies between certified and attacked. On a model not trained to be
        certified the bounds are loose, and undecided rows say more about the method than about the model. A row both
        certified and broken would be an error, of an attack or of a bound, and fails this check. The smoothed model is
        another model than the audited one: its certificates hold only where answers are given by vote under noise, so
        its own accuracy stands beside them. A smoothed certificate is wrong with the stated small chance.

    References:
        Gowal et al. 2018 (interval bounds); Zhang et al. 2018 (linear bounds); Cohen, Rosenfeld and Kolter 2019
        (randomised smoothing).
    """

    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.INPUT_GRADIENT})
    modalities: ClassVar[frozenset[Modality]] = frozenset({Modality.TABULAR, Modality.IMAGE})
    efforts: ClassVar[Mapping[Effort, Mapping[str, Any]]] = {
        Effort.QUICK: {
            "rows_image": 32,
            "rows_table": 150,
            "lines": 1,
            "effort": "quick",
            "smoothed": 16,
            "draws": 200,
            "sigma_image": (0.1,),
            "sigma_table": (0.25,),
        },
        Effort.EXHAUSTIVE: {
            "rows_image": 300,
            "rows_table": 2000,
            "lines": 1_000_000,
            "effort": "exhaustive",
            "smoothed": 300,
            "draws": 10_000,
        },
    }

    #: test rows, of images
    rows_image: int = 64
    #: test rows, of tables
    rows_table: int = 400
    #: budgets for images, in input units
    linf_image: tuple[float, ...] = (0.1 / 255, 0.25 / 255, 0.5 / 255, 1 / 255)
    #: budgets for tables, in standard deviations
    linf_table: tuple[float, ...] = (0.05, 0.1, 0.25, 0.5)
    #: neurons of each layer bounded by lines
    lines: int = 32
    #: how long the attack tries
    effort: str = "standard"
    #: rows of these that are smoothed too
    smoothed: int = 40
    #: standard deviations of the noise for images, in input units
    sigma_image: tuple[float, ...] = (0.1, 0.25)
    #: the same for tables, in standard deviations
    sigma_table: tuple[float, ...] = (0.25, 0.5)
    #: noisy copies that estimate the vote of a row
    draws: int = 1000
    #: noisy copies that choose its class
    choosing: int = 50
    #: chance that the smoothed certificate of a row is wrong
    alpha: float = 0.001

    def unfit(self, subject: Subject, data: Dataset) -> str | None:
        """See `Check.unfit`."""
        from audit.checks.robustness._space import unfit

        return unfit(data) if self._of(data)[1] else "no budget is given"

    def _of(self, data: Dataset) -> tuple[int, tuple[float, ...], tuple[float, ...]]:
        """Rows, budgets and standard deviations for this kind of data."""
        image = data.modality is Modality.IMAGE
        rows = self.rows_image if image else self.rows_table
        eps, sigma = (self.linf_image, self.sigma_image) if image else (self.linf_table, self.sigma_table)
        return rows, tuple(sorted(set(eps))), tuple(sorted(set(sigma)))

    def run(self, subject: Subject, data: Dataset, rng: np.random.Generator) -> Measured:
        """See the class."""
        import torch

        from audit.checks.robustness._grid import draw_seed
        from audit.checks.robustness._space import fixed_columns, space

        count, budgets, sigmas = self._of(data)
        rows = np.sort(rng.choice(len(data), min(count, len(data)), replace=False))
        here = space(subject, data, data.take(rows))
        seed = draw_seed(rng)
        attacked = here.curve(subject, "linf", budgets, self.effort, seed)
        notes = [f"{len(rows)} of {len(data)} test rows. Budgets are in {here.unit}."]
        estimates = {"clean_accuracy": statistics.proportion(int(attacked.clean_correct.sum()), len(rows))}
        headline, tables, figures = ["clean_accuracy"], [], []
        try:
            certified = self._certify(subject, here, budgets)
        except ValueError as error:
            # the operations of some models cannot be read; the message names what stands in the way
            notes.append(f"No bounds on the model itself. {error}")
        else:
            _refuse_contradictions(certified, attacked, rows)
            estimates |= _sandwich(certified, attacked)
            headline += [
                f"{quantity}@linf:{budgets[len(budgets) // 2]:.4g}"
                for quantity in ("certified_accuracy", "robust_accuracy", "undecided")
            ]
            tables.append(_table(estimates, budgets, here.unit))
            figures.append(_curves(estimates, budgets, here.unit))
        chosen = np.sort(rng.permutation(len(rows))[: self.smoothed])
        some = here.take(torch.from_numpy(chosen).to(here.labels.device))
        found = {s: some.smooth(subject, s, self.draws, self.choosing, self.alpha, seed) for s in sigmas}
        if found:
            estimates |= _smoothed(found, some)
            figures.append(_radii(found, some, here.unit))
            notes.append(
                f"The smoothed model is another model than the audited one. Its figures are from {len(some.labels)} of "
                f"these rows, {self.draws:,} noisy copies each; noise is in {here.unit}, on what may move. So many copies "
                f"can show a radius of at most {_longest(self.draws, self.alpha):.3g} times the noise's deviation, with a "
                f"chance of {self.alpha:g} for each row to be wrong."
            )
        if data.features:
            notes.append(fixed_columns(data))
        return Measured(
            estimates=estimates,
            headline=tuple(headline),
            tables=tuple(tables),
            figures=tuple(figures),
            notes=tuple(notes),
        )

    def _certify(self, subject: Subject, here: Space, budgets: Sequence[float]) -> Flags:
        """Which rows are certified at which budget, (n, budgets); what fails at one is not tried at a larger one."""
        import torch

        certified = np.zeros((len(here.labels), len(budgets)), np.bool_)
        rows = torch.arange(len(here.labels), device=here.labels.device)
        for j, eps in enumerate(budgets):
            quick = here.certify(subject, "linf", eps, rows, 0).certified
            rest = rows[~quick]
            slow = here.certify(subject, "linf", eps, rest, self.lines).certified if len(rest) else quick[:0]
            rows = torch.cat([rows[quick], rest[slow]])
            certified[rows.cpu().numpy(), j] = True
            if not len(rows):
                break
        return certified


def _refuse_contradictions(certified: Flags, attacked: Curve, rows: NDArray[np.int64]) -> None:
    """Raise where a certified row was broken: one of the two is wrong, and no figure can be trusted.

    Raises:
        RuntimeError: there is one; the message names the rows.
    """
    wrong = (certified & ~attacked.robust.cpu().numpy()).any(1)
    if wrong.any():
        named = ", ".join(str(row) for row in rows[wrong][:10])
        raise RuntimeError(
            f"Expected certified rows to withstand every attack, found {int(wrong.sum())} both certified and broken "
            f"(test rows {named}); the bounds or the attack are wrong for this model, so neither is reported."
        )


def _sandwich(certified: Flags, attacked: Curve) -> dict[str, Estimate]:
    standing = attacked.robust.cpu().numpy() & attacked.clean_correct.cpu().numpy()[:, None]
    out: dict[str, Estimate] = {}
    for j, eps in enumerate(attacked.epsilons):
        proved, stands = int(certified[:, j].sum()), int(standing[:, j].sum())
        out[f"certified_accuracy@linf:{eps:.4g}"] = statistics.proportion(proved, len(standing))
        out[f"robust_accuracy@linf:{eps:.4g}"] = statistics.proportion(stands, len(standing))
        out[f"undecided@linf:{eps:.4g}"] = statistics.proportion(stands - proved, len(standing))
    return out


def _table(estimates: Mapping[str, Estimate], budgets: Sequence[float], unit: str) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (eps, *(estimates[f"{name}@linf:{eps:.4g}"] for name in ("certified_accuracy", "robust_accuracy", "undecided")))
        for eps in budgets
    ]
    return Table(
        title="Between certificate and attack (linf)",
        columns=(f"budget, in {unit}", "certified", "under attack", "undecided"),
        rows=tuple(rows),
        note="The robust accuracy of these rows is at least the second and at most the third column.",
    )


def _curves(estimates: Mapping[str, Estimate], budgets: Sequence[float], unit: str) -> Curves:
    from audit.checks.robustness._grid import point

    points: list[Point] = []
    for name, series in (("robust_accuracy", "under attack"), ("certified_accuracy", "certified")):
        points.append(point(0.0, estimates["clean_accuracy"], series))
        points += [point(eps, estimates[f"{name}@linf:{eps:.4g}"], series) for eps in budgets]
    return Curves(
        title="Between certificate and attack, linf",
        x_title=f"largest change of any element (linf), in {unit}",
        y_title="accuracy",
        points=tuple(points),
        y_percent=True,
        note="The true robust accuracy of these rows lies between the lines; at 0 both are the accuracy without attack.",
    )


def _smoothed(found: Mapping[float, Certificate], some: Space) -> dict[str, Estimate]:
    """Accuracy of the smoothed model, and the median radius of its right answers."""
    out: dict[str, Estimate] = {}
    for sigma, certificate in found.items():
        right = (certificate.label == some.labels).cpu().numpy()
        radius = certificate.radius.cpu().numpy()
        out[f"smoothed_accuracy@sigma:{sigma:.4g}"] = statistics.proportion(int(right.sum()), len(right))
        out[f"abstained@sigma:{sigma:.4g}"] = statistics.proportion(int(certificate.abstained.sum()), len(right))
        out[f"median_radius@sigma:{sigma:.4g}"] = statistics.quantile(np.where(right, radius, 0.0), 0.5, some.unit)
    return out


def _longest(draws: int, alpha: float) -> float:
    """Radius over sigma where every copy agrees."""
    from scipy import stats

    return float(stats.norm.ppf(alpha ** (1 / draws)))


def _radii(found: Mapping[float, Certificate], some: Space, unit: str) -> Curves:
    """Share of rows answered rightly with at least a radius."""
    from audit.checks.robustness._grid import point

    points: list[Point] = []
    for sigma, certificate in found.items():
        right = (certificate.label == some.labels).cpu().numpy()
        radius = np.where(right, certificate.radius.cpu().numpy(), -1.0)
        for level in np.linspace(0, max(float(radius.max()), 0.0), 11):
            share = statistics.proportion(int((radius >= level).sum()), len(radius))
            points.append(point(float(level), share, f"sigma {sigma:.4g}"))
    return Curves(
        title="The smoothed model: certified accuracy over the radius",
        x_title=f"Euclidean size of the change (l2), in {unit}",
        y_title="certified accuracy",
        points=tuple(points),
        y_percent=True,
        note="Of another model than the audited one: answers by vote under normal noise of the named deviation.",
    )
