"""Data sets with known faults."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from audit.datasets import Dataset
from audit.datasets.encoding import Encoder, encode
from audit.subject import Capability, Modality, Subject, Task


@pytest.fixture
def subject() -> Subject:
    """A model of 12 parameters; the data checks never ask it anything."""
    model = torch.nn.Linear(5, 2)
    return Subject(
        model=model,
        predict=lambda inputs: torch.zeros(len(inputs), 2),
        task=Task.CLASSIFICATION,
        modality=Modality.TABULAR,
        classes=("a", "b"),
        capabilities=frozenset(Capability),
        digest="",
        name="",
        source="",
        format="",
        device=torch.device("cpu"),
    )


def _make(inputs: Any, labels: Sequence[int], modality: Modality, **others: Any) -> Dataset:
    values: dict[str, Any] = {
        "inputs": inputs,
        "labels": torch.tensor(np.asarray(labels), dtype=torch.int64),
        "classes": ("a", "b"),
        "modality": modality,
        "groups": {},
        "label": "y",
        "split": "test",
        "source": "",
        "digest": "",
    }
    return Dataset(**(values | others))


@pytest.fixture
def make() -> Callable[..., Dataset]:
    """Build a data set from inputs and labels."""
    return _make


@pytest.fixture
def table() -> Callable[..., Dataset]:
    """Build a data set from a frame with the label `y`, numeric columns as they are, the rest one-hot."""

    def build(frame: pd.DataFrame, categories: dict[str, list[str]] | None = None, **others: Any) -> Dataset:
        known = categories or {}
        features = [
            {"name": c, "kind": "categorical", "categories": known[c]}
            if c in known
            else {"name": c, "kind": "numeric", "mean": 0, "std": 1}
            for c in frame.columns
            if c != "y"
        ]
        values, encoded = encode(frame, Encoder.model_validate({"features": features}), "y", [])
        labels = frame["y"].to_numpy()
        return _make(torch.from_numpy(values), labels, Modality.TABULAR, frame=frame, features=encoded, **others)

    return build
