"""What an attacker may do."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from torch import Tensor

Norm: TypeAlias = Literal["linf", "l2", "l1", "l0"]


@dataclass(frozen=True, eq=False)
class Threat:
    """A perturbation budget.

    Attributes:
        norm: how size is measured, over all elements of one input.
        eps: largest size, in input units (for l0: number of elements).
        bounds: smallest and largest value of an input, as numbers or as tensors shaped like one input.
        mutable: bool mask shaped like one input; False elements never move. None: all may.
        target: class the attacker wants, (n,) int64 or one int; None: any wrong class.

    Raises:
        ValueError: a field is out of its range; the message names it.
    """

    norm: Norm
    eps: float
    bounds: tuple[float, float] | tuple[Tensor, Tensor] = (0.0, 1.0)
    mutable: Tensor | None = None
    target: Tensor | int | None = None

    def __post_init__(self) -> None:
        if self.norm not in get_args(Norm):
            raise ValueError(f"Expected norm to be one of {', '.join(get_args(Norm))}, found {self.norm!r}.")
        if not (isinstance(self.eps, int | float) and math.isfinite(self.eps) and self.eps >= 0):
            raise ValueError(f"Expected eps to be a finite number of at least 0, found {self.eps!r}.")
        low, high = self.bounds
        if not bool(Tensor.__le__(low, high).all() if isinstance(low, Tensor) else low <= high):
            raise ValueError(f"Expected bounds (low, high) with low <= high, found {self.bounds!r}.")
