"""A small table, and readers that must stay off the network."""

import socket
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any attempt to reach the network fails the test."""

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError(f"a reader went to the network: {args}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def people() -> pd.DataFrame:
    """Six rows with every kind of column."""
    return pd.DataFrame(
        {
            "age": [20, 30, 40, 50, 60, 70],
            "wage": [1.5, 2.5, 3.5, 4.5, 5.5, 6.5],
            "sex": ["F", "M", "F", "M", "F", None],
            "income": ["low", "high", "low", "high", "low", "high"],
        }
    )


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    """Age standardised by hand, sex one-hot."""
    path = tmp_path / "encoder.json"
    path.write_text(
        '{"version": 1, "features": [{"name": "sex", "kind": "categorical", "categories": ["F", "M"]},'
        ' {"name": "age", "kind": "numeric", "mean": 40, "std": 10}]}'
    )
    return path


@pytest.fixture
def pixels() -> np.ndarray:
    """Twelve 5 x 4 grey images of bytes, with 0 and 255 among them."""
    images = np.random.default_rng(0).integers(0, 256, (12, 5, 4), dtype=np.uint8)
    images[0, 0, :2] = 0, 255
    return images
