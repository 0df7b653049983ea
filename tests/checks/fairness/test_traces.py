"""Traces of attributes in worlds where it is known who can tell them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from audit.checks.fairness.traces import Traces
from audit.datasets import Dataset
from audit.subject import Capability, Modality, Subject
from tests.checks.explain.known_models import Linear, numbers, people, subject

SMALL = Traces(people=400, permutations=49, waves=0)


class Forgetful(nn.Module):
    """Two layers; the hidden one holds the first input only."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.head = nn.Linear(3, 2), nn.Linear(2, 2)
        with torch.no_grad():
            self.hidden.weight.copy_(torch.tensor([[1.0, 0, 0], [-1.0, 0, 0]]))

    def forward(self, x):
        return self.head(torch.relu(self.hidden(x)))


def world(moved: int | None, n: int = 400) -> Dataset:
    """Three standard normal features, one of them moved in group "a"."""
    rng = np.random.default_rng(0)
    inside, x = rng.random(n) < 0.4, rng.normal(size=(n, 3))
    if moved is not None:
        x[:, moved] += 2 * inside
    return replace(numbers(x), groups={"club": np.where(inside, "a", "b").astype(object)})


def p_values(measured) -> dict[str, float]:
    return {row[1]: row[4] for row in measured.tables[0].rows}


def test_what_the_network_lets_go_of_is_in_the_inputs_only():
    measured = SMALL.run(subject(Forgetful()), world(1), np.random.default_rng(0))
    assert measured.estimates["told_by_inputs@club"].low > 0.85
    assert p_values(measured)["inputs"] == 0.02
    assert p_values(measured)["embedding"] > 0.05
    assert p_values(measured)["scores"] > 0.05
    assert measured.tables[2].rows[0][1] == "x1"
    assert measured.headline == ("told_by_inputs@club", "told_by_embedding@club", "told_by_scores@club")


def test_what_the_network_uses_is_everywhere():
    measured = SMALL.run(subject(Forgetful()), world(0), np.random.default_rng(0))
    assert set(p_values(measured).values()) == {0.02}
    assert measured.estimates["balanced_accuracy_embedding@club"].low > 0.7


def test_the_attribute_itself_is_no_input():
    data = people(400, 0.4, np.random.default_rng(0))
    model = nn.Sequential(nn.Linear(4, 3), nn.Identity(), nn.Linear(3, 2))
    measured = SMALL.run(subject(model), data, np.random.default_rng(0))
    assert p_values(measured)["inputs"] > 0.05
    assert p_values(measured)["embedding"] == 0.02
    assert measured.estimates["told_by_inputs@club"].value is None


@pytest.mark.parametrize(
    ("model", "capabilities", "reason"),
    [
        (Linear([1.0, 1.0, 1.0]), frozenset({Capability.HOOKS}), "no hidden layer"),
        (Forgetful(), frozenset(), "does not allow hooks"),
    ],
)
def test_an_embedding_that_cannot_be_read_is_undefined_with_the_reason(model, capabilities, reason):
    measured = SMALL.run(subject(model, capabilities=capabilities), world(0), np.random.default_rng(0))
    assert reason in measured.estimates["told_by_embedding@club"].reason
    assert reason in measured.notes[0]


def test_pictures_have_cells_and_convolutions_are_averaged():
    rng = np.random.default_rng(0)
    inside = rng.random(200) < 0.5
    x = rng.normal(size=(200, 3, 14, 14))
    x[inside, 0, :2, :2] += 2
    data = replace(numbers(x), groups={"camera": np.where(inside, "old", "new").astype(object)})
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    measured = SMALL.run(subject(model, Modality.IMAGE), data, rng)
    assert measured.tables[2].rows[0][1] == "row 1 of 7, column 1"
    assert p_values(measured)["inputs"] == 0.02
    widths = {row[1]: row[4] for row in measured.tables[1].rows}
    assert widths == {"inputs": 147, "embedding": 4, "scores": 2}


class Bag(nn.Module):
    """A text model: mean word vector of hashed words, two layers."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words, self.head = nn.EmbeddingBag(50, 8), nn.Linear(8, 2)

    def forward(self, texts):
        ids = [torch.tensor([sum(map(ord, word)) % 50 for word in text.split()]) for text in texts]
        return self.head(torch.cat([self.words(one[None]) for one in ids]))


def test_texts_have_words():
    rng = np.random.default_rng(0)
    inside = rng.random(200) < 0.5
    texts = [f"the {'red' if rng.random() < 0.5 else 'blue'} {'lorry' if a else 'truck'} stood here" for a in inside]
    groups = {"country": np.where(inside, "uk", "us").astype(object)}
    data = replace(numbers(np.zeros((200, 1))), inputs=texts, features=(), modality=Modality.TEXT, groups=groups)
    model: Subject = subject(Bag(), Modality.TEXT)
    measured = SMALL.run(model, data, rng)
    assert {row[1] for row in measured.tables[2].rows[:2]} == {"lorry", "truck"}
    assert measured.estimates["told_by_inputs@country"].value == 1.0
    assert p_values(measured)["embedding"] == 0.02


def test_many_small_groups_are_one():
    data = world(0, 2000)
    many = np.array([f"g{i}" for i in np.random.default_rng(0).integers(0, 1500, 2000)], dtype=object)
    many[:300] = "big"
    measured = SMALL.run(subject(Forgetful()), replace(data, groups={"many": many}), np.random.default_rng(0))
    assert {row[2] for row in measured.tables[0].rows} == {"big"}
    assert measured.estimates["balanced_accuracy_inputs@many"].n == 400


def test_the_same_seed_gives_the_same_bits_and_hooks_are_gone():
    model = Forgetful()
    whole = Traces(people=300, permutations=19, waves=32)
    first, second = (whole.run(subject(model), world(0), np.random.default_rng(3)) for _ in range(2))
    assert first == second
    assert "told_by_inputs_curved@club" in first.estimates
    assert not any(m._forward_pre_hooks for m in model.modules())


def test_without_groups_it_is_skipped():
    assert "data.protected" in Traces().skip_reason(subject(Forgetful()), replace(world(0), groups={}))
