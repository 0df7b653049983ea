"""Twelve ways to build a network on which gradient explainers are known to go wrong."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

#: one input is a sequence (or channels) of LENGTH vectors of WIDTH numbers
LENGTH, WIDTH, OUTPUTS = 4, 8, 3


class FunctionalReLU(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(WIDTH, 12), nn.Linear(12 * LENGTH, OUTPUTS)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(functional.relu(self.first(x)).flatten(1))


class ReusedReLU(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.middle, self.last = nn.Linear(WIDTH, 12), nn.Linear(12, 12), nn.Linear(12 * LENGTH, OUTPUTS)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.relu(self.middle(self.relu(self.first(x)))).flatten(1))


class InPlaceReLU(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.middle, self.last = nn.Linear(WIDTH, 12), nn.Linear(12, 12), nn.Linear(12 * LENGTH, OUTPUTS)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.first(x)
        hidden[..., :6] *= 2
        functional.relu_(hidden)
        return self.last(self.relu(self.middle(hidden)).flatten(1))


class Attention(nn.Module):
    """Both of torch's doors to attention: the module and the function."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(WIDTH, 2, batch_first=True)
        self.query, self.key, self.last = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, OUTPUTS)

    def forward(self, x: Tensor) -> Tensor:
        x = self.attention(x, x, x, need_weights=False)[0]
        x = functional.scaled_dot_product_attention(4 * self.query(x), 4 * self.key(x), x, is_causal=True)
        return self.last(x.mean(1))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.last = nn.LSTM(WIDTH, 10, batch_first=True), nn.Linear(10, OUTPUTS)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.lstm(x)[0][:, -1])


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(WIDTH, 12), nn.Linear(12, WIDTH), nn.Linear(WIDTH, OUTPUTS)

    def forward(self, x: Tensor) -> Tensor:
        return self.last((x + self.second(self.first(x).relu())).relu().sum(1))


class Embedding(nn.Module):
    """A classifier of tokens, explained at the embeddings: what comes after the table."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(20, WIDTH)
        self.position = nn.Parameter(torch.randn(LENGTH, WIDTH) / 4)
        self.convolution, self.last = nn.Conv1d(WIDTH, 12, 3), nn.Linear(12, OUTPUTS)

    def embed(self, ids: Tensor) -> Tensor:
        return self.table(ids)

    def forward(self, embedded: Tensor) -> Tensor:
        return self.last(self.convolution((embedded + self.position).mT).relu().amax(2))


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.block, self.last = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, OUTPUTS)

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(3):
            x = functional.leaky_relu(functional.linear(x, self.block.weight, self.block.bias))
        return self.last(x.mean(1))


@dataclass(frozen=True)
class Motif:
    """A model and what it is given.

    Attributes:
        name: what is peculiar about it.
        model: in eval mode, double precision.
        inputs: (4, LENGTH, WIDTH).
        baselines: (3, LENGTH, WIDTH).
    """

    name: str
    model: nn.Module
    inputs: Tensor
    baselines: Tensor


def _head(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(12 * LENGTH, OUTPUTS))


def motifs() -> list[Motif]:
    """All twelve."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        models = {
            "functional ReLU": FunctionalReLU(),
            "reused ReLU": ReusedReLU(),
            "in-place ReLU": InPlaceReLU(),
            "LayerNorm": _head(nn.Linear(WIDTH, 12), nn.LayerNorm(12), nn.ReLU()),
            "GELU": _head(nn.Linear(WIDTH, 12), nn.GELU()),
            "attention": Attention(),
            "LSTM": Recurrent(),
            "residual": Residual(),
            "embedding": Embedding(),
            "GroupNorm": _head(nn.Linear(WIDTH, 12), nn.GroupNorm(2, LENGTH), nn.ReLU()),
            "shared weights": Shared(),
            "softmax head": nn.Sequential(_head(nn.Linear(WIDTH, 12), nn.ReLU()), nn.Softmax(1)),
        }
        inputs, baselines = torch.randn(4, LENGTH, WIDTH).double(), torch.randn(3, LENGTH, WIDTH).double() / 2
        made = [Motif(name, model.double().eval(), inputs, baselines) for name, model in models.items()]
    tokens = next(m for m in made if m.name == "embedding")
    with torch.no_grad():
        ids = torch.arange(4 * LENGTH).reshape(4, LENGTH) % 20
        embedded = tokens.model.embed(ids), tokens.model.embed(torch.zeros(3, LENGTH, dtype=torch.long))
    return [Motif(m.name, m.model, *embedded) if m is tokens else m for m in made]
