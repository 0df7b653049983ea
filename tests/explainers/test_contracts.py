"""What every explainer promises: repeatable, leaving no trace, one fixed class, and sane on odd models."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from audit.explainers import CompletenessError, game, gradients
from tests.explainers.cases import CASES, WIDTH, Exact, inputs
from tests.explainers.traces import assert_same, generators, state

BACKGROUND = inputs(3, seed=2)

pytestmark = pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)


def test_a_seed_gives_the_same_bits(case):
    model, x = Exact(), inputs()
    assert torch.equal(case(model, x, BACKGROUND, seed=7), case(model, x, BACKGROUND, seed=7))


def test_any_size_of_batch_gives_the_same_bits(case, monkeypatch):
    model, x = Exact(), inputs()
    whole = case(model, x, BACKGROUND)
    for size in (1, 3, 7):
        monkeypatch.setattr(gradients, "POINTS", size)
        more = {"batch_size": size} if case.batch_size else {}
        assert torch.equal(case(model, x, BACKGROUND, **more), whole), size


def test_the_order_of_examples_does_not_matter(case):
    model, x = Exact(), inputs()
    order = torch.tensor([3, 0, 4, 1, 2])
    assert torch.equal(case(model, x[order], BACKGROUND), case(model, x, BACKGROUND)[order])


def test_a_batch_of_one_is_a_row_of_the_batch(case):
    model, x = Exact(), inputs()
    assert torch.equal(case(model, x[2:3], BACKGROUND), case(model, x, BACKGROUND)[2:3])


def test_generators_weights_modes_and_hooks_stay(case):
    model, x = Exact(), inputs()
    model.last.weight.requires_grad_(False)
    kept, before = generators(), state(model)
    case(model, x, BACKGROUND)
    assert_same(before, state(model))
    for a, b in zip(kept, generators(), strict=True):
        assert (
            np.array_equal(a, b)
            if isinstance(a, np.ndarray)
            else (torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b)
        )


def test_a_model_in_training_mode_is_asked_in_eval_mode_and_stays_in_it(case):
    model = Exact()
    model.first = torch.nn.Sequential(model.first, torch.nn.BatchNorm1d(8))
    expected = case(model, inputs(), BACKGROUND)
    model.train()
    before, kept = state(model), generators()
    assert torch.equal(case(model, inputs(), BACKGROUND), expected)
    assert_same(before, state(model))
    assert torch.equal(kept[0], generators()[0])


def test_a_model_that_draws_gets_the_same_draws_and_leaves_the_generators(case):
    class Draws(Exact):
        def forward(self, batch):
            drawn = random.random() + np.random.random() + float(torch.rand(()))  # noqa: NPY002
            return super().forward(batch) + drawn * batch[:, :1]

    kept = generators()
    found = []
    for _ in range(2):
        try:
            found.append(case(Draws(), inputs(), BACKGROUND, seed=1).tolist())
        except CompletenessError as refused:  # what changes between calls does not add up
            found.append(str(refused))
    assert found[0] == found[1]
    assert random.getstate() == kept[2] and np.array_equal(np.random.get_state()[1], kept[1])  # noqa: NPY002


def test_nothing_stays_behind_when_the_model_breaks(case):
    x = inputs()
    for call in (1, 2, 3):
        model, calls = Exact(), 0
        plain = model.drop.forward

        def breaks(batch, at=call, plain=plain):
            nonlocal calls
            calls += 1
            if calls == at:
                raise RuntimeError("the model broke")
            return plain(batch)

        model.drop.forward = breaks
        before = state(model)
        try:
            case(model, x, BACKGROUND, **({"batch_size": 2} if case.batch_size else {}))
        except RuntimeError as error:
            assert "the model broke" in str(error)  # noqa: PT017 a method may need fewer calls than that
        assert_same(before, state(model))


def test_one_output_alone_gets_what_it_gets_among_all(case):
    model, x = Exact(), inputs()
    every = case(model, x, BACKGROUND)
    for targets in ([2], [2, 0]):
        # matrix products of another width may round the last bit otherwise
        torch.testing.assert_close(
            case(model, x, BACKGROUND, targets=targets), every[:, :, targets], atol=1e-12, rtol=1e-12
        )


def test_values_are_float64_one_a_feature_and_output(case):
    values = case(Exact(), inputs(), BACKGROUND)
    assert values.dtype == torch.float64 and values.shape == (5, WIDTH, 3) and values.device.type == "cpu"


def test_scores_that_are_no_numbers_are_refused(case):
    class Broken(Exact):
        def forward(self, batch):
            return super().forward(batch) + torch.where(batch[:, :1] > 0, torch.nan, 0.0)

    with pytest.raises(ValueError, match="finite"):
        case(Broken(), inputs(), BACKGROUND)


def test_inputs_that_are_no_numbers_are_refused(case):
    x = inputs()
    x[1, 2] = torch.inf
    with pytest.raises(ValueError, match=r"inputs: Expected finite numbers"):
        case(Exact(), x, BACKGROUND)


def test_an_output_that_is_not_there_is_refused(case):
    with pytest.raises(ValueError, match="targets: Expected indices from 0 to 2, found 3"):
        case(Exact(), inputs(), BACKGROUND, targets=3)


def test_a_constant_model_gives_nothing_to_anybody(case):
    class Constant(Exact):
        def forward(self, batch):
            return super().forward(batch) * 0.0 + 1.5

    assert float(case(Constant(), inputs(), BACKGROUND).abs().max()) < 1e-12


def test_a_single_feature_takes_all(case):
    model, x = Exact(1), inputs(width=1)
    values = case(model, x, BACKGROUND[:, :1])
    assert values.shape == (5, 1, 3)
    if case.name in ("kernel_shap", "integrated_gradients"):
        background = BACKGROUND[:1, :1] if case.differentiable else BACKGROUND[:, :1]
        change = model(x) - model(background).mean(0)
        torch.testing.assert_close(values[:, 0], change.double().detach(), atol=2e-3, rtol=2e-3)


def test_twin_columns_share_evenly(case):
    class Twins(Exact):
        def forward(self, batch):
            both = (batch[:, -1:] + batch[:, -2:-1]) / 2
            return super().forward(torch.cat([batch[:, :-2], both, both], dim=1))

    x, background = inputs(), BACKGROUND.clone()
    x[:, -1], background[:, -1] = x[:, -2], background[:, -2]
    every = {"evaluations": 2**WIDTH} if case.batch_size else {}  # a sample of coalitions sees twins apart
    values = case(Twins(), x, background, **every)
    torch.testing.assert_close(values[:, -1], values[:, -2], atol=1e-9, rtol=1e-9)


def test_no_pass_exceeds_the_declared_memory(case, monkeypatch):
    budget = 4096
    for module in (game, gradients):
        monkeypatch.setattr(module, "MEMORY", budget)
    largest = 0

    class Watched(Exact):
        def forward(self, batch):
            nonlocal largest
            largest = max(largest, batch.numel() * batch.element_size())
            return super().forward(batch)

    case(Watched(), inputs(40), BACKGROUND)
    assert 0 < largest <= budget


def test_inputs_that_ask_for_gradients_are_explained_without_a_graph(case):
    x, background = inputs(), BACKGROUND.clone()
    plain = case(Exact(), x, background)
    found = case(Exact(), x.requires_grad_(), background.requires_grad_())
    assert not found.requires_grad and torch.equal(found, plain)
    assert x.grad is None and background.grad is None


def test_a_model_may_write_into_its_input(case):
    class Writes(Exact):
        def forward(self, batch):
            return super().forward(batch.sub_(0.5))

    class Copies(Exact):
        def forward(self, batch):
            return super().forward(batch - 0.5)

    x, background = inputs(), BACKGROUND.clone()
    found = case(Writes(), x, background)
    assert torch.equal(x, inputs()) and torch.equal(background, BACKGROUND)
    torch.testing.assert_close(found, case(Copies(), x, background))


def test_a_mask_of_outputs_is_not_taken_for_their_numbers(case):
    with pytest.raises(ValueError, match="targets: Expected indices of outputs, found tensor"):
        case(Exact(), inputs(), BACKGROUND, targets=torch.tensor([True, False, False]))


def test_tensors_of_inference_mode_are_explained(case):
    with torch.inference_mode():
        x, background = inputs(), BACKGROUND.clone()
    assert torch.equal(case(Exact(), x, background), case(Exact(), inputs(), BACKGROUND))
