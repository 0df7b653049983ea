"""Subjects whose explanations are known: log-odds that are linear in what can be removed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from audit.datasets.types import Dataset, Feature, FeatureKind
from audit.subject import Capability, Encoded, Modality, Subject, Task

WORDS = ("[PAD]", "[CLS]", "[SEP]", "[MASK]", "dull", "the", "film", "fine", "great")
WEIGHT = torch.tensor([0.0, 0.0, 0.0, 0.0, -2.0, 0.0, 0.25, 1.0, 3.0])


class BinaryLinear(nn.Module):
    """Scores (0, w · x), so that the log-odds of class 1 are w · x."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight)

    def forward(self, batch: Tensor) -> Tensor:
        one = batch.flatten(1) @ self.weight
        return torch.stack([torch.zeros_like(one), one], dim=1)


class Bag(nn.Module):
    """A text model that adds up the weights of its words."""

    mask_id = 3
    special_ids = frozenset({0, 1, 2})

    def encode(self, texts: Sequence[str]) -> Encoded:
        rows = [[1, *(WORDS.index(word) for word in text.split()), 2] for text in texts]
        longest = max(len(row) for row in rows)
        ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
        return Encoded(ids, (ids != 0).long())

    def tokens(self, ids: Sequence[int]) -> tuple[str, ...]:
        return tuple(WORDS[i] for i in ids)

    def embed(self, ids: Tensor) -> Tensor:
        return torch.stack([WEIGHT[ids] / 2, WEIGHT[ids] / 2], dim=2)

    def from_ids(self, encoded: Encoded) -> Tensor:
        return self.from_embeddings(self.embed(encoded.ids), encoded.mask)

    def from_embeddings(self, embeddings: Tensor, mask: Tensor) -> Tensor:
        one = (embeddings.sum(2) * mask).sum(1)
        return torch.stack([torch.zeros_like(one), one], dim=1)


def subject(model: nn.Module, modality: Modality, text: Bag | None = None) -> Subject:
    def predict(inputs):
        with torch.no_grad():
            return model.from_ids(model.encode(inputs)) if text is not None else model(inputs)

    return Subject(
        model=model,
        predict=predict,
        task=Task.CLASSIFICATION,
        modality=modality,
        classes=("no", "yes"),
        capabilities=frozenset({Capability.INPUT_GRADIENT, Capability.EMBEDDINGS, Capability.HOOKS}),
        digest="0" * 64,
        name="known",
        source="memory",
        format="state_dict",
        device=torch.device("cpu"),
        text=text,
    )


def dataset(inputs, labels: Tensor, modality: Modality, **more) -> Dataset:
    return Dataset(
        inputs=inputs,
        labels=labels,
        classes=("no", "yes"),
        modality=modality,
        groups={},
        label="answer",
        split="test",
        source="memory",
        digest="0" * 64,
        **more,
    )


@pytest.fixture
def table() -> tuple[Subject, Dataset]:
    """Age, a one-hot city of three, and a column the model ignores."""
    weight = torch.tensor([2.0, 1.0, -1.0, 0.0, 0.0])
    rng = np.random.default_rng(0)
    city = np.eye(3)[rng.integers(0, 3, 60)]
    inputs = torch.tensor(
        np.column_stack([rng.standard_normal(60), city, rng.standard_normal(60)]), dtype=torch.float32
    )
    labels = (inputs @ weight + torch.tensor(rng.standard_normal(60)) > 0).long()
    features = (
        Feature("age", FeatureKind.NUMERIC, (0,)),
        Feature("city", FeatureKind.CATEGORICAL, (1, 2, 3), categories=("a", "b", "c")),
        Feature("noise", FeatureKind.NUMERIC, (4,)),
    )
    return subject(BinaryLinear(weight), Modality.TABULAR), dataset(inputs, labels, Modality.TABULAR, features=features)


@pytest.fixture
def picture() -> tuple[Subject, Dataset]:
    """Pictures of 14 by 14 pixels; the model reads the top left cell (2 by 2) alone."""
    weight = torch.zeros(14, 14)
    weight[:2, :2] = 4.0
    inputs = torch.rand(40, 1, 14, 14, generator=torch.Generator().manual_seed(0))
    inputs[:, :, :2, :2] -= 0.5
    labels = (inputs[:, 0, :2, :2].sum((1, 2)) > 0).long()
    labels[::7] = 1 - labels[::7]
    return subject(BinaryLinear(weight.flatten()), Modality.IMAGE), dataset(inputs, labels, Modality.IMAGE)


@pytest.fixture
def words() -> tuple[Subject, Dataset]:
    """Short reviews of different lengths, one without a word."""
    texts = [
        "the film great",
        "dull",
        "the dull film",
        "fine film",
        "great fine film the film",
        "",
        "the film dull dull",
    ]
    labels = torch.tensor([1, 0, 0, 1, 1, 0, 1])
    bag = Bag()
    return subject(bag, Modality.TEXT, bag), dataset(texts, labels, Modality.TEXT)


@pytest.fixture
def attentive() -> tuple[Subject, Dataset]:
    """A tiny transformer, untrained, behind the same words."""
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=8)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = BertForSequenceClassification(config).eval()
    bag = Bag()
    known = subject(bag, Modality.TEXT, bag)
    known.model, known.capabilities = model, known.capabilities | {Capability.ATTENTION}
    return known, dataset(["the film great", "dull"], torch.tensor([1, 0]), Modality.TEXT)
