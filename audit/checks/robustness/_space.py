"""What an attacker may do to a data set's inputs, shared by the checks that attack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from audit.subject import Modality

if TYPE_CHECKING:
    from torch import Tensor

    from attacks import Curve, Evaluation, Norm, Threat
    from attacks.evaluate import Effort
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
    """

    inputs: Tensor
    labels: Tensor
    bounds: tuple[float, float] | tuple[Tensor, Tensor]
    mutable: Tensor | None
    unit: str

    def curve(self, subject: Subject, norm: Norm, eps: Sequence[float], effort: str, seed: int) -> Curve:
        """What stands at each budget in this space."""
        from attacks import curve

        return curve(
            subject.model,
            self.inputs,
            self.labels,
            norm,
            sorted(set(eps)),
            bounds=self.bounds,
            mutable=self.mutable,
            effort=cast("Effort", effort),  # a plan's string; attacks refuse what they do not know
            seed=seed,
        )

    def evaluate(self, subject: Subject, norm: Norm, eps: float, effort: str, seed: int) -> Evaluation:
        """What stands at one budget in this space."""
        from attacks import evaluate

        return evaluate(
            subject.model, self.inputs, self.labels, self._threat(norm, eps), effort=cast("Effort", effort), seed=seed
        )

    def _threat(self, norm: Norm, eps: float) -> Threat:
        from attacks import Threat

        return Threat(norm, eps, self.bounds, self.mutable)


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
    return Space(inputs, labels, (both.amin(0), both.amax(0)), mutable, "standard deviations")


def fixed_columns(data: Dataset) -> str:
    """One sentence on what never moves."""
    from audit.datasets import FeatureKind

    fixed = [f.name for f in data.features if not f.mutable or f.kind is not FeatureKind.NUMERIC]
    return f"Columns that never move, immutable or categorical: {', '.join(fixed) or 'none'}."
