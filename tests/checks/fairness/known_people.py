"""Tables, texts and pictures with groups, and models whose treatment of them is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from audit.datasets import Dataset, Feature, FeatureKind
from audit.subject import Modality, Subject, Task

RACES = ("a", "b", "c")


def judged(odds: Callable[..., Tensor], modality: Modality = Modality.TABULAR) -> Subject:
    """A model with these log-odds of "yes"."""

    def predict(inputs):
        z = odds(inputs).float()[:, None]
        return torch.cat([torch.zeros_like(z), z], 1)

    return Subject(
        model=torch.nn.Identity(),
        predict=predict,
        task=Task.CLASSIFICATION,
        modality=modality,
        classes=("no", "yes"),
        capabilities=frozenset(),
        digest="0",
        name="known",
        source="-",
        format="test",
        device=torch.device("cpu"),
    )


def judge(scores: torch.Tensor, classes: tuple[str, ...]) -> Subject:
    """A model that looks its scores up: an input is a row number."""
    return Subject(
        model=torch.nn.Identity(),
        predict=lambda rows: scores[[int(row) for row in rows] if isinstance(rows, list) else rows[:, 0].long()],
        task=Task.CLASSIFICATION,
        modality=Modality.TABULAR,
        classes=classes,
        capabilities=frozenset(),
        digest="0",
        name="known",
        source="-",
        format="test",
        device=torch.device("cpu"),
    )


def people(n: int = 1200, seed: int = 0) -> Dataset:
    """Columns: a merit, an age in years over 10, sex (F, M) and race (a, b, c) one-hot; half of all deserve yes."""
    rng = np.random.default_rng(seed)
    merit, age = rng.normal(size=n), rng.integers(18, 80, n)
    woman, race = rng.random(n) < 0.5, rng.choice(3, n, p=[0.6, 0.3, 0.1])
    inputs = np.column_stack([merit, age / 10, woman, ~woman, np.eye(3)[race]])
    features = (
        Feature("merit", FeatureKind.NUMERIC, (0,)),
        Feature("age", FeatureKind.NUMERIC, (1,)),
        Feature("sex", FeatureKind.CATEGORICAL, (2, 3), categories=("F", "M")),
        Feature("race", FeatureKind.CATEGORICAL, (4, 5, 6), categories=RACES),
    )
    groups = {
        "sex": np.where(woman, "F", "M").astype(object),
        "race": np.array(RACES, dtype=object)[race],
        "age": age.astype(object),
    }
    return _dataset(
        torch.from_numpy(inputs).float(), merit + rng.normal(0, 0.5, n) > 0, Modality.TABULAR, groups, features
    )


def texts(written: list[str]) -> Dataset:
    return _dataset(written, np.arange(len(written)) % 2 == 0, Modality.TEXT, {}, ())


def pictures(n: int = 400) -> Dataset:
    """One grey pixel, bright for yes, of people of two groups."""
    rng = np.random.default_rng(0)
    bright = rng.random(n)
    groups = {"sex": np.where(rng.random(n) < 0.5, "F", "M").astype(object)}
    return _dataset(torch.from_numpy(bright).float().reshape(n, 1, 1, 1), bright > 0.5, Modality.IMAGE, groups, ())


def with_groups(data: Dataset, **groups) -> Dataset:
    return replace(data, groups=groups)


def _dataset(inputs, yes, modality, groups, features) -> Dataset:
    return Dataset(
        inputs=inputs,
        labels=torch.from_numpy(np.asarray(yes).astype(np.int64)),
        classes=("no", "yes"),
        modality=modality,
        groups=groups,
        label="y",
        split="test",
        source="-",
        digest="0",
        features=features,
        favourable=1,
    )
