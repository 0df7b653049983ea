"""The three recipes: what the attacker shows the model while it learns, and what the model is asked to do about it.

Inner attacks run in eval mode, so that a batch of perturbed inputs leaves no mark on the running statistics of batch
normalisation, and take gradients with respect to the inputs alone; the outer loss is taken in training mode.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from attacks import noise
from attacks.defence.material import Around, Room
from attacks.defence.settings import Settings

_STREAM = 61
_START = 1 / 32  # standard deviation of TRADES' start, in budgets: its 0.001 at 8/255
_STRIDE = 2.5  # budgets a whole attack may walk (Madry et al. 2018)

#: from scores of perturbed inputs to one loss for the batch, which the attacker wants large
Goal: TypeAlias = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Attack:
    """How hard the inner attack tries.

    Attributes:
        steps: gradients.
        noise: half-width of a single step's random start, in budgets.
    """

    steps: int
    noise: float

    def stronger(self) -> Attack:
        """What cures catastrophic overfitting: first more noise, then more steps."""
        if self.steps == 1 and self.noise < 2:
            return Attack(1, 2.0)
        return Attack(2 * self.steps, self.noise)


@dataclass
class Passes:
    """Examples that went through the model: `forwards`, and `backwards` for those whose gradient was taken."""

    forwards: int = 0
    backwards: int = 0


@dataclass(frozen=True, eq=False)
class Lesson:
    """One batch as the model will see it.

    Attributes:
        clean: (m, ...) inputs.
        adversarial: (m, ...) the same, perturbed.
        labels: (m,).
    """

    clean: Tensor
    adversarial: Tensor
    labels: Tensor


class Teacher:
    """Perturbs batches and scores them, after one recipe.

    Args:
        network: the model in training.
        settings: recipe and its parameters.
        room: where inputs may move.
    """

    def __init__(self, network: nn.Module, settings: Settings, room: Room) -> None:
        self.network, self.settings, self.room = network, settings, room
        self.passes = Passes()

    def lesson(self, inputs: Tensor, labels: Tensor, keys: Tensor, attack: Attack, turn: int) -> Lesson:
        """Perturb a batch; `turn` makes the draws of one epoch differ from those of another."""
        flat = inputs.flatten(1)
        around = self.room.around(flat)
        with observing(self.network):
            if self.settings.recipe == "trades":
                moved = self._away_from_itself(inputs, around, keys, attack.steps, turn)
            elif self.settings.recipe == "fast" and attack.steps == 1:
                moved = self._one_step(inputs, labels, around, keys, attack.noise, turn)
            else:
                delta = around.sample(keys, (_STREAM, turn))
                moved = self._climb(inputs, around, delta, attack.steps, _against(labels))
        adversarial = (flat + moved).clamp(self.room.low, self.room.high).view_as(inputs)
        return Lesson(inputs, adversarial, labels)

    def loss(self, lesson: Lesson) -> Tensor:
        """What the optimiser lowers, a scalar to be differentiated once; the network is in training mode."""
        self.passes.backwards += len(lesson.labels) * (2 if self.settings.recipe == "trades" else 1)
        if self.settings.recipe != "trades":
            return functional.cross_entropy(self._scores(lesson.adversarial), lesson.labels)
        clean, moved = self._scores(lesson.clean), self._scores(lesson.adversarial)
        natural = functional.cross_entropy(clean, lesson.labels)
        return natural + self.settings.beta * _divergence(moved, clean) / len(lesson.labels)

    def _scores(self, inputs: Tensor) -> Tensor:
        self.passes.forwards += len(inputs)
        scores: Tensor = self.network(inputs)
        return scores

    def _climb(self, inputs: Tensor, around: Around, delta: Tensor, steps: int, goal: Goal) -> Tensor:
        """Projected gradient ascent (Madry et al. 2018, https://arxiv.org/abs/1706.06083, section 2.1)."""
        for _ in range(steps):
            delta = around.project(delta + around.step(self._slope(inputs, delta, goal), _STRIDE / steps))
        return delta

    def _one_step(
        self, inputs: Tensor, labels: Tensor, around: Around, keys: Tensor, width: float, turn: int
    ) -> Tensor:
        """One step from strong noise, which stays on top of it (de Jorge et al. 2022, N-FGSM).

        https://arxiv.org/abs/2202.01181, equation 5. The perturbation may leave the ball, never the box: clipping it
        to the ball is what lets one-step training overfit. Width 0 is the plain fast gradient method.
        """
        eta = around.sample(keys, (_STREAM, turn), width) if width else torch.zeros_like(around.down)
        return around.clip(eta + around.step(self._slope(inputs, eta, _against(labels)), 1.0))

    def _away_from_itself(self, inputs: Tensor, around: Around, keys: Tensor, steps: int, turn: int) -> Tensor:
        """Away from the model's own clean answer (Zhang et al. 2019, https://arxiv.org/abs/1901.08573, algorithm 1)."""
        with torch.no_grad():
            clean = self._scores(inputs)
        start = noise.normal(keys, (_STREAM, turn), around.down.shape[1], around.down.dtype) * _START * self.room.eps
        return self._climb(inputs, around, around.project(start), steps, lambda scores: _divergence(scores, clean))

    def _slope(self, inputs: Tensor, delta: Tensor, goal: Goal) -> Tensor:
        """Gradient of the goal at inputs moved by delta, (m, d); not finite elements count as 0."""
        leaf = (inputs.flatten(1) + delta).detach().view_as(inputs).requires_grad_()
        (gradient,) = torch.autograd.grad(goal(self._scores(leaf)), leaf)
        self.passes.backwards += len(inputs)
        return gradient.flatten(1).nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)


def _against(labels: Tensor) -> Goal:
    return lambda scores: functional.cross_entropy(scores, labels, reduction="sum")


def _divergence(moved: Tensor, clean: Tensor) -> Tensor:
    """Kullback-Leibler divergence of the moved scores' distribution from the clean ones', summed over the rows."""
    return functional.kl_div(moved.log_softmax(1), clean.log_softmax(1), reduction="sum", log_target=True)


@contextmanager
def observing(network: nn.Module) -> Iterator[None]:
    """Eval mode for the time; every module's mode comes back."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        # cuDNN's recurrent backward pass exists in training mode only
        recurrent = any(isinstance(module, nn.RNNBase) for module, _ in modes)
        with torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled and not recurrent):
            yield
    finally:
        for module, mode in modes:
            module.training = mode
