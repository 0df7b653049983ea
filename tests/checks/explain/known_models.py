"""Models whose explanation is known, with their data."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from audit.datasets import Dataset, Feature, FeatureKind
from audit.subject import Capability, Modality, Subject, Task

GRADIENTS = frozenset({Capability.INPUT_GRADIENT, Capability.HOOKS, Capability.TRAIN})


class Linear(nn.Module):
    """Two classes; the log-odds of the second are a linear function of the inputs."""

    def __init__(self, weights: list[float]):
        super().__init__()
        self.layer = nn.Linear(len(weights), 1, bias=False)
        with torch.no_grad():
            self.layer.weight.copy_(torch.tensor([weights]))

    def forward(self, x):
        z = self.layer(x.flatten(1))
        return torch.cat([torch.zeros_like(z), z], dim=1)


def subject(model: nn.Module, modality: Modality = Modality.TABULAR, capabilities=GRADIENTS) -> Subject:
    model = model.eval().requires_grad_(False)

    def predict(inputs):
        with torch.no_grad():
            return model(inputs)

    return Subject(
        model=model,
        predict=predict,
        task=Task.CLASSIFICATION,
        modality=modality,
        classes=("no", "yes"),
        capabilities=capabilities,
        digest="",
        name="",
        source="",
        format="safetensors",
        device=torch.device("cpu"),
    )


def numbers(inputs: np.ndarray, labels: np.ndarray | None = None) -> Dataset:
    """A table of numeric features x0, x1, ... (or pictures, when there are more dimensions)."""
    tabular = inputs.ndim == 2
    names = [f"x{i}" for i in range(inputs.shape[1])] if tabular else []
    return _dataset(
        inputs,
        labels,
        Modality.TABULAR if tabular else Modality.IMAGE,
        tuple(Feature(name, FeatureKind.NUMERIC, (i,)) for i, name in enumerate(names)),
        {},
    )


def people(n: int, share_of_women: float, rng: np.random.Generator) -> Dataset:
    """Two numeric features and `sex`, one-hot in the columns 2 (F) and 3 (M); the label is being a woman."""
    woman = rng.random(n) < share_of_women
    inputs = np.column_stack([rng.normal(size=(n, 2)), woman, ~woman])
    features = (
        Feature("x0", FeatureKind.NUMERIC, (0,)),
        Feature("x1", FeatureKind.NUMERIC, (1,)),
        Feature("sex", FeatureKind.CATEGORICAL, (2, 3), categories=("F", "M")),
    )
    groups = {"sex": np.where(woman, "F", "M").astype(object), "club": np.full(n, "a", dtype=object)}
    return _dataset(inputs, woman.astype(np.int64), Modality.TABULAR, features, groups)


def _dataset(inputs, labels, modality, features, groups) -> Dataset:
    labels = np.zeros(len(inputs), dtype=np.int64) if labels is None else labels
    return Dataset(
        inputs=torch.as_tensor(inputs, dtype=torch.float32),
        labels=torch.as_tensor(labels),
        classes=("no", "yes"),
        modality=modality,
        groups=groups,
        label="y",
        split="test",
        source="",
        digest="",
        features=features,
        favourable=1,
    )
