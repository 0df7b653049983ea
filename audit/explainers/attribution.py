"""What every explainer returns, and how it refuses."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


class CompletenessError(ValueError):
    """The attributions do not add up to the change in the score, so they explain something else."""


@dataclass(frozen=True)
class Attribution:
    """Attributions of n examples to their players, for some outputs of the model.

    Attributes:
        values: (n, players, outputs) float64; a player is an input element or a group of them.
        low: lower ends of the 95 % intervals, same shape; equal to `values` where nothing was sampled.
        high: upper ends, same shape.
        base: (n, outputs) the score of an example without any of its players; LIME: its surrogate's intercept.
        evaluations: coalitions (or path points) spent on each example.
        fit: (n, outputs) weighted R² of a surrogate; None for methods without one.
        error: (n, outputs) relative completeness error |Σ values − (f(x) − base)| / |f(x) − base|; None where the
            method does not promise completeness or promises it exactly.
    """

    values: Tensor
    low: Tensor
    high: Tensor
    base: Tensor
    evaluations: int
    fit: Tensor | None = None
    error: Tensor | None = None
