"""Small nets with random weights, one of each kind that bounds have rules for."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(14, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        hidden = functional.relu(self.first(x) * 2 - 0.1)
        return self.last(torch.cat([hidden + functional.relu(self.second(hidden)) / 2, 1 - x], dim=1))


def dense(bend: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(6, 10), bend, nn.Linear(10, 8), bend, nn.Linear(8, 3))


def conv(pool: nn.Module, wide: int = 2) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        pool,
        nn.Conv2d(4, 4, 2),
        nn.LeakyReLU(0.1),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(4 * (wide - 1) ** 2, 3),
    )


def series() -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(1, 3, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm1d(3),
        nn.Tanh(),
        nn.AdaptiveAvgPool1d(1),
        nn.Flatten(),
        nn.Linear(3, 3),
    )


FLAT, PLANE, LINE = (2, 3), (1, 4, 4), (1, 8)
BENDS = (
    nn.ReLU(), nn.LeakyReLU(0.2), nn.Sigmoid(), nn.Tanh(), nn.GELU(), nn.GELU("tanh"), nn.SiLU(), nn.ELU(), nn.SELU(),
    nn.Softplus(), nn.Hardtanh(), nn.ReLU6(), nn.Hardsigmoid(), nn.Hardswish(),
)  # fmt: skip
NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    **{f"{type(b).__name__}{i}": (lambda b=b: dense(b), FLAT) for i, b in enumerate(BENDS)},  # type: ignore[misc]
    "max": (lambda: conv(nn.MaxPool2d(2)), PLANE),
    "overlapping max": (lambda: conv(nn.MaxPool2d(3, 1, 1), 4), PLANE),
    "average": (lambda: conv(nn.AvgPool2d(2)), PLANE),
    "adaptive": (lambda: conv(nn.AdaptiveAvgPool2d(2)), PLANE),
    "series": (series, LINE),
    "residual": (Residual, FLAT),
    "probabilities": (lambda: nn.Sequential(dense(nn.ReLU()), nn.Softmax(1)), FLAT),
    "log-probabilities": (lambda: nn.Sequential(dense(nn.ReLU()), nn.LogSoftmax(1)), FLAT),
}


def net(name: str, seed: int = 0) -> tuple[nn.Module, tuple[int, ...]]:
    """The net with weights and running moments drawn anew, in eval mode, and the shape of its inputs."""
    build, shape = NETS[name]
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        model = build()
        for module in model.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
        for weight in model.parameters():
            weight.mul_(2)  # else the nets are nearly constant
        for buffer in model.buffers():
            if buffer.is_floating_point():
                buffer.copy_(torch.rand_like(buffer) + 0.5)
    return model.eval(), shape
