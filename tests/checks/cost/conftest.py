"""Subjects whose cost is known in closed form."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pytest
import torch
from torch import nn

from audit.datasets import Dataset
from audit.subject import Capability, Encoded, Modality, Subject, Task


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def pair() -> Callable[..., tuple[Subject, Dataset]]:
    """A subject around a module, and a data set of random inputs of this shape."""

    def make(model: nn.Module, shape: Sequence[int], source: str = "") -> tuple[Subject, Dataset]:
        modality = Modality.TABULAR if len(shape) == 1 else Modality.IMAGE
        inputs = torch.rand((8, *shape), generator=torch.Generator().manual_seed(0))
        data = _data(inputs, modality)
        return _subject(model.eval(), modality, source), data

    return make


class Words:
    """A text adapter over words: id = length of the word; one model call a batch."""

    mask_id = 1
    special_ids = frozenset({0})

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.table = torch.randn(20, 4, generator=generator)
        self.head = torch.randn(4, 2, generator=generator)
        self.seen: list[tuple[int, ...]] = []

    def encode(self, texts: Sequence[str]) -> Encoded:
        rows = [[len(word) for word in text.split()] for text in texts]
        width = max(map(len, rows))
        ids = torch.tensor([[0] * (width - len(row)) + row for row in rows])  # padded on the left
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
        return Encoded(ids, mask)

    def from_ids(self, encoded: Encoded) -> torch.Tensor:
        self.seen.append(tuple(encoded.ids.shape))
        with torch.inference_mode():
            return (self.table[encoded.ids] @ self.head).sum(1)


@pytest.fixture
def text_pair() -> tuple[Subject, Dataset]:
    """Texts of 1, 2, ..., 5 words; the median length is 3."""
    texts = [" ".join("ab" * n for _ in range(n)) for n in range(1, 6)]
    subject = _subject(nn.Identity(), Modality.TEXT, "")
    subject.text = Words()  # type: ignore[assignment]
    return subject, _data(texts, Modality.TEXT)


def _subject(model: nn.Module, modality: Modality, source: str) -> Subject:
    return Subject(
        model=model,
        predict=model,
        task=Task.CLASSIFICATION,
        modality=modality,
        classes=("a", "b"),
        capabilities=frozenset(Capability),
        digest="",
        name="",
        source=source,
        format="",
        device=torch.device("cpu"),
    )


def _data(inputs: torch.Tensor | list[str], modality: Modality) -> Dataset:
    return Dataset(
        inputs=inputs,
        labels=torch.zeros(len(inputs), dtype=torch.int64),
        classes=("a", "b"),
        modality=modality,
        groups={},
        label="y",
        split="test",
        source="",
        digest="",
    )
