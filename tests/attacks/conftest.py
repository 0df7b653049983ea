"""A small convolutional net trained on scikit-learn's digits, and points it has not seen."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional


@pytest.fixture(scope="package", autouse=True)
def one_thread() -> Iterator[None]:
    """Nets this small spend more time on sharing work than on work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def digits(trained: tuple[nn.Module, Tensor, Tensor]) -> tuple[nn.Module, Tensor, Tensor]:
    """The net in eval mode, 60 test images (60, 1, 8, 8) in [0, 1], and their labels; no gradients of other tests."""
    trained[0].zero_grad()
    return trained


@pytest.fixture(scope="session")
def trained() -> tuple[nn.Module, Tensor, Tensor]:
    """What `digits` gives."""
    images, labels = load_digits(return_X_y=True)
    inputs = torch.tensor(images / 16, dtype=torch.float32).view(-1, 1, 8, 8)
    labels = torch.tensor(labels)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Dropout(0.1),
            nn.Linear(256, 10),
        )
        optimiser = torch.optim.Adam(model.parameters(), 1e-2)
        for _ in range(8):
            for rows in torch.randperm(1400).split(100):
                optimiser.zero_grad()
                functional.cross_entropy(model(inputs[rows]), labels[rows]).backward()
                optimiser.step()
    return model.eval(), inputs[1400:1460], labels[1400:1460]
