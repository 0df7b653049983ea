"""Every explainer of a tensor, called the same way; the contracts in `test_contracts` hold for each row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from audit import explainers

#: features of the models below; the last two are copies of each other in `duplicated` inputs
WIDTH = 6


class Exact(nn.Module):
    """A small network in which float32 rounds nothing for inputs that are multiples of 1/16.

    Whatever the batch, its sums come out alike, so that a contract can ask for equal bits.
    """

    def __init__(self, width: int = WIDTH, outputs: int = 3) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(0)
        self.first = nn.Linear(width, 8)
        self.relu = nn.ReLU()
        self.drop = nn.Dropout(0.5)
        self.last = nn.Linear(8, outputs)
        with torch.no_grad():
            for weight in self.parameters():
                weight.copy_(torch.randint(-4, 5, weight.shape, generator=draw) / 4)
        self.eval()

    def forward(self, batch: Tensor) -> Tensor:
        return self.last(self.drop(self.relu(self.first(batch.flatten(1)))))


def inputs(n: int = 5, width: int = WIDTH, seed: int = 1) -> Tensor:
    return torch.randint(-32, 33, (n, width), generator=torch.Generator().manual_seed(seed)) / 16


@dataclass(frozen=True)
class Case:
    """One explainer.

    Attributes:
        name: its public name.
        call: (model, inputs, background, seed) -> values (n, players, outputs).
        batch_size: whether it takes one; otherwise its passes are cut to a few points.
        differentiable: whether it needs gradients.
    """

    name: str
    call: Callable[..., Tensor]
    batch_size: bool = False
    differentiable: bool = False

    def __call__(self, model: Callable[[Tensor], Tensor], x: Tensor, background: Tensor, **more: object) -> Tensor:
        return self.call(model, x, background, **more)


def _of_game(name: str) -> Callable[..., Tensor]:
    def call(model: nn.Module, x: Tensor, background: Tensor, seed: int = 0, **more: object) -> Tensor:
        return getattr(explainers, name)(model, x, background, **{"evaluations": 24, "seed": seed, **more}).values

    return call


def _integrated(model: nn.Module, x: Tensor, background: Tensor, seed: int = 0, **more: object) -> Tensor:
    return explainers.integrated_gradients(model, x, background[:1], **more).values


def _against_first(name: str) -> Callable[..., Tensor]:
    def call(model: nn.Module, x: Tensor, background: Tensor, seed: int = 0, **more: object) -> Tensor:
        return getattr(explainers, name)(model, x, background[:1], **more).values

    return call


def _drawn(model: nn.Module, x: Tensor, background: Tensor, seed: int = 0, **more: object) -> Tensor:
    return explainers.gradient_shap(model, x, background, draws=64, seed=seed, **more).values


def _smooth(model: nn.Module, x: Tensor, background: Tensor, seed: int = 0, **more: object) -> Tensor:
    return explainers.smooth_grad(model, x, draws=8, seed=seed, **more).values


def _plain(name: str) -> Callable[..., Tensor]:
    def call(model: nn.Module, x: Tensor, background: Tensor, seed: int = 0, **more: object) -> Tensor:
        return getattr(explainers, name)(model, x, **more)

    return call


CASES = (
    Case("kernel_shap", _of_game("kernel_shap"), batch_size=True),
    Case("lime", _of_game("lime"), batch_size=True),
    Case("integrated_gradients", _integrated, differentiable=True),
    Case("deep_lift", _against_first("deep_lift"), differentiable=True),
    Case("gradient_shap", _drawn, differentiable=True),
    Case("occlusion", _against_first("occlusion")),
    Case("smooth_grad", _smooth, differentiable=True),
    Case("saliency", _plain("saliency"), differentiable=True),
    Case("gradient_x_input", _plain("gradient_x_input"), differentiable=True),
)
