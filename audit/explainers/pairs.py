"""What the model says of pairs of complementary coalitions, and the Shapley values or interactions that follow."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import stdtrit

from audit.explainers.coalitions import Plan, design, pairs_in_all
from audit.explainers.game import Game
from audit.explainers.posterior import NOISE, exact, sample, solution, weigh


class Pairs:
    """A game's scores of the pairs of a design that may grow; no coalition is asked for twice.

    Args:
        game: the game.
        seed: of the design.
        order: of the design, see `coalitions.design`.
    """

    def __init__(self, game: Game, seed: int, order: int = 1) -> None:
        self.game, self.seed, self.order = game, seed, order
        # scores of the first and of the second coalitions (n, pairs, outputs); the ends are the first pair
        self._first = np.zeros((0, 0, 0))
        self._second = self._first

    @property
    def base(self) -> NDArray[np.float64]:
        """Scores without any player, (n, outputs); known once something was asked."""
        return self._second[:, 0]

    @property
    def full(self) -> NDArray[np.float64]:
        """Scores with all players, (n, outputs); known once something was asked."""
        return self._first[:, 0]

    @property
    def spent(self) -> int:
        """Coalitions asked for in each example, the ends not counted."""
        return 2 * int(self._first.shape[1] - 1)

    def ask(self, evaluations: int) -> None:
        """Ask for what a design of so many evaluations holds and is not known yet; one player has but the ends.

        Raises:
            ValueError: there are too few.
        """
        keep = np.ones((1, self.game.size), dtype=np.bool_)
        if self.game.size > 1:
            keep = np.concatenate([keep, design(Plan(self.game.size, evaluations, self.seed, self.order))])
        new = torch.from_numpy(keep[self._first.shape[1] :])
        if len(new):
            scores = self.game.values(torch.cat([new, ~new])).numpy()
            both = scores[:, : len(new)], scores[:, len(new) :]
            if self._first.size:
                both = np.concatenate([self._first, both[0]], axis=1), np.concatenate([self._second, both[1]], axis=1)
            self._first, self._second = both

    def answers(self, order: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Shapley values (order 1) or interactions of the players i < j (order 2), and half their 95 % intervals.

        The noises that the scores allow are averaged, each by its likelihood. The quantile is Student's.

        Returns:
            Two arrays (n, answers, outputs).
        """
        join = np.add if order == 2 else np.subtract
        halves = np.empty_like(self._first)
        join(self._first[:, 1:], self._second[:, 1:], out=halves[:, :-1])
        join(self.full, self.base, out=halves[:, -1])
        halves /= 2
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
        return values, stdtrit(len(basis.value), 0.975) * np.sqrt(spread)
