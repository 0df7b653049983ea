"""Small nets on scikit-learn's digits, and a fresh net each test may train."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn


@pytest.fixture(scope="session")
def train() -> tuple[Tensor, Tensor]:
    """600 images (600, 1, 8, 8) in [0, 1] and their labels."""
    images, labels = load_digits(return_X_y=True)
    return torch.tensor(images[:600] / 16, dtype=torch.float32).view(-1, 1, 8, 8), torch.tensor(labels[:600])


@pytest.fixture(scope="session")
def unseen() -> tuple[Tensor, Tensor]:
    """200 others."""
    images, labels = load_digits(return_X_y=True)
    return torch.tensor(images[-200:] / 16, dtype=torch.float32).view(-1, 1, 8, 8), torch.tensor(labels[-200:])


@pytest.fixture
def net() -> Callable[..., nn.Module]:
    """An untrained net with batch normalisation and dropout; the same for the same seed."""

    def build(seed: int = 0) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return nn.Sequential(
                nn.Conv2d(1, 8, 3, padding=1),
                nn.BatchNorm2d(8),
                nn.ReLU(),
                nn.MaxPool2d(2),
                nn.Flatten(),
                nn.Dropout(0.1),
                nn.Linear(128, 10),
            ).eval()

    return build
