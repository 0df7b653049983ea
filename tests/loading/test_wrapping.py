"""Scores are such that their softmax are the probabilities, whatever the network returns."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from audit.errors import ModelError
from audit.loading.wrapping import Head, Normalise, Output, Wrapped, check_output

LOGITS, PROBABILITIES, LOG_PROBABILITIES = Output


def draw(n=32, k=3, seed=0):
    return 3 * torch.randn(n, k, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.floats(-30, 30, width=32), min_size=4, max_size=4), min_size=1, max_size=5))
def test_softmax_of_scores_is_the_probabilities(rows):
    logits = torch.tensor(rows)
    expected = logits.softmax(1)
    assert torch.equal(Head(LOGITS, 4)(logits), logits)
    for kind, raw in ((PROBABILITIES, expected), (LOG_PROBABILITIES, logits.log_softmax(1))):
        assert torch.allclose(Head(kind, 4)(raw).softmax(1), expected, atol=1e-6)


@pytest.mark.parametrize("shape", [(9,), (9, 1)])
def test_one_output_is_the_second_class(shape):
    z = torch.linspace(-5, 5, 9)
    expected = torch.stack([(-z).sigmoid(), z.sigmoid()], 1)
    for kind, raw in ((LOGITS, z), (PROBABILITIES, z.sigmoid()), (LOG_PROBABILITIES, z.sigmoid().log())):
        assert torch.allclose(Head(kind, 2)(raw.view(shape)).softmax(1), expected, atol=1e-6), kind
    assert torch.equal(Head(LOGITS, 2)(z), torch.stack([torch.zeros(9), z], 1))


@pytest.mark.parametrize(("kind", "ends"), [(PROBABILITIES, [0.0, 1.0]), (LOG_PROBABILITIES, [-math.inf, 0.0])])
def test_certain_answers_stay_finite(kind, ends):
    raw = torch.tensor([ends])
    for head, value in ((Head(kind, 2), raw), (Head(kind, 2), raw[:, 1:]), (Head(kind, 2), raw[:, :1])):
        scores = head(value)
        assert scores.isfinite().all()
        assert scores.softmax(1).max() == 1.0


def test_gradients_flow_through_the_head():
    p = torch.tensor([[0.25, 0.75]], requires_grad=True)
    Head(PROBABILITIES, 2)(p)[0, 1].backward()
    assert torch.allclose(p.grad, torch.tensor([[0.0, 1 / 0.75]]))


def test_normalisation_is_inside():
    normalise = Normalise([0.5, 0.25], [0.1, 0.2])
    x = torch.rand(3, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    expected = torch.stack([(x[:, 0] - 0.5) / 0.1, (x[:, 1] - 0.25) / 0.2], 1)
    assert torch.allclose(normalise(x), expected)
    assert torch.allclose(normalise(x[:, :, 0, 0]), expected[:, :, 0, 0])  # columns of a table
    model = Wrapped(nn.Flatten(), Head(LOGITS, 32), normalise)
    assert torch.allclose(model(x), expected.flatten(1))
    assert torch.allclose(model.raw(x), expected.flatten(1))
    # input units: the gradient carries 1 / std
    x.requires_grad_()
    model(x).sum().backward()
    assert torch.allclose(x.grad[:, 1], torch.full((3, 4, 4), 5.0))


def test_one_number_serves_all_channels():
    x = torch.rand(2, 3, 4, 4)
    assert torch.allclose(Normalise([0.5], [0.5])(x), 2 * x - 1)


@pytest.mark.parametrize(
    ("mean", "std"), [([0.5], [0.1, 0.2]), ([], []), ([0.5], [0.0]), ([0.5], [-1.0]), ([math.nan], [1.0])]
)
def test_mean_and_std_that_make_no_sense(mean, std):
    with pytest.raises(ModelError, match=r"^Expected .*, found .*; try .*\.$"):
        Normalise(mean, std)


def test_channels_must_match():
    with pytest.raises(ModelError, match=r"inputs with 3 channels.*found shape \(2, 1, 4, 4\)"):
        Normalise([0, 0, 0], [1, 1, 1])(torch.zeros(2, 1, 4, 4))


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (torch.zeros(5, 4), "found 4 outputs for 3 classes"),
        (torch.zeros(5), "found 1 outputs for 3 classes"),
        (torch.zeros(5, 3, 2), r"found \(5, 3, 2\) of torch.float32"),
        (torch.zeros(5, 3, dtype=torch.int64), "torch.int64"),
        ((torch.zeros(5, 3),), "found tuple"),
    ],
)
def test_outputs_that_are_no_scores(raw, says):
    with pytest.raises(ModelError, match=says):
        Head(LOGITS, 3)(raw)


# ------------------------------------------------------------------------------------------------- what is declared

RAW = {
    LOGITS: draw(),
    PROBABILITIES: draw().softmax(1),
    LOG_PROBABILITIES: draw().log_softmax(1),
}


@pytest.mark.parametrize("declared", list(Output))
@pytest.mark.parametrize("real", list(Output))
def test_a_false_declaration_is_refused_and_the_true_one_named(declared, real):
    if declared is real:
        check_output(RAW[real], declared, 3)
    else:
        with pytest.raises(ModelError, match=rf"^Expected .*, found .*; try output: {real}\.$"):
            check_output(RAW[real], declared, 3)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_given_its_slack(dtype):
    for kind, raw in RAW.items():
        check_output(raw.to(dtype), kind, 3)


def test_one_output():
    z = draw(32, 1)
    check_output(z, LOGITS, 2)
    check_output(z.sigmoid(), PROBABILITIES, 2)
    check_output(z.sigmoid().log(), LOG_PROBABILITIES, 2)
    with pytest.raises(ModelError, match="try output: logits"):
        check_output(z, PROBABILITIES, 2)
    with pytest.raises(ModelError, match="try output: probabilities"):
        check_output(z.sigmoid(), LOGITS, 2)
    check_output(torch.tensor([[0.2], [0.8]]), LOGITS, 2)  # too few to tell


def test_probabilities_that_do_not_add_up():
    with pytest.raises(ModelError, match=r"row sums from 1\.5 to 1\.5"):
        check_output(torch.full((4, 3), 0.5), PROBABILITIES, 3)
