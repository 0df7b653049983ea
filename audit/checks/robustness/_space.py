"""What an attacker may do to a data set's inputs, shared by the checks that attack."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import numpy as np

from audit import statistics
from audit.subject import Modality
from reports.record import Estimate

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from attacks import Bounds, Certificate, Curve, Evaluation, Norm
    from attacks.ensemble import Effort
    from audit.datasets import Dataset
    from audit.subject import Subject


@dataclass(frozen=True)
class Space:
    """Inputs on the model's device with the box they may move in.

    Attributes:
        inputs: (n, ...) sampled rows.
        labels: (n,) true classes.
        bounds: smallest and largest value, as numbers (images) or a column each (tables).
        mutable: bool mask shaped like one input; None: all may move.
        unit: what a distance is measured in.
        scale: size of one unit in each element of an input; None: as the input has it.
    """

    inputs: Tensor
    labels: Tensor
    bounds: tuple[float, float] | tuple[Tensor, Tensor]
    mutable: Tensor | None
    unit: str
    scale: Tensor | None = None

    def curve(self, subject: Subject, norm: Norm, eps: Sequence[float], effort: str, seed: int) -> Curve:
        """What stands at each budget in this space."""
        from attacks import curve

        found = curve(
            self._scaled(subject.model),
            self._down(self.inputs),
            self.labels,
            norm,
            sorted(set(eps)),
            bounds=self._bounds(),
            mutable=self.mutable,
            effort=cast("Effort", effort),  # a plan's string; attacks refuse what they do not know
            seed=seed,
        )
        return replace(found, adversarial=self._up(found.adversarial))

    def evaluate(self, subject: Subject, norm: Norm, eps: float, effort: str, seed: int) -> Evaluation:
        """What stands at one budget in this space."""
        from attacks import Threat, evaluate

        found = evaluate(
            self._scaled(subject.model),
            self._down(self.inputs),
            self.labels,
            Threat(norm, eps, self._bounds(), self.mutable),
            effort=cast("Effort", effort),
            seed=seed,
        )
        return replace(found, adversarial=self._up(found.adversarial))

    def minimal(self, subject: Subject, norm: Norm, steps: int, seed: int) -> NDArray[np.float64]:
        """Size of the smallest change found for each row, (n,): 0 where the model is wrong, inf where none was found."""
        from attacks import minimal

        found = minimal(
            self._scaled(subject.model),
            self._down(self.inputs),
            self.labels,
            norm,
            self._bounds(),
            steps=steps,
            mutable=self.mutable,
            seed=seed,
        )
        distance: NDArray[np.float64] = found.distance.cpu().numpy()
        return distance

    def certify(self, subject: Subject, norm: Norm, eps: float, rows: Tensor, lines: int) -> Bounds:
        """What bounds prove at one budget about some rows (indices)."""
        from attacks import Threat, certify_intervals

        threat = Threat(norm, eps, self._bounds(), self.mutable)
        inputs = self._down(self.inputs)[rows]
        return certify_intervals(self._scaled(subject.model), inputs, self.labels[rows], threat, lines=lines)

    def smooth(self, subject: Subject, sigma: float, n: int, n0: int, alpha: float, seed: int) -> Certificate:
        """What noise on the elements that may move proves about the smoothed model."""
        from attacks import certify_smoothing

        return certify_smoothing(
            self._scaled(subject.model), self._down(self.inputs), sigma, n, alpha, seed, n0, mutable=self.mutable
        )

    def take(self, rows: Tensor) -> Space:
        """The same for some rows (indices)."""
        return replace(self, inputs=self.inputs[rows], labels=self.labels[rows])

    def _scaled(self, model: nn.Module) -> Callable[[Tensor], Tensor]:
        scale = self.scale
        return model if scale is None else lambda inputs: model(inputs * scale)

    def _down(self, values: Tensor) -> Tensor:
        return values if self.scale is None else values / self.scale

    def _up(self, moved: Tensor) -> Tensor:
        """Back to input units; what did not move is as it was, to the last bit."""
        if self.scale is None:
            return moved
        return (moved * self.scale).where(moved != self._down(self.inputs), self.inputs)

    def _bounds(self) -> tuple[float, float] | tuple[Tensor, Tensor]:
        low, high = self.bounds
        if isinstance(low, float) or isinstance(high, float):
            return self.bounds
        return self._down(low), self._down(high)


def unfit(data: Dataset) -> str | None:
    """Why inputs of this data set cannot be attacked by gradient; None where they can."""
    if data.modality is Modality.IMAGE and data.bounds is None:
        return "the range of a pixel is not declared; set data.bounds in the plan"
    mutable = data.mutable()
    if mutable is not None and not mutable.any():
        return "no numeric column may change: all are immutable"
    return None


def space(subject: Subject, data: Dataset, sample: Dataset) -> Space:
    """The space of the sampled rows.

    Args:
        subject: says on which device.
        data: the whole split; a table's columns stay within what its training data hold.
        sample: the rows under attack.
    """
    import torch

    inputs = sample.inputs
    assert not isinstance(inputs, list)
    inputs, labels = inputs.to(subject.device), sample.labels.to(subject.device)
    if data.modality is Modality.IMAGE:
        assert data.bounds is not None
        return Space(inputs, labels, data.bounds, None, "input units")
    known = (data if data.train is None else data.train).inputs
    assert not isinstance(known, list)
    # a sampled row outside of what was seen in training widens the box rather than being refused
    both = torch.cat([known.to(subject.device), inputs])
    mask = data.mutable()
    mutable = None if mask is None else torch.from_numpy(mask).to(subject.device)
    _, scale = moments(data)
    return Space(inputs, labels, (both.amin(0), both.amax(0)), mutable, "standard deviations", scale.to(subject.device))


def moments(data: Dataset) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each encoded column that may move, over the training rows where there are any.

    Measured, because an encoder need not have standardised what it encoded. Columns that never move, or never vary,
    have mean 0 and deviation 1, which leaves them as they are.
    """
    import torch

    known = (data if data.train is None else data.train).inputs
    assert not isinstance(known, list)
    mask = data.mutable()
    moving = torch.ones(known.shape[1], dtype=torch.bool) if mask is None else torch.from_numpy(mask)
    deviation = known.double().std(0, correction=0)
    moving &= deviation > 0
    return known.double().mean(0).where(moving, 0.0).float(), deviation.where(moving, 1.0).float()


def median_distance(distance: NDArray[np.float64], unit: str) -> Estimate:
    """Median distance, infinite ones included; undefined where its interval reaches them."""
    # a number beyond all others keeps the ranks, which are all that a median and its interval use
    beyond = 1e300
    estimate = statistics.quantile(np.where(np.isfinite(distance), distance, beyond), 0.5, unit=unit)
    if estimate.high is not None and estimate.high >= beyond / 4:
        return statistics.undefined("no change was found for too many of the rows", n=len(distance), unit=unit)
    return estimate


def fixed_columns(data: Dataset) -> str:
    """One sentence on what never moves."""
    from audit.datasets import FeatureKind

    fixed = [f.name for f in data.features if not f.mutable or f.kind is not FeatureKind.NUMERIC]
    return f"Columns that never move, immutable or categorical: {', '.join(fixed) or 'none'}."
