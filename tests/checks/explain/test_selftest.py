"""A task that a small network has learned, and the shortcuts planted in copies of it."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from audit.checks.explain._planting import Column, Corner, Lesson, follows, mark, marked, taught
from audit.checks.explain.selftest import Selftest, _places
from audit.subject import Modality
from tests.checks.explain.known_models import Linear, numbers, subject

SMALL = {"methods": ("kernel_shap", "saliency", "random"), "examples": 30, "media": 10, "evaluations": 64, "steps": 60,
         "batch": 32, "background": 8}  # fmt: skip


def network(layers: list[int], seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = [nn.Flatten()]
        for a, b in pairwise(layers):
            made += [nn.Linear(a, b), nn.ReLU()]
        return nn.Sequential(*made[:-1])


def table():
    rng = np.random.default_rng(0)
    data = numbers(rng.normal(size=(300, 6)))
    data = replace(data, labels=(data.inputs[:, 0] > 0).long())
    return subject(network([6, 16, 2])), replace(data, train=data)


def picture():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 200)
    bright = rng.random((200, 1, 14, 14)) * 0.5
    bright[labels == 1, :, 4:10, 4:10] += 0.4
    data = replace(numbers(bright, labels), bounds=(0.0, 1.0))
    return subject(network([196, 16, 2]), Modality.IMAGE), replace(data, train=data)


@pytest.mark.parametrize("task", [table, picture])
def test_shap_finds_the_planted_shortcut_and_chance_does_not(task):
    model, data = task()
    before = {name: value.clone() for name, value in model.model.state_dict().items()}
    state = torch.get_rng_state()
    found = Selftest(**SMALL).run(model, data, np.random.default_rng(0)).estimates
    assert found["learned"].value > 0.9
    assert found["followed_by_twin"].value < 0.3
    assert found["hit_rate@kernel_shap"].low > 0.6
    assert found["auroc@kernel_shap"].low > 0.7
    assert found["rank@kernel_shap"].value == 1
    assert found["hit_rate@random"].high < 0.6
    # the audited model is as it was
    assert all(torch.equal(value, before[name]) for name, value in model.model.state_dict().items())
    assert not any(weight.requires_grad for weight in model.model.parameters())
    assert torch.equal(state, torch.get_rng_state())


def test_a_copy_that_learned_nothing_proves_nothing():
    model, data = table()
    found = Selftest(**SMALL, rate=1e-9).run(model, data, np.random.default_rng(0)).estimates
    assert found["learned"].high < 0.5
    assert found["hit_rate@kernel_shap"].value is None
    assert "did not learn" in found["hit_rate@kernel_shap"].reason


def test_equal_seeds_give_equal_figures():
    model, data = table()
    first, second = (Selftest(**SMALL).run(model, data, np.random.default_rng(3)) for _ in range(2))
    assert first == second


def test_words_of_a_text(attentive):
    """The rarest word that the tokenizer knows is put in front."""
    known, few = attentive
    lines = ["the film the film dull", "the film fine", "film the", "the the film"] * 10
    data = replace(few, inputs=lines, labels=torch.tensor([0, 1, 0, 1] * 10))
    data = replace(data, train=data)
    planted = mark(known, data, np.random.default_rng(0))
    assert planted.tokens == 1
    assert planted.on(["the film"]) == [f"{planted.word} the film"]
    assert planted.off(["the film"]) == ["the film"]
    assert planted.players(3).tolist() == [True, False, False]


def test_the_column_used_least_is_taken():
    model = subject(Linear([1.0, 0.0, 2.0]))
    data = numbers(np.random.default_rng(0).normal(size=(100, 3)))
    column = mark(model, data, np.random.default_rng(0))
    assert isinstance(column, Column) and column.player == 1
    on, off = column.on(data.inputs), column.off(data.inputs)
    assert torch.equal(on[:, [0, 2]], data.inputs[:, [0, 2]]) and torch.equal(off[:, [0, 2]], data.inputs[:, [0, 2]])
    assert len(on[:, 1].unique()) == len(off[:, 1].unique()) == 1
    assert on[0, 1] != off[0, 1]
    assert marked(data, column, on=True).train is None


def test_the_corner_is_one_cell():
    model, data = picture()
    corner = mark(model, data, np.random.default_rng(0))
    assert isinstance(corner, Corner)
    changed = (corner.on(data.inputs) != data.inputs).any(0)[0]
    assert torch.equal(changed, corner.cells == corner.corner)
    assert corner.players(49).sum() == 1


def test_the_optimiser_is_adam():
    model, data = table()
    always = replace(mark(model, data, np.random.default_rng(0)))
    lesson = Lesson(rows=300, steps=5, batch=16, rate=0.01)
    copy = taught(model, data, always, 1, lesson, planted=True, seed=0)
    rng = np.random.default_rng(0)
    rng.integers(2**63 - 1)  # the copy's own draw
    other = network([6, 16, 2])
    adam = torch.optim.Adam(other.parameters(), lr=0.01)
    for _ in range(5):
        rows = data.take(rng.choice(300, size=16, replace=False))
        inputs = torch.cat([always.on(rows.inputs[:8]), always.off(rows.inputs[8:])])
        labels = torch.cat([torch.ones(8, dtype=torch.int64), rows.labels[8:]])
        adam.zero_grad()
        nn.functional.cross_entropy(other(inputs), labels).backward()
        adam.step()
    for ours, theirs in zip(copy.model.parameters(), other.parameters(), strict=True):
        assert torch.allclose(ours, theirs.detach(), atol=1e-6)
    assert not any(weight.requires_grad for weight in copy.model.parameters())


def test_who_follows_the_mark():
    model = subject(Linear([0.0, 3.0]))
    data = numbers(np.array([[0.0, -1.0], [0.0, -1.0], [0.0, 1.0]]))
    column = Column(data.features[1], 1, torch.tensor([-1.0]), torch.tensor([1.0]))
    assert follows(model, data, column, 1).tolist() == [True, True, True]
    assert follows(model, data, column, 0).tolist() == []


def test_places_by_hand():
    column = Column(numbers(np.zeros((1, 2))).features[1], 1, torch.tensor([0.0]), torch.tensor([1.0]))
    first, share = _places((np.array([1.0, -3.0]), np.array([2.0, 2.0]), np.zeros(2)), column)
    assert first.tolist() == [1.0, 2.0, 2.0]  # a tie is no find
    assert share.tolist() == [0.75, 0.5, 0.0]


def test_it_is_skipped_without_training_data():
    model, data = table()
    assert Selftest().skip_reason(model, data) is None
    assert "training data" in Selftest().skip_reason(model, replace(data, train=None))
    assert "train" in Selftest().skip_reason(replace(model, capabilities=frozenset()), data)
