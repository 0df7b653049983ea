"""What is done to weights beside the optimiser's steps: averaging them, and perturbing them for one backward pass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from attacks.defence.recipes import Lesson, observing

_REPLAYED = 2048  # examples from which statistics of averaged weights are taken
_TINY = 1e-12


class Average:
    """Exponential moving average of the weights (Izmailov et al. 2018; for hardening Gowal et al. 2020, section 4.3).

    The running statistics of batch normalisation are not averaged: they belong to the weights that made them. They are
    taken anew, from the inputs the network saw last.

    Args:
        network: gives the first weights.
        decay: of the average; smaller in the first steps, so that the start is forgotten.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights = {name: weight.detach().clone() for name, weight in network.named_parameters()}
        self.taken = 0
        self.seen: list[Tensor] = []

    @torch.no_grad()
    def see(self, network: nn.Module, lesson: Lesson) -> None:
        """Take the weights in after a step, and remember what the network saw."""
        self.taken += 1
        decay = min(self.decay, (1 + self.taken) / (10 + self.taken))
        for name, weight in network.named_parameters():
            self.weights[name].lerp_(weight, 1 - decay)
        self.seen.append(lesson.adversarial)
        while len(self.seen) > 1 and sum(map(len, self.seen[1:])) >= _REPLAYED:
            del self.seen[0]

    @contextmanager
    def within(self, network: nn.Module) -> Iterator[None]:
        """The averaged weights and their statistics for the time."""
        before = {name: value.clone() for name, value in network.state_dict().items()}
        network.load_state_dict(self.weights, strict=False)
        if self.seen:
            _retake(network, self.seen)
        try:
            yield
        finally:
            network.load_state_dict(before)

    def state(self) -> dict[str, object]:
        """Plain tensors and numbers."""
        return {
            "weights": {name: weight.clone() for name, weight in self.weights.items()},
            "taken": self.taken,
            "seen": list(self.seen),
        }

    def load(self, state: Mapping[str, object]) -> None:
        """Go on from a state."""
        weights, taken, seen = state["weights"], state["taken"], state["seen"]
        assert isinstance(weights, dict) and isinstance(taken, int) and isinstance(seen, list)
        for name, weight in weights.items():
            self.weights[name].copy_(weight)
        self.taken, self.seen = taken, list(seen)


def _retake(network: nn.Module, batches: list[Tensor]) -> None:
    """Replace the running statistics of batch normalisation by the plain mean over these batches."""
    layers = [m for m in network.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]
    momenta = [layer.momentum for layer in layers]
    if not layers:
        return
    try:
        with observing(network), torch.no_grad():
            for layer in layers:
                layer.reset_running_stats()
                layer.momentum, layer.training = None, True  # None: a cumulative mean
            for batch in batches:
                network(batch)
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum


@contextmanager
def shaken(network: nn.Module, gradients: Sequence[Tensor | None], size: float) -> Iterator[None]:
    """Weights moved up the loss for the time (Wu et al. 2020, AWP, https://arxiv.org/abs/2004.05884, equation 10).

    Each tensor of two or more dimensions moves by `size` times its own length, along its gradient.

    Args:
        network: its trainable weights move.
        gradients: of the loss, one a trainable weight, None where it has none.
        size: gamma, relative to the length of the weights.
    """
    weights = trainable(network)
    before = [weight.detach().clone() for weight in weights]
    with torch.no_grad():
        for weight, gradient in zip(weights, gradients, strict=True):
            if gradient is not None and weight.ndim > 1:
                weight.add_(gradient * (size * weight.norm() / gradient.norm().clamp(min=_TINY)))
    try:
        yield
    finally:
        with torch.no_grad():
            for weight, value in zip(weights, before, strict=True):
                weight.copy_(value)


@contextmanager
def kept_statistics(network: nn.Module) -> Iterator[None]:
    """Buffers come back as they were: a look that is no lesson leaves no mark on running statistics."""
    before = [(buffer, buffer.clone()) for buffer in network.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in before:
                buffer.copy_(value)


def trainable(network: nn.Module) -> list[nn.Parameter]:
    """The weights that ask for a gradient."""
    return [weight for weight in network.parameters() if weight.requires_grad]
