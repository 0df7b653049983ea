"""Integrated gradients and saliency: closed forms, captum, completeness or refusal."""

from __future__ import annotations

from importlib import import_module

import pytest
import torch
from torch import Tensor, nn

from audit.explainers import CompletenessError, gradient_x_input, integrated_gradients, saliency
from audit.explainers.gradients import complete

WEIGHT = torch.tensor([[1.0, -2.0], [0.5, 3.0], [0.0, 1.0]], dtype=torch.float64)


def linear(batch: Tensor) -> Tensor:
    return batch @ WEIGHT


def quadratic(batch: Tensor) -> Tensor:
    return (batch**2 * torch.tensor([1.0, 2.0, -1.0]).to(batch)).sum(1, keepdim=True)


def step(batch: Tensor) -> Tensor:
    return (batch[:, :1] > 0.5).to(batch) + 0 * batch[:, :1]


def rows(n: int, *shape: int, seed: int = 0) -> Tensor:
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return (
            nn.Sequential(nn.Linear(6, 24), nn.ReLU(), nn.Linear(24, 24), nn.GELU(), nn.Linear(24, 3)).double().eval()
        )


def test_linear_models():
    x, baseline = rows(4, 3), rows(4, 3, seed=1)
    found = integrated_gradients(linear, x, baseline)
    torch.testing.assert_close(found.values, (x - baseline).unsqueeze(2) * WEIGHT)
    torch.testing.assert_close(found.base, linear(baseline))
    assert torch.equal(found.low, found.values)


def test_quadratic_models():
    # the path integral of 2 c t is c (x² - b²)
    x, baseline = rows(4, 3), rows(1, 3, seed=1)
    found = integrated_gradients(quadratic, x, baseline, targets=0)
    truth = (x**2 - baseline**2) * torch.tensor([1.0, 2.0, -1.0]).double()
    torch.testing.assert_close(found.values[:, :, 0], truth)


def test_agrees_with_captum_and_adds_up():
    from captum.attr import IntegratedGradients

    net, x, baseline = network(), rows(5, 6), rows(5, 6, seed=1)
    found = integrated_gradients(net, x, baseline, targets=[2, 0])
    for k, target in enumerate((2, 0)):
        reference = IntegratedGradients(net).attribute(x, baseline, target=target, n_steps=2000)
        torch.testing.assert_close(found.values[:, :, k], reference, atol=2e-3, rtol=0)
        change = (net(x) - net(baseline))[:, target].detach()
        gap = (found.values[:, :, k].sum(1) - change).abs() / change.abs()
        assert float(gap.max()) <= 1e-3
    assert found.error.shape == (5, 2)


def test_pictures_are_flattened_in_c_order():
    x = rows(2, 1, 2, 3)
    found = integrated_gradients(lambda b: b.flatten(1) @ torch.arange(6.0).double()[:, None], x, torch.zeros_like(x))
    torch.testing.assert_close(found.values[:, :, 0], x.flatten(1) * torch.arange(6.0).double())


def test_refuses_where_the_score_jumps():
    x = torch.ones(2, 1, dtype=torch.float64)
    with pytest.raises(CompletenessError, match="Expected attributions that add up"):
        integrated_gradients(step, x, torch.zeros_like(x))


def test_points_go_where_the_model_bends():
    def hinge(batch: Tensor) -> Tensor:
        return (batch.sum(1, keepdim=True) - 0.7131).relu() - 0.5 * batch[:, :1]

    x = torch.tensor([[1.0, 0.2]], dtype=torch.float64)
    found = integrated_gradients(hinge, x, torch.zeros_like(x))
    # the kink lies at 0.7131 / 1.2 of the way; past it the gradient is (0.5, 1), before it (-0.5, 0)
    past = 1 - 0.7131 / 1.2
    truth = torch.tensor([past - 0.5, 0.2 * past], dtype=torch.float64)
    torch.testing.assert_close(found.values[0, :, 0], truth, atol=1e-4, rtol=0)
    assert found.evaluations < 200


def test_nothing_to_explain_is_complete():
    x = rows(2, 6)
    found = integrated_gradients(network(), x, x.clone())
    assert float(found.values.abs().max()) == 0
    assert float(found.error.max()) == 0


def test_single_precision_is_no_excuse():
    net = network().float()
    found = integrated_gradients(net, rows(5, 6).float(), torch.zeros(1, 6))
    assert float(found.error.max()) <= 1e-3


def test_leaves_the_model_as_it_was():
    net, x = network(), rows(3, 6)
    state = {name: value.clone() for name, value in net.state_dict().items()}
    random = torch.get_rng_state()
    integrated_gradients(net, x, torch.zeros_like(x))
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in net.parameters())
    assert not x.requires_grad
    assert torch.equal(random, torch.get_rng_state())


def test_saliency_and_gradient_times_input():
    x = rows(4, 3)
    torch.testing.assert_close(saliency(linear, x), WEIGHT.abs().expand(4, 3, 2))
    torch.testing.assert_close(gradient_x_input(linear, x, targets=1), (x * WEIGHT[:, 1]).unsqueeze(2))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"inputs": torch.ones(2, 3).long()}, "inputs"),
        ({"inputs": torch.full((2, 3), torch.inf).double()}, "inputs"),
        ({"baselines": torch.zeros(2, 4).double()}, "baselines"),
        ({"targets": 5}, "targets"),
        ({"steps": 0}, "steps"),
        ({"model": lambda b: linear(b.detach())}, "model"),
        ({"model": lambda b: linear(b)[:, 0]}, "model"),
        ({"model": lambda b: linear(b) * torch.nan}, "model"),
    ],
)
def test_refusals_name_the_argument(change, named):
    arguments = {"model": linear, "inputs": rows(2, 3), "baselines": torch.zeros(2, 3).double()} | change
    with pytest.raises(ValueError, match=f"^{named}: Expected"):
        integrated_gradients(**arguments)


@pytest.mark.parametrize("score", [lambda x: x * x.log(), torch.log])
def test_a_baseline_without_a_finite_score_is_refused(score):
    """Every point between the ends has a finite score and gradient."""
    with pytest.raises(ValueError, match="Expected finite scores on the path"):
        integrated_gradients(
            lambda x: score(x).sum(1, keepdim=True), rows(2, 3).abs() + 0.1, torch.zeros(1, 3).double()
        )


def test_an_unknown_error_is_no_small_one():
    with pytest.raises(CompletenessError, match="example 1"):
        complete("method", torch.tensor([0.0, torch.nan]), 1e-3, "try another.")


def test_a_baseline_of_another_type_is_named():
    with pytest.raises(
        ValueError, match=r"baselines: Expected torch.float64 on cpu like the inputs, found torch.float32"
    ):
        integrated_gradients(linear, rows(2, 3), torch.zeros(1, 3))


def test_many_pieces_of_a_large_picture_are_not_held_at_once(monkeypatch):
    module = import_module("audit.explainers.integrated_gradients")

    class Rough(nn.Module):
        def forward(self, x):
            flat = x.flatten(1)
            return torch.stack([torch.sin(90 * flat).sum(1), flat.sum(1)], dim=1)

    x, baseline = torch.rand(3, 400, generator=torch.Generator().manual_seed(0)), torch.zeros(1, 400)
    whole = integrated_gradients(Rough(), x, baseline, 0)
    held = []
    plain = module._Line.quadrature

    def quadrature(self, which, left, right):
        held.append(len(which))
        return plain(self, which, left, right)

    monkeypatch.setattr(module._Line, "quadrature", quadrature)
    monkeypatch.setattr(module, "MEMORY", 16 * 400 * 10)
    torch.testing.assert_close(integrated_gradients(Rough(), x, baseline, 0).values, whole.values)
    assert max(held) == 10
