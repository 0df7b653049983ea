"""SmoothGrad and its kin: closed forms, captum with the same noise, intervals, draws of the example's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from attacks import noise
from audit.explainers import noise_tunnel, saliency, smooth_grad


def rows(n: int, seed: int = 0) -> Tensor:
    return torch.randn(n, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def cubic(batch: Tensor) -> Tensor:
    return (batch**3).sum(1, keepdim=True)


def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 3)).double()


@pytest.mark.parametrize(
    ("kind", "exact"),
    [
        # the gradient at x + e is 3 (x + e)²; with e ~ N(0, s²) its moments are known
        ("mean", lambda x, s: 3 * (x**2 + s**2)),
        ("square", lambda x, s: 9 * (x**4 + 6 * x**2 * s**2 + 3 * s**4)),
        ("variance", lambda x, s: 9 * (4 * x**2 * s**2 + 2 * s**4)),
    ],
)
def test_moments_of_a_cubic(kind, exact):
    x = rows(60)
    found = smooth_grad(cubic, x, draws=64, deviation=0.2, kind=kind)
    truth = exact(x, 0.2).unsqueeze(2)
    covered = float(((found.low <= truth) & (truth <= found.high)).double().mean())
    # a variance's own distribution is skewed, which costs its intervals some of their cover
    assert (0.9 if kind == "mean" else 0.84) <= covered <= 0.99
    assert found.error is None and bool(found.base.isnan().all()) and found.evaluations == 64


def test_no_noise_is_the_gradient():
    x = rows(3)
    found = smooth_grad(network(), x, draws=2, deviation=0.0)
    torch.testing.assert_close(found.values.abs(), saliency(network(), x))
    assert float(smooth_grad(network(), x, draws=5, deviation=0.0, kind="variance").values.max()) < 1e-20


def test_agrees_with_captum_on_the_same_noise(monkeypatch):
    from captum.attr import NoiseTunnel, Saliency

    x, net, draws = rows(3), network(), 6
    key = noise.keys(x, torch.zeros(3, dtype=torch.int64), 7)
    drawn = torch.stack([noise.normal(key, (4, d), 4) for d in range(draws)], dim=1).double()
    monkeypatch.setattr(torch, "normal", lambda mean, std: drawn.flatten(0, 1) * 0.3)
    for kind, captums in (("mean", "smoothgrad"), ("square", "smoothgrad_sq"), ("variance", "vargrad")):
        reference = NoiseTunnel(Saliency(net)).attribute(
            x, nt_type=captums, nt_samples=draws, stdevs=0.3, target=1, abs=False
        )
        found = smooth_grad(net, x, 1, draws=draws, deviation=0.3, kind=kind, seed=7)
        # captum divides a variance by the draws, this by one less
        scale = (draws - 1) / draws if kind == "variance" else 1.0
        torch.testing.assert_close(found.values[:, :, 0] * scale, reference.detach(), atol=1e-6, rtol=1e-5)


def test_each_element_may_have_its_own_noise():
    x = rows(50)
    spread = torch.tensor([0.0, 0.1, 0.2, 0.4])
    found = smooth_grad(cubic, x, draws=64, deviation=spread, kind="variance").values[:, :, 0].mean(0)
    truth = (9 * (4 * x**2 * spread**2 + 2 * spread**4)).mean(0)
    assert float(found[0]) < 1e-20
    np.testing.assert_allclose(found[1:], truth[1:], rtol=0.2)


def test_any_map_goes_through_the_tunnel():
    def explain(points: Tensor, owners: Tensor) -> Tensor:
        return torch.stack([points.sum(1), owners.to(points)], dim=1)

    x = rows(5)
    found = noise_tunnel(explain, x, draws=200, deviation=0.05)
    torch.testing.assert_close(found.values[:, 0, 0], x.sum(1), atol=0.03, rtol=0)
    torch.testing.assert_close(found.values[:, 1, 0], torch.arange(5).double())


def test_draws_belong_to_the_example():
    x, net = rows(6), network()
    whole = smooth_grad(net, x, seed=3).values
    order = torch.tensor([5, 0])
    torch.testing.assert_close(smooth_grad(net, x[order], seed=3).values, whole[order], atol=1e-14, rtol=1e-12)
    assert not torch.equal(smooth_grad(net, x, seed=4).values, whole)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"kind": "median"}, "kind"),
        ({"draws": 1}, "draws"),
        ({"deviation": -0.1}, "deviation"),
        ({"deviation": float("nan")}, "deviation"),
        ({"inputs": torch.ones(2, 4).long()}, "inputs"),
        ({"targets": 1}, "targets"),
    ],
)
def test_refusals_name_the_argument(change, named):
    with pytest.raises(ValueError, match=f"^{named}: Expected"):
        smooth_grad(**({"model": cubic, "inputs": rows(2)} | change))


@pytest.mark.parametrize("shape", [(4,), (2, 1), (1, 3, 5)])
def test_a_deviation_that_does_not_fit_is_named(shape):
    with pytest.raises(ValueError, match=r"deviation: Expected a shape that broadcasts to \(3, 5\), found"):
        smooth_grad(torch.nn.Linear(5, 2), torch.ones(3, 5), deviation=torch.ones(shape))
