"""What an input may become, and the least a linear function takes on there.

Kept apart from the geometry that attacks use: bounds here come from duality, so that a mistake there is found here.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from attacks.threat import Norm, Threat


@dataclass(frozen=True, eq=False)
class Ball:
    """Ball and box around each input.

    Attributes:
        norm: of the ball.
        eps: its radius.
        centre: (n, *shape) float64.
        low: smallest values, (n, *shape); where an element may not move, its own.
        high: largest values, (n, *shape).
    """

    norm: Norm
    eps: float
    centre: Tensor
    low: Tensor
    high: Tensor

    @staticmethod
    def around(inputs: Tensor, threat: Threat) -> Ball:
        """The ball of a threat around inputs (n, ...), cut by bounds and mutable elements."""
        centre = inputs.detach().double()
        low, high = (torch.as_tensor(bound).to(centre) for bound in threat.bounds)
        reach = torch.inf if threat.norm == "l0" else threat.eps
        # one unit of float64 outwards: x - eps is itself rounded
        least = torch.maximum(low, torch.nextafter(centre - reach, centre.new_full((), -torch.inf)))
        most = torch.minimum(high, torch.nextafter(centre + reach, centre.new_full((), torch.inf)))
        free = torch.ones_like(centre, dtype=torch.bool)
        if threat.mutable is not None:
            free = threat.mutable.to(centre.device).expand_as(centre)
        return Ball(
            threat.norm, float(threat.eps), centre, torch.where(free, least, centre), torch.where(free, most, centre)
        )

    def lower(self, coefficients: Tensor) -> Tensor:
        """The least of coefficients . x over ball and box, or less, (specs, n).

        Args:
            coefficients: (specs, n, d).
        """
        centre, low, high = (x.flatten(1) for x in (self.centre, self.low, self.high))
        down = torch.where(
            coefficients != 0, torch.minimum(coefficients * (low - centre), coefficients * (high - centre)), 0
        )
        least = down.sum(2)
        size = coefficients.abs() * (high > low)
        if self.norm == "l2":
            least = torch.maximum(least, -self.eps * torch.linalg.vector_norm(size, dim=2))
        elif self.norm == "l1":
            least = torch.maximum(least, -self.eps * size.amax(2))
        elif self.norm == "l0":
            count = min(int(self.eps), coefficients.shape[2])
            least = down.topk(count, dim=2, largest=False).values.sum(2) if count else torch.zeros_like(least)
        value = coefficients * centre
        # sums of d numbers in float64
        error = 2 * coefficients.shape[2] * torch.finfo(torch.float64).eps * (value.abs().sum(2) + least.abs())
        return value.sum(2) + least - error
