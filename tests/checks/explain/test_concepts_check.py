"""Concepts of models that use a known column, and of pictures of two groups."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import nn

from audit.checks.explain._layers import LogOdds, hidden_layers
from audit.checks.explain.concepts import Concepts
from audit.subject import Modality
from tests.checks.explain.known_models import numbers, people, subject

SMALL = {"examples": 300, "rows": 60, "permutations": 499, "least": 10}


class Hidden(nn.Module):
    """One hidden layer that turns the input round, and a head that reads given directions of it."""

    def __init__(self, weight: list[float]) -> None:
        super().__init__()
        turn = torch.linalg.qr(torch.randn(len(weight), len(weight), generator=torch.Generator().manual_seed(0)))[0]
        self.first, self.act = nn.Linear(len(weight), len(weight), bias=False), nn.LeakyReLU(0.9)
        self.last = nn.Linear(len(weight), 2, bias=False)
        with torch.no_grad():
            self.first.weight.copy_(turn)
            self.last.weight.copy_(torch.stack([torch.zeros(len(weight)), turn @ torch.tensor(weight)]))

    def forward(self, x):
        return self.last(self.act(self.first(x.flatten(1))))


def run(model: nn.Module, data, **more):
    return Concepts(**SMALL | more).run(subject(model, data.modality), data, np.random.default_rng(0))


def test_a_protected_group_that_a_layer_holds_and_the_answer_uses_or_not():
    rng = np.random.default_rng(0)
    data = people(400, 0.4, rng)
    used = run(Hidden([0.0, 0.0, 2.0, -2.0]), data).estimates
    assert used["effect@sex = F"].low > 2 and used["share@sex = F"].value == 1
    unused = run(Hidden([2.0, 0.0, 0.0, 0.0]), data)
    assert unused.estimates["accuracy@sex = F"].low > 0.9
    assert abs(unused.estimates["effect@sex = F"].value) < 1
    of_sex = next(row for row in unused.tables[0].rows if row[0] == "sex = F")
    assert of_sex[-1] > 0.05
    assert next(row for row in unused.tables[0].rows if row[0].startswith("x0 at least"))[-1] < 0.05
    assert unused.estimates["concepts_used"].value == 1
    assert unused.headline[-1] == "effect@sex = F"


def test_of_two_groups_one_is_named_and_a_protected_column_only_once():
    rng = np.random.default_rng(0)
    names = [row[0] for row in run(Hidden([1.0, 1.0, 1.0, -1.0]), people(300, 0.5, rng), depths=1).tables[0].rows]
    assert len(names) == 3 and names[0] == "sex = F"
    assert [name.split()[0] for name in names[1:]] == ["x0", "x1"]


def test_pictures_with_declared_groups():
    rng = np.random.default_rng(0)
    light = rng.random(200) < 0.5
    pictures = rng.random((200, 1, 6, 6)) * 0.3 + 0.6 * light[:, None, None, None]
    data = replace(numbers(pictures), groups={"skin": np.where(light, "light", "dark").astype(object)})
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(48, 2))
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.rand(weight.shape, generator=torch.Generator().manual_seed(0)))
        model[3].weight[0] = 0
    found = run(model, data)
    assert found.estimates["effect@skin = dark"].high < 0
    assert found.estimates["accuracy@skin = dark"].value > 0.95
    plain = numbers(pictures)
    assert "no concept" in Concepts().skip_reason(subject(model, Modality.IMAGE), plain)


def test_too_few_examples_and_no_layers_are_said():
    rng = np.random.default_rng(0)
    found = run(Hidden([1.0, 1.0, 0.0, 0.0]), people(40, 0.5, rng), least=40)
    assert found.estimates["concepts_used"].value is None and "no concept" in found.estimates["concepts_used"].reason
    bare = run(nn.Linear(4, 2), people(100, 0.5, rng))
    assert "no hidden layer" in bare.estimates["concepts_used"].reason


def test_layers_are_evenly_deep_and_no_affine_copies():
    model = nn.Sequential(
        *(part for _ in range(4) for part in (nn.Linear(3, 3), nn.ReLU(), nn.Dropout())), nn.Linear(3, 2)
    ).eval()
    assert hidden_layers(model, torch.zeros(2, 3), 2) == ["4", "10"]
    assert hidden_layers(model, torch.zeros(2, 3), 9) == ["1", "4", "7", "10"]
    assert hidden_layers(nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2)), torch.zeros(2, 3), 3) == ["0"]
    assert all(not m._forward_hooks for m in model.modules())


def test_log_odds_of_every_class():
    scores = torch.tensor([[1.0, 2.0, -1.0]])
    odds = LogOdds(nn.Identity())(scores)
    p = scores.softmax(1)
    torch.testing.assert_close(odds, (p / (1 - p)).log())
