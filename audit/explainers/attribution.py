"""What every explainer returns, and how it refuses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor

if TYPE_CHECKING:
    import shap


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

    def to_shap(
        self, names: Sequence[str] | None = None, data: ArrayLike | None = None, outputs: Sequence[str] | None = None
    ) -> shap.Explanation:
        """The same as the shap package's `Explanation`, for its plots.

        With one output its values are (n, players), else (n, players, outputs): `explanation[0]` or `explanation[0, :, 1]`
        is drawn as a waterfall, `explanation` or `explanation[..., 1]` as bars or a beeswarm. `lower_bounds` and
        `upper_bounds` hold the intervals.

        Args:
            names: of the players; None numbers them.
            data: (n, players) what each player is in each example, shown beside it.
            outputs: names of the outputs; None leaves them without.

        Raises:
            ValueError: shap is not installed, or an argument does not fit the values.
        """
        try:
            import shap
        except ImportError:
            raise ValueError("to_shap: Expected the shap package, found none; try pip install shap.") from None
        n, players, count = self.values.shape
        for name, given, wanted in (("names", names, players), ("outputs", outputs, count)):
            if given is not None and len(given) != wanted:
                raise ValueError(f"{name}: Expected {wanted}, found {len(given)}.")
        shown = None if data is None else np.array(data)
        if shown is not None and shown.shape != (n, players):
            raise ValueError(f"data: Expected shape {(n, players)}, one cell a player, found {shown.shape}.")
        values, low, high = (
            (t[:, :, 0] if count == 1 else t).numpy().copy() for t in (self.values, self.low, self.high)
        )
        return shap.Explanation(
            values=values,
            base_values=(self.base[:, 0] if count == 1 else self.base).numpy().copy(),
            data=shown,
            lower_bounds=low,
            upper_bounds=high,
            feature_names=[f"player {i}" for i in range(players)] if names is None else list(names),
            output_names=None if outputs is None or count == 1 else list(outputs),
        )
