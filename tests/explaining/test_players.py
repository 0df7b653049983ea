"""What stands for a removed player, on models whose log-odds are linear in it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from audit.explaining.attributions import attribute, attribute_each
from audit.explaining.players import REMOVALS, log_odds, remove
from audit.subject import Modality

ALL_OPERATORS = [(m, operator) for m, operators in REMOVALS.items() for operator in operators]


def ones(n: int) -> torch.Tensor:
    return torch.ones(n, dtype=torch.int64)


def shap(subject, data, removal):
    return attribute("kernel_shap", subject, data, ones(len(data)), np.random.default_rng(0), data, 64, removal=removal)


@pytest.mark.parametrize(("modality", "operator"), ALL_OPERATORS)
def test_each_operator_adds_up_and_spares_what_the_model_ignores(modality, operator, table, picture, words):
    subject, data = {Modality.TABULAR: table, Modality.IMAGE: picture, Modality.TEXT: words}[modality]
    found = shap(subject, data, operator)
    full = log_odds(subject.scores(data), ones(len(data))).double().numpy()
    for values, base, score in zip(found.values, found.base, full, strict=True):
        assert base + values.sum() == pytest.approx(score, abs=1e-4)
    ignored = {Modality.TABULAR: "noise", Modality.IMAGE: "row 7, column 7", Modality.TEXT: "the"}[modality]
    sizes = [
        abs(value)
        for names, values in zip(found.names, found.values, strict=True)
        for name, value in zip(names, values, strict=True)
        if name == ignored
    ]
    assert sizes
    if (modality, operator) == (Modality.TEXT, "words"):
        return  # the word has no weight, but those that take its place have
    assert max(sizes) < 1e-5


def test_a_typical_row_stands_for_every_feature(table):
    subject, data = table
    found = shap(subject, data, "mean")
    age = data.inputs[:, 0].double().numpy()
    assert np.stack(found.values)[:, 0] == pytest.approx(2 * (age - age.mean()), abs=1e-4)
    cities = data.inputs[:, 1:4]
    weight = torch.tensor([1.0, -1.0, 0.0])
    commonest = weight[cities.sum(0).argmax()]
    assert np.stack(found.values)[:, 1] == pytest.approx((cities @ weight - commonest).numpy(), abs=1e-4)


def test_nearest_rows_change_an_example_less_than_others_do(table):
    subject, data = table
    near, far = (np.abs(np.stack(shap(subject, data, o).values)).mean() for o in ("neighbours", "background"))
    assert near < 0.8 * far


def test_a_deleted_word_and_a_masked_one_weigh_the_same_in_a_bag(words):
    subject, data = words
    masked, gone = shap(subject, data, "mask"), shap(subject, data, "delete")
    for a, b in zip(masked.values, gone.values, strict=True):
        assert a == pytest.approx(b, abs=1e-5)


def test_words_of_other_texts_are_worth_their_mean(words):
    subject, data = words
    found = shap(subject, data, "words")
    great = found.values[0][2]  # "the film great"
    assert 1.0 < great < 5.0  # 3 for itself, less what eight words drawn from the others weigh on average


def test_removing_agrees_with_the_game(picture):
    subject, data = picture
    keep = [np.stack([np.ones(49, bool), np.zeros(49, bool)])] * len(data)
    for operator in REMOVALS[Modality.IMAGE]:
        found = shap(subject, data, operator)
        whole, empty = np.stack(remove(subject, data, keep, ones(len(data)), data, operator)).T
        assert whole == pytest.approx(found.full, abs=1e-4)
        assert empty == pytest.approx(found.base, abs=1e-4)


def test_an_unknown_operator_is_refused(table):
    subject, data = table
    with pytest.raises(ValueError, match="removal: Expected one of background, mean, neighbours"):
        shap(subject, data, "blur")


def test_a_method_that_refuses_does_not_take_the_others_along(table):
    subject, data = table

    class Step(torch.nn.Module):
        def forward(self, batch):
            one = (batch[:, 0] > 0) * 1.0 + 0.0 * batch[:, 0]
            return torch.stack([torch.zeros_like(one), one], dim=1)

    subject.model = Step()
    found, refused = attribute_each(
        ["kernel_shap", "integrated_gradients"], subject, data, ones(len(data)), np.random.default_rng(0), data, 16
    )
    assert list(found) == ["kernel_shap"]
    assert "add up" in refused["integrated_gradients"]
