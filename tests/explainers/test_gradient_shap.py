"""Gradient SHAP: closed forms, captum in expectation, intervals that cover, completeness in expectation."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from audit.explainers import CompletenessError, gradient_shap, integrated_gradients

WEIGHT = torch.tensor([[1.0, -2.0], [0.5, 3.0], [0.0, 1.0]], dtype=torch.float64)


def linear(batch: Tensor) -> Tensor:
    return batch @ WEIGHT


def rows(n: int, width: int = 3, seed: int = 0) -> Tensor:
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(5, 24), nn.GELU(), nn.Linear(24, 24), nn.Tanh(), nn.Linear(24, 2)).double()


def truth(x: Tensor, background: Tensor) -> Tensor:
    paths = [integrated_gradients(network(), x, row[None], 0, tolerance=1e-5, max_steps=2**14) for row in background]
    return torch.stack([path.values for path in paths]).mean(0)


def test_linear_models():
    # every stratum of the background is met once, so a linear model leaves nothing to chance
    x, background = rows(4), rows(8, seed=1)
    found = gradient_shap(linear, x, background, draws=128)
    torch.testing.assert_close(found.values, (x - background.mean(0)).unsqueeze(2) * WEIGHT)
    torch.testing.assert_close(found.low, found.high)
    torch.testing.assert_close(found.base, linear(background).mean(0).expand(4, 2))
    assert float(found.error.max()) == 0 and found.evaluations == 128


def test_quadratic_models():
    # the mean over shares of 2 (b + a (x − b)) (x − b) is x² − b²
    x, background = rows(4), rows(6, seed=1)
    found = gradient_shap(lambda p: (p**2).sum(1, keepdim=True), x, background, draws=2048)
    exact = (x**2 - (background**2).mean(0)).unsqueeze(2)
    torch.testing.assert_close(found.values, exact, atol=0.2, rtol=0)
    assert bool(((found.low <= exact) & (exact <= found.high)).double().mean() > 0.8)


def test_intervals_cover_the_truth():
    x, background = rows(40, 5), rows(7, 5, seed=1)
    exact, net = truth(x, background), network()
    inside = []
    for seed in range(12):
        found = gradient_shap(net, x, background, 0, draws=64, seed=seed)
        inside.append((found.low <= exact) & (exact <= found.high))
    covered = float(torch.stack(inside).double().mean())
    assert 0.93 <= covered <= 0.985


def test_more_draws_are_closer():
    x, background = rows(10, 5), rows(7, 5, seed=1)
    exact = truth(x, background)
    errors = [float((gradient_shap(network(), x, background, 0, draws=d).values - exact).norm()) for d in (32, 512)]
    # halved as often as the draws are doubled twice, at least: 16 times the draws
    assert errors[1] < errors[0] / 4


def test_expects_what_captum_samples():
    from captum.attr import GradientShap

    x, background = rows(3, 5), rows(7, 5, seed=1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        reference = GradientShap(network()).attribute(x, background, target=0, n_samples=4000, stdevs=0.0)
    found = gradient_shap(network(), x, background, 0, draws=1024)
    torch.testing.assert_close(
        found.values[:, :, 0], reference.detach(), atol=0.1 * float(reference.abs().max()), rtol=0
    )


def test_draws_belong_to_the_example():
    x, background, net = rows(6, 5), rows(7, 5, seed=1), network()
    whole = gradient_shap(net, x, background, seed=3)
    order = torch.tensor([4, 1])
    some = gradient_shap(net, x[order], background, seed=3)
    # matrix products of other heights may round the last bit otherwise
    torch.testing.assert_close(some.values, whole.values[order], atol=1e-14, rtol=1e-12)
    assert not torch.equal(gradient_shap(net, x, background, seed=4).values, whole.values)


def test_steps_that_no_gradient_sees_are_refused():
    def step(p: Tensor) -> Tensor:
        return (p[:, :1] > 0).to(p) + 0 * p[:, :1]

    with pytest.raises(CompletenessError, match="gradient_shap: Expected attributions that add up"):
        gradient_shap(step, torch.ones(2, 3).double(), -torch.ones(2, 3).double())


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"background": torch.zeros(2, 4).double()}, "background"),
        ({"background": torch.zeros(2, 3)}, "background"),
        ({"background": torch.full((2, 3), torch.nan).double()}, "background"),
        ({"draws": 3}, "draws"),
        ({"targets": 2}, "targets"),
        ({"inputs": torch.ones(2, 3).long()}, "inputs"),
        ({"model": lambda p: linear(p).detach()}, "model"),
    ],
)
def test_refusals_name_the_argument(change, named):
    arguments = {"model": linear, "inputs": rows(2), "background": rows(3)} | change
    with pytest.raises(ValueError, match=f"^{named}: Expected"):
        gradient_shap(**arguments)
