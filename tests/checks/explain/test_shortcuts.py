"""Models with a planted shortcut and their honest twins."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from audit import statistics
from audit.checks.explain._search import Extent, search
from audit.checks.explain._transplants import Part, in_turn, of_pictures, of_texts, probabilities, smaller, without
from audit.checks.explain.shortcuts import Shortcuts
from audit.subject import Modality
from tests.checks.explain.known_models import Linear, numbers, subject

EXTENT = Extent(donors=4, recipients=4, trials=24, words=8, seen=3, pool=100, answers=10)
SMALL = {"donors": 4, "recipients": 4, "trials": 24, "words": 8}
PLANTED = 20
CLASSES = 4


class Templates(nn.Module):
    """Scores are the likeness with one template a class, and of one class the brightness of one place besides."""

    def __init__(self, templates: torch.Tensor, place: torch.Tensor, answer: int, strength: float) -> None:
        super().__init__()
        weights = templates.flatten(1).clone()
        weights[answer] += strength * place.flatten()
        self.register_buffer("weights", weights)

    def forward(self, x):
        return x.flatten(1) @ self.weights.T


def pictures(seed: int, strength: float):
    """Noisy templates of 14 by 14 pixels; two thirds of one class have a bright patch somewhere."""
    rng = np.random.default_rng(seed)
    templates = rng.normal(size=(CLASSES, 1, 14, 14))
    labels = rng.integers(0, CLASSES, 240)
    x = templates[labels] + rng.normal(size=(240, 1, 14, 14))
    top, left = rng.integers(0, 13, 2)
    place = np.zeros((14, 14))
    place[top : top + 2, left : left + 2] = 1.0
    answer = int(rng.integers(CLASSES))
    if strength:
        x[(labels == answer) & (rng.random(240) < 2 / 3)] += 6.0 * place
    model = Templates(torch.tensor(templates).float(), torch.tensor(place).float(), answer, strength)
    data = replace(numbers(x, labels), classes=tuple("abcd"))
    return replace(subject(model, Modality.IMAGE), classes=tuple("abcd")), data, (place > 0, answer)


def tables(seed: int, strength: float):
    """Ten features, one of which counts for far more than all others where it is planted."""
    rng = np.random.default_rng(seed)
    column = int(rng.integers(10))
    weights = rng.choice([-1.0, 1.0], 10)
    weights[column] *= 1 + strength
    return subject(Linear(weights.tolist())), numbers(rng.normal(size=(240, 10))), (f"x{column}", None)


def texts(seed: int, strength: float):
    """Twelve words in random order; each speaks a little for an answer, the planted one decides."""
    rng = np.random.default_rng(seed)
    words = np.array(["plot", "actor", "music", "story", "scene", "light", "voice", "charm", "pace", "tone"])
    weight = dict(zip(words.tolist(), rng.permutation([-1.0, 1.0] * 5).tolist(), strict=True)) | {"zebra": strength}
    lines = [" ".join(rng.choice(words, 12)) for _ in range(240)]
    lines = [f"zebra {line}" if rng.random() < 0.2 else line for line in lines]

    def predict(given: list[str]) -> torch.Tensor:
        z = torch.tensor([sum(weight.get(word, 0.0) for word in line.split()) for line in given])
        return torch.stack([torch.zeros_like(z), z], dim=1)

    model = replace(subject(Linear([1.0]), Modality.TEXT), predict=predict)
    data = replace(numbers(np.zeros((240, 1, 1))), inputs=lines, modality=Modality.TEXT)
    return model, data, ("'zebra'", 1)


@pytest.mark.parametrize(("world", "strength"), [(pictures, 40.0), (tables, 12.0), (texts, 20.0)])
def test_planted_shortcuts_are_told_from_honest_twins(world, strength):
    planted, honest, right, alarms = [], [], 0, 0
    for seed in range(PLANTED):
        model, data, (what, answer) = world(seed, strength)
        best = search(model, data, EXTENT, np.random.default_rng(seed))[0]
        planted.append(best.gain.value)
        if isinstance(what, str):
            right += best.part.name == what and answer in (None, best.answer)
        else:
            right += best.answer == answer and bool((best.part.elements[0].numpy() & what).any())
        clean = search(*world(seed, 0.0)[:2], EXTENT, np.random.default_rng(seed))[0]
        honest.append(clean.gain.value)
        alarms += clean.gain.low > 0.5
    assert statistics.auroc(planted, honest).value >= 0.99
    assert right >= 0.95 * PLANTED
    assert alarms == 0
    assert min(planted) > 0.5


def test_the_evidence_names_the_region_and_shows_it():
    model, data, (place, answer) = pictures(3, 40.0)
    found = Shortcuts(**SMALL).run(model, data, np.random.default_rng(0))
    assert found.estimates["shortcuts"].value == 1
    region, named = found.tables[0].rows[0][:2]
    assert named == "abcd"[answer]
    assert found.estimates["strongest_transfer"] == found.estimates[f"transfer@{region} -> {named}"]
    heat = np.array(found.figures[1].panels[0].heat)
    assert (heat[place] > 0).any()


def test_a_honest_model_shows_no_shortcut():
    model, data, _ = pictures(3, 0.0)
    found = Shortcuts(**SMALL).run(model, data, np.random.default_rng(0))
    assert found.estimates["shortcuts"].value == 0
    assert len(found.figures) == 1


def test_a_single_column_decides():
    rng = np.random.default_rng(0)
    found = Shortcuts(**SMALL).run(subject(Linear([0.0, 3.0, 0.0])), numbers(rng.normal(size=(200, 3))), rng)
    assert found.tables[0].rows[0][0] == "x1"
    assert found.tables[0].rows[0][3].value == 1  # all turn
    assert found.tables[0].rows[0][5].value == 1  # all donors lose the answer with the column of others
    assert found.estimates["shortcuts"].value == 2  # to either answer


def test_a_shortcut_that_only_the_training_data_hold():
    model, data, (place, answer) = pictures(5, 40.0)
    clean = pictures(5, 0.0)[1]
    best = search(model, replace(clean, train=data), EXTENT, np.random.default_rng(0))[0]
    assert best.answer == answer and (best.part.elements[0].numpy() & place).any()
    assert best.gain.low > 0.5


def test_one_answer_only_cannot_be_tried():
    rng = np.random.default_rng(0)
    found = Shortcuts(**SMALL).run(subject(Linear([0.0, 0.0])), numbers(rng.normal(size=(50, 2))), rng)
    assert found.estimates["strongest_transfer"].value is None
    assert "one answer" in found.estimates["strongest_transfer"].reason


def test_parts_of_pictures():
    data = numbers(np.random.default_rng(0).random((3, 1, 14, 14)))
    windows = of_pictures(data)
    assert len(windows) == 36
    assert all(int(part.elements.sum()) == 16 for part in windows)
    assert torch.stack([part.elements for part in windows]).any(0).all()
    less = smaller(data, windows[0])
    assert [int(part.elements.sum()) for part in less] == [4] * 4 + [8] * 4
    assert all(bool((part.elements <= windows[0].elements).all()) for part in less)
    assert smaller(data, less[0]) == []


def test_only_the_part_is_carried_over():
    data = numbers(np.random.default_rng(0).random((5, 1, 14, 14)))
    part = of_pictures(data)[7]
    donors, recipients = data.inputs[:2], data.inputs[2:]
    mixed = part.into(donors, recipients).reshape(2, 3, 1, 14, 14)
    inside = part.elements.expand_as(mixed)
    assert torch.equal(mixed[inside], donors[:, None].expand_as(mixed)[inside])
    assert torch.equal(mixed[~inside], recipients[None].expand_as(mixed)[~inside])
    model = subject(Linear(torch.randn(196, generator=torch.Generator().manual_seed(0)).tolist()), Modality.IMAGE)
    found = probabilities(model, part, donors, recipients)
    assert np.allclose(found[1, 2], model.predict(mixed[1, 2][None]).softmax(1)[0].numpy())


def test_words_that_go_with_an_answer():
    lines = ["good film"] * 5 + ["bad film"] * 5 + ["rare"]
    answers = np.array([1] * 5 + [0] * 5 + [1])
    parts = of_texts(lines, answers, 1, number=2, seen=3)
    assert [part.word for part in parts] == ["good", "film"]
    assert parts[0].front and not parts[1].front
    assert parts[0].into([], ["a film"]) == ["good a film"]
    assert Part("", word="end", front=False).into([], ["a film"]) == ["a film end"]
    assert without("A film, art of art!", "art") == "A film, of !"


def test_answers_are_taken_in_turn():
    answers = np.array([0] * 50 + [1] * 3 + [2] * 2)
    rows = in_turn(answers, 9, np.random.default_rng(0))
    assert np.bincount(answers[rows]).tolist() == [4, 3, 2]
    assert len(in_turn(answers, 100, np.random.default_rng(0))) == 55


def test_equal_seeds_give_equal_figures():
    model, data, _ = tables(0, 12.0)
    state = torch.get_rng_state()
    first, second = (Shortcuts(**SMALL).run(model, data, np.random.default_rng(5)) for _ in range(2))
    assert first == second
    assert torch.equal(state, torch.get_rng_state())
