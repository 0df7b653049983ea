"""People whose treatment by a model is known, for the fairness checks."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch

from audit.check import Check
from audit.datasets import Dataset
from audit.subject import Modality, Subject, Task
from reports.record import Measured

N = 3000


def judged(
    scores: np.ndarray,
    labels: np.ndarray,
    groups: dict[str, np.ndarray],
    frame: pd.DataFrame | None = None,
    modality: Modality = Modality.TABULAR,
    favourable: int | None = 1,
) -> tuple[Subject, Dataset]:
    """A model that returns these scores (n, classes), and the people it judges."""
    k = scores.shape[1]
    classes = tuple(f"c{i}" for i in range(k))
    inputs = torch.from_numpy(scores).float()
    subject = Subject(
        model=torch.nn.Identity(),
        predict=lambda x: x,
        task=Task.CLASSIFICATION,
        modality=modality,
        classes=classes,
        capabilities=frozenset(),
        digest="0",
        name="people",
        source="-",
        format="test",
        device=torch.device("cpu"),
    )
    data = Dataset(
        inputs=inputs,
        labels=torch.from_numpy(labels.astype(np.int64)),
        classes=classes,
        modality=modality,
        groups=groups,
        label="y",
        split="test",
        source="-",
        digest="0",
        frame=frame,
        favourable=favourable,
    )
    return subject, data


def colleges(turned: bool = True) -> tuple[Subject, Dataset]:
    """Women apply to the strict department; within each department they are admitted more often by 15 points."""
    rng = np.random.default_rng(0)
    sex = np.where(rng.random(N) < 0.55, "M", "F").astype(object)
    strict = rng.random(N) < np.where(sex == "F", 0.9, 0.1) if turned else rng.random(N) < 0.5
    chance = np.where(strict, 0.2, 0.7) + 0.15 * (sex == "F")
    answer = rng.random(N) < chance
    frame = pd.DataFrame({"department": np.where(strict, "strict", "easy"), "noise": rng.random(N), "y": answer * 1})
    frame["id"] = [f"p{i}" for i in range(N)]
    scores = np.stack([np.zeros(N), np.where(answer, 1.0, -1.0)], 1)
    return judged(scores, answer, {"sex": sex}, frame)


def people(
    lean: float = 0.0, gone: float = 0.0, k: int = 2, modality: Modality = Modality.TABULAR
) -> tuple[Subject, Dataset]:
    """Two attributes; `lean` is added to the favourable score of M, and a share `gone` of sexes is unknown."""
    rng = np.random.default_rng(1)
    sex = np.where(np.arange(N) % 2, "F", "M").astype(object)
    age = np.where(rng.random(N) < 0.3, "old", "young").astype(object)
    scores = rng.normal(0, 1.5, (N, k))
    share = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    labels = (share.cumsum(1) < rng.random((N, 1))).sum(1)
    scores[:, 1] += lean * (sex == "M")
    sex[rng.random(N) < gone] = None
    return judged(scores, labels, {"sex": sex, "age": age}, modality=modality)


def run(check: Check, pair: tuple[Subject, Dataset], seed: int = 0) -> Measured:
    """What the check measures, once it says that it applies."""
    subject, data = pair
    assert check.skip_reason(subject, data) is None
    return check.run(subject, data, np.random.default_rng(seed))


def regions(number: int) -> tuple[Subject, Dataset]:
    """Ten rows a region, some unknown, and a second attribute."""
    rng = np.random.default_rng(0)
    n = 10 * number
    region = np.array([f"r{i}" for i in rng.integers(0, number, n)], dtype=object)
    region[:50] = None
    answer = rng.random(n) < 0.4
    frame = pd.DataFrame({"x": rng.integers(0, 9, n), "y": answer * 1})
    groups = {"region": region, "sex": rng.choice(["F", "M"], n).astype(object)}
    return judged(np.stack([~answer, answer], 1) * 2.0, answer, groups, frame)
