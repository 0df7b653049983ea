"""What the model says of pairs of complementary coalitions, and the Shapley values or interactions that follow."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats

from audit.explainers.coalitions import Plan, design, pairs_in_all
from audit.explainers.game import Game
from audit.explainers.posterior import NOISE, exact, sample, solution, weigh


class Pairs:
    """A game's scores of the pairs of a design that may grow; no coalition is asked for twice.

    Attributes:
        game: at least one player.
        base: (n, outputs) scores without any player.
        full: (n, outputs) scores with all of them.

    Args:
        game: the game.
        seed: of the design.
        order: of the design, see `coalitions.design`.
    """

    def __init__(self, game: Game, seed: int, order: int = 1) -> None:
        self.game, self.seed, self.order = game, seed, order
        ends = torch.tensor([[False], [True]]).expand(2, game.size)
        self.base, self.full = game.values(ends).numpy().transpose(1, 0, 2)
        self._scores = np.zeros((len(self.base), 0, 2, self.base.shape[1]))

    @property
    def spent(self) -> int:
        """Coalitions asked for in each example, the ends not counted."""
        return 2 * int(self._scores.shape[1])

    def ask(self, evaluations: int) -> None:
        """Ask for what a design of so many evaluations holds and is not known yet.

        Raises:
            ValueError: there are too few.
        """
        keep = design(Plan(self.game.size, evaluations, self.seed, self.order))
        new = torch.from_numpy(keep[self._scores.shape[1] :].copy())
        if len(new):
            scores = self.game.values(torch.cat([new, ~new])).numpy()
            both = np.stack([scores[:, : len(new)], scores[:, len(new) :]], axis=2)
            self._scores = np.concatenate([self._scores, both], axis=1)

    def answers(self, order: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Shapley values (order 1) or interactions of the players i < j (order 2), and half their 95 % intervals.

        The noises that the scores allow are averaged, each by its likelihood. The quantile is Student's.

        Returns:
            Two arrays (n, answers, outputs).
        """
        sign = 1 if order == 2 else -1
        ends = (self.full + sign * self.base)[:, None]
        halves = np.concatenate([self._scores[:, :, 0] + sign * self._scores[:, :, 1], ends], axis=1) / 2
        plan = Plan(self.game.size, self.spent, self.seed, self.order)
        if self.spent == 2 * pairs_in_all(self.game.size):
            values = exact(design(plan), order) @ halves
            return values, np.zeros_like(values)
        basis = sample(plan, order)
        weight, variance = weigh(basis, halves)
        found = []
        for share, noise, scale in zip(weight[:, :, None], NOISE, variance[:, :, None], strict=True):
            if share.any():
                known = solution(plan, order, noise)
                if known.sketch is not None:
                    scale = ((known.sketch @ halves) ** 2).mean(1, keepdims=True)
                found.append((share, known.matrix @ halves, known.variance[:, None] * scale))
        values = sum(share * each for share, each, _ in found)
        spread = sum(share * (own + (each - values) ** 2) for share, each, own in found)
        return values, stats.t.ppf(0.975, len(basis.value)) * np.sqrt(spread)
