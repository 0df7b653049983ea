"""Thresholds per group (Hardt et al. 2016, https://arxiv.org/abs/1610.02413), by fairlearn's ThresholdOptimizer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from audit.errors import DataError
from audit.mitigation.methods._network import readable, scores
from audit.mitigation.methods._rates import LEAST, difference, margin, sizeable, small, strata
from audit.mitigation.processors import attach
from audit.mitigation.remedy import Bench, Definition, Processor, Remedy, Step

_CONSTRAINT = {
    Definition.DEMOGRAPHIC_PARITY: "demographic_parity",
    Definition.EQUAL_OPPORTUNITY: "true_positive_rate_parity",
    Definition.EQUALISED_ODDS: "equalized_odds",
}


@dataclass(frozen=True, eq=False)
class Optimum:
    """What fairlearn finds on the held rows.

    Attributes:
        chosen: (n,) probability of the favourable prediction under its randomised rule; NaN for rows it was not given.
        fitted: (groups,) which groups it was given: those with both outcomes in number.
        target: rate that all groups share, one a stratum of the definition.
    """

    chosen: NDArray[np.float64]
    fitted: NDArray[np.bool_]
    target: tuple[float, ...]


def thresholds(bench: Bench) -> Remedy:
    """Move the favourable log-odds of each group, so that its rates are those of fairlearn's best randomised rule.

    That rule draws between two thresholds; here each group gets the one threshold whose rates on the held rows come
    nearest, so that equal people are treated alike, and probabilities and ranking within a group stay usable. Equalised
    odds may need the draw: what giving it up costs is in the figures. The aim's strength multiplies the shifts.

    Raises:
        AssayError: the input does not show the group, or fewer than two groups are large enough.
    """
    reader, aim, held = readable(bench, "thresholds"), bench.aim, bench.held
    ahead = margin(scores(bench, None, held.inputs), aim.favourable)
    bench.tell(Step("thresholds", 1, 2, "scores of the held rows"))
    optimum = optimise(bench, ahead)
    common = _shift(bench, ahead, np.isfinite(optimum.chosen), optimum)
    large = sizeable(aim, held, len(bench.groups))
    shift = np.full(len(bench.groups) + 1, common)
    for group in np.flatnonzero(large):
        shift[group] = _shift(bench, ahead, held.groups == group, optimum)
    shift *= aim.strength
    shift_tensor = torch.from_numpy(shift).float()
    processor = Processor(
        "grouped",
        {"reader": reader.plain(), "classes": len(bench.classes), "favourable": aim.favourable},
        {"scale": torch.ones_like(shift_tensor), "shift": shift_tensor},
    )
    bench.tell(Step("thresholds", 2, 2, "thresholds set"))
    return Remedy(
        "thresholds",
        attach(processor, bench.subject.model),
        None,
        processor,
        group_at_prediction=True,
        figures={
            "shift": dict(zip(bench.groups, shift[:-1].tolist(), strict=True)),
            "common_shift": float(shift[-1]),
            "rates": optimum.target,
            **_told(bench, ahead, shift, optimum),
        },
        notes=small(bench, large, "they get the shift that suits all together"),
    )


def optimise(bench: Bench, ahead: NDArray[np.float64]) -> Optimum:
    """Fairlearn's optimum for accuracy under the aim's definition.

    Args:
        bench: its held rows are used.
        ahead: (n,) margins of the favourable class there.

    Raises:
        DataError: fewer than two groups have both outcomes in number.
    """
    from fairlearn.postprocessing import ThresholdOptimizer

    held, aim = bench.held, bench.aim
    truth = held.labels == aim.favourable
    both = [
        np.bincount(held.groups[(held.groups >= 0) & side], minlength=len(bench.groups)) for side in (truth, ~truth)
    ]
    fitted = np.asarray((both[0] + both[1] >= LEAST) & (np.minimum(*both) >= 2)) & sizeable(
        aim, held, len(bench.groups)
    )
    if fitted.sum() < 2:
        raise DataError(
            f"Expected at least two groups of {aim.attribute!r} with {LEAST} held rows and both outcomes, found "
            f"{int(fitted.sum())}; try more rows, or coarser groups."
        )
    rows = (held.groups >= 0) & fitted[np.maximum(held.groups, 0)]
    rule = ThresholdOptimizer(
        estimator=_given(), constraints=_CONSTRAINT[aim.definition], prefit=True, predict_method="predict"
    )
    rule.fit(ahead[rows, None], truth[rows].astype(int), sensitive_features=held.groups[rows])
    chosen = np.full(len(held), np.nan)
    for group, found in rule.interpolated_thresholder_.interpolation_dict.items():
        of = held.groups == group
        mixed = found.p0 * found.operation0(ahead[of]) + found.p1 * found.operation1(ahead[of])
        ignored = found.get("p_ignore", 0.0)
        chosen[of] = ignored * found.get("prediction_constant", 0.0) + (1 - ignored) * mixed
    target = tuple(float(chosen[rows & of].mean()) for of in strata(aim, held.labels))
    return Optimum(chosen, fitted, target)


def _given() -> Any:
    """An estimator whose predictions are its inputs."""
    from sklearn.base import BaseEstimator

    class Given(BaseEstimator):  # type: ignore[misc]
        def fit(self, margins: object, truth: object) -> Any:
            return self

        def __sklearn_is_fitted__(self) -> bool:
            return True

        def predict(self, margins: NDArray[np.float64]) -> NDArray[np.float64]:
            return margins[:, 0]

    return Given()


def _shift(bench: Bench, ahead: NDArray[np.float64], rows: NDArray[np.bool_], optimum: Optimum) -> float:
    """The shift whose rates on these rows are nearest to the target; of equals the most accurate, then the least."""
    labels, value = bench.held.labels, ahead[rows]
    seen = np.unique(value)
    cuts = np.concatenate([[seen[0] - 1], (seen[1:] + seen[:-1]) / 2, [seen[-1] + 1]])
    cuts = np.append(cuts, 0.0)
    gap = np.zeros(len(cuts))
    for of, target in zip(strata(bench.aim, labels), optimum.target, strict=True):
        above = np.sort(ahead[rows & of])
        rate = 1 - np.searchsorted(above, cuts, side="right") / max(len(above), 1)
        gap = np.maximum(gap, np.abs(rate - target))
    truth = np.sort(value[labels[rows] == bench.aim.favourable])
    wrong = np.searchsorted(truth, cuts, side="right") + (
        (len(value) - np.searchsorted(np.sort(value), cuts, side="right"))
        - (len(truth) - np.searchsorted(truth, cuts, side="right"))
    )
    return -float(cuts[np.lexsort((np.abs(cuts), wrong, np.round(gap, 9)))[0]])


def _told(
    bench: Bench, ahead: NDArray[np.float64], shift: NDArray[np.float64], optimum: Optimum
) -> dict[str, dict[str, float]]:
    """Difference and accuracy on the rows fairlearn was given: as audited, its randomised rule, and the shifts."""
    rows = np.flatnonzero(np.isfinite(optimum.chosen))
    labels, groups = bench.held.labels[rows], bench.held.groups[rows]
    truth = labels == bench.aim.favourable
    rules = {
        "before": (ahead[rows] > 0).astype(float),
        "randomised": optimum.chosen[rows],
        "deterministic": (ahead[rows] + shift[groups] > 0).astype(float),
    }
    return {
        name: {
            "difference": difference(bench.aim, chosen, labels, groups, optimum.fitted),
            "accuracy": float(np.where(truth, chosen, 1 - chosen).mean()),
        }
        for name, chosen in rules.items()
    }
