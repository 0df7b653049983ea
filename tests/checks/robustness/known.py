"""Subjects and data sets small enough to know the truth about."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from audit.datasets import Dataset, Feature, FeatureKind, Inputs
from audit.subject import Capability, Modality, Subject, Task


def subject_of(
    model: Callable[[Inputs], Tensor],
    modality: Modality,
    classes: tuple[str, ...] = ("no", "yes"),
    gradient: bool = True,
) -> Subject:
    """A subject around any function from inputs to scores."""

    def predict(inputs: Inputs) -> Tensor:
        with torch.no_grad():
            return model(inputs).float().cpu()

    return Subject(
        model=model if isinstance(model, nn.Module) else nn.Identity(),
        predict=predict,
        task=Task.CLASSIFICATION,
        modality=modality,
        classes=classes,
        capabilities=frozenset({Capability.INPUT_GRADIENT} if gradient else ()),
        digest="0" * 64,
        name="toy",
        source="memory",
        format="python",
        device=torch.device("cpu"),
    )


def linear(weights: list[list[float]], bias: list[float], flatten: bool = False) -> nn.Module:
    """A linear classifier with these weights (classes, d)."""
    layer = nn.Linear(len(weights[0]), len(weights))
    layer.weight = nn.Parameter(torch.tensor(weights), requires_grad=False)
    layer.bias = nn.Parameter(torch.tensor(bias), requires_grad=False)
    return nn.Sequential(nn.Flatten(), layer).eval() if flatten else layer.eval()


def dataset_of(inputs: Inputs, labels: Tensor, modality: Modality, classes: tuple[str, ...] = ("no", "yes")) -> Dataset:
    """A data set without anything optional."""
    return Dataset(
        inputs=inputs,
        labels=labels,
        classes=classes,
        modality=modality,
        groups={},
        label="label",
        split="test",
        source="memory",
        digest="0" * 64,
    )


FEATURES = (
    Feature("height", FeatureKind.NUMERIC, (0,), mean=170.0, std=10.0),
    Feature("weight", FeatureKind.NUMERIC, (1,), mean=70.0, std=5.0),
    Feature("age", FeatureKind.NUMERIC, (2,), mean=40.0, std=8.0, mutable=False),
    Feature("colour", FeatureKind.CATEGORICAL, (3, 4, 5), categories=("red", "green", "blue")),
)


def table(n: int, seed: int = 0) -> Dataset:
    """Rows of three numbers and a colour; the label is the sign of the first number."""
    rng = np.random.default_rng(seed)
    x = torch.zeros(n, 6)
    x[:, :3] = torch.from_numpy(rng.normal(size=(n, 3))).float()
    x[torch.arange(n), torch.from_numpy(3 + rng.integers(0, 3, n))] = 1
    data = dataset_of(x, (x[:, 0] > 0).long(), Modality.TABULAR)
    return replace(data, features=FEATURES)


def pictures(n: int, channels: int = 1, size: int = 16, seed: int = 0) -> Dataset:
    """Soft random pictures in [0, 1]; the label says whether the mean is above one half."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n, channels, 4, 4, generator=generator)
    level = torch.linspace(-0.25, 0.25, n)[torch.randperm(n, generator=generator)]
    x = nn.functional.interpolate(coarse, size=(size, size), mode="bilinear") * 0.4 + 0.3
    x = (x - x.mean((1, 2, 3), keepdim=True) + 0.5 + level[:, None, None, None]).clamp(0, 1)
    data = dataset_of(x, (x.mean((1, 2, 3)) > 0.5).long(), Modality.IMAGE, ("dark", "light"))
    return replace(data, bounds=(0.0, 1.0))
