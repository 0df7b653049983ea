"""Attributions of audited rows: closed forms for every modality, the same game for `remove`."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from audit.explainers.segments import blur
from audit.explaining.attributions import attribute
from audit.explaining.methods import METHODS, applicable
from audit.explaining.players import log_odds, remove
from audit.subject import Capability

WORTH = {"dull": -2.0, "the": 0.0, "film": 0.25, "fine": 1.0, "great": 3.0}


def explain(method, subject, data, target=1):
    targets = torch.full((len(data),), target)
    return attribute(method, subject, data, targets, np.random.default_rng(0), data, 128)


@pytest.mark.parametrize("method", ["kernel_shap", "lime", "integrated_gradients"])
def test_tables(method, table):
    subject, data = table
    found = explain(method, subject, data)
    moved = (data.inputs - data.inputs.mean(0)) * subject.model.weight
    truth = torch.stack([moved[:, 0], moved[:, 1:4].sum(1), moved[:, 4]], dim=1)
    np.testing.assert_allclose(np.stack(found.values), truth, atol=2e-3 if method != "lime" else 2e-2)
    assert found.names[0] == ("age", "city", "noise")
    np.testing.assert_allclose(found.full, subject.scores(data)[:, 1], atol=1e-6)


@pytest.mark.parametrize("method", ["kernel_shap", "lime", "integrated_gradients"])
def test_pictures(method, picture):
    subject, data = picture
    found = explain(method, subject, data)
    moved = ((data.inputs - blur(data.inputs)) * 4.0)[:, 0, :2, :2].sum((1, 2))
    values = np.stack(found.values)
    assert values.shape == (40, 49)
    np.testing.assert_allclose(values[:, 0], moved, atol=3e-3 if method != "lime" else 3e-2)
    np.testing.assert_allclose(values[:, 1:], 0, atol=3e-2)
    assert found.names[0][:2] == ("row 1, column 1", "row 1, column 2")


@pytest.mark.parametrize("method", ["kernel_shap", "lime", "integrated_gradients"])
def test_texts(method, words):
    subject, data = words
    found = explain(method, subject, data)
    for text, names, values in zip(data.inputs, found.names, found.values, strict=True):
        assert names == tuple(text.split())
        np.testing.assert_allclose(values, [WORTH[word] for word in names], atol=3e-2 if method == "lime" else 1e-5)


def test_the_other_class_gets_the_opposite(table):
    subject, data = table
    yes, no = (np.stack(explain("kernel_shap", subject, data, target).values) for target in (1, 0))
    np.testing.assert_allclose(yes, -no, atol=1e-5)


@pytest.mark.parametrize("kind", ["table", "picture", "words"])
def test_remove_plays_the_game_that_is_explained(kind, request):
    subject, data = request.getfixturevalue(kind)
    found = explain("kernel_shap", subject, data)
    keep = [np.stack([np.ones(len(v), bool), np.zeros(len(v), bool), np.arange(len(v)) % 2 == 0]) for v in found.values]
    scores = remove(subject, data, keep, torch.ones(len(data), dtype=torch.long), data)
    for row, of_row in enumerate(scores):
        expected = [found.full[row], found.base[row], found.base[row] + found.values[row][::2].sum()]
        np.testing.assert_allclose(of_row, expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["table", "picture", "words"])
def test_saliency_is_a_magnitude_and_random_repeats(kind, request):
    subject, data = request.getfixturevalue(kind)
    assert all((values >= 0).all() for values in explain("saliency", subject, data).values)
    one, two = (explain("random", subject, data) for _ in range(2))
    assert all((a == b).all() for a, b in zip(one.values, two.values, strict=True))
    assert [len(v) for v in one.values] == [len(n) for n in one.names]


def test_log_odds_do_not_overflow_and_match_probabilities():
    scores = torch.tensor([[1.0, 2.0, 3.0], [200.0, 0.0, -200.0]])
    p = scores[0].double().softmax(0)[2]
    found = log_odds(scores, torch.tensor([2, 0]))
    assert float(found[0]) == pytest.approx(float(torch.log(p / (1 - p))), rel=1e-5)
    assert float(found[1]) == pytest.approx(200.0)


def test_rollout_reads_the_row_of_the_first_special_token(attentive):
    from audit.explainers import attention_rollout

    subject, data = attentive
    assert applicable("attention_rollout", subject)
    found = explain("attention_rollout", subject, data)
    encoded = subject.text.encode(data.inputs)
    joint = attention_rollout(subject.model, {"input_ids": encoded.ids, "attention_mask": encoded.mask})
    np.testing.assert_allclose(found.values[0], joint[0, 0, 1:4])
    np.testing.assert_allclose(found.values[1], joint[1, 0, 1:2])


def test_applicable_follows_the_capabilities(table, words):
    subject, _ = table
    assert applicable("integrated_gradients", subject)
    assert not applicable("attention_rollout", subject)
    subject.capabilities = frozenset()
    assert [m for m in METHODS if applicable(m, subject)] == ["kernel_shap", "lime", "occlusion", "random"]
    text, _ = words
    text.capabilities = frozenset({Capability.INPUT_GRADIENT})
    assert not applicable("integrated_gradients", text)
    with pytest.raises(ValueError, match="^method: Expected one of"):  # noqa: RUF043 - no metacharacter matters here
        applicable("tea_leaves", subject)
