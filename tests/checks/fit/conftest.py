"""Subjects that give the scores they are told."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from audit.datasets import Dataset
from audit.subject import Modality, Subject, Task


@pytest.fixture
def scored() -> Callable[..., tuple[Subject, Dataset]]:
    """A subject whose scores are the inputs, and its data; optionally with a training split of the same kind."""

    def make(scores, labels, train=None) -> tuple[Subject, Dataset]:
        classes = tuple("abcdefghij"[: np.shape(scores)[1]])
        subject = Subject(
            model=nn.Identity(),
            predict=lambda x: x,
            task=Task.CLASSIFICATION,
            modality=Modality.TABULAR,
            classes=classes,
            capabilities=frozenset(),
            digest="",
            name="",
            source="",
            format="",
            device=torch.device("cpu"),
        )
        return subject, _data(scores, labels, classes, None if train is None else _data(*train, classes, None))

    return make


def _data(scores, labels, classes, train) -> Dataset:
    return Dataset(
        inputs=torch.as_tensor(np.asarray(scores), dtype=torch.float32),
        labels=torch.as_tensor(np.asarray(labels), dtype=torch.int64),
        classes=classes,
        modality=Modality.TABULAR,
        groups={},
        label="y",
        split="test" if train is None else "train",
        source="",
        digest="",
        train=train,
    )
