"""The Fashion network of the examples: its points, its weights, and a hardened twin."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import attacks

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "examples" / "fashion"
sys.path.insert(0, str(EXAMPLE))


class Normalised(nn.Module):
    """The network on pixels in [0, 1]; the normalisation is that of the example's plan."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner((x - 0.287) / 0.353)


def untrained() -> nn.Module:
    from model import build

    return Normalised(build())


def standard() -> nn.Module:
    """As the example ships it."""
    model = untrained()
    model.inner.load_state_dict(load_file(EXAMPLE / "model.safetensors"))
    return model.eval()


def points(n: int, split: str = "test") -> tuple[Tensor, Tensor]:
    """The first n images (n, 1, 28, 28) in [0, 1] and their labels."""
    archive = np.load(EXAMPLE / "data.npz")
    images = torch.from_numpy(archive[f"{split}_images"][:n]).float() / 255
    return images[:, None], torch.from_numpy(archive[f"{split}_labels"][:n]).long()


def hardened() -> nn.Module:
    """Trained on attacked images (linf 0.1) by `attacks.harden`; trained once, then kept in `.cache`."""
    path = Path(__file__).parent / ".cache" / "fashion-hardened.safetensors"
    if not path.exists():
        threat = attacks.Threat("linf", 0.1)
        found = attacks.harden(standard(), points(10_000, "train"), threat, recipe="fast", epochs=7, batch_size=64)
        path.parent.mkdir(exist_ok=True)
        save_file(found.model.state_dict(), path)
    model = untrained()
    model.load_state_dict(load_file(path))
    return model.eval()
