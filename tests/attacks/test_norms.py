"""Projections and extreme points against a slow search and a convex solver's optimality conditions."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog, minimize

from attacks import noise, norms

CONVEX = ["linf", "l2", "l1"]


def draw(seed, rows=6, length=5):
    g = torch.Generator().manual_seed(seed)
    delta = torch.randn(rows, length, generator=g, dtype=torch.float64)
    down = -torch.rand(rows, length, generator=g, dtype=torch.float64) * 0.8
    up = torch.rand(rows, length, generator=g, dtype=torch.float64) * 0.8
    up[:, 0], down[:, 1] = float("inf"), 0.0
    down[:, 2] = up[:, 2] = 0.0
    return delta, torch.rand(rows, generator=g, dtype=torch.float64) * 1.5 + 0.05, down, up


def inside(delta, norm, eps, down, up):
    assert bool((norms.size(delta, norm) <= eps + 1e-12).all())
    assert bool(((delta >= down) & (delta <= up)).all())


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(CONVEX))
def test_the_projection_satisfies_the_variational_inequality(seed, norm):
    """p projects z onto a convex set exactly where (z - p) . (q - p) <= 0 for every q of the set."""
    z, eps, down, up = draw(seed)
    p = norms.project(z, norm, eps, down, up)
    inside(p, norm, eps, down, up)
    # the farthest q along z - p is the vertex of the set
    q = norms.vertex(z - p, norm, eps, down, up)
    assert float(((z - p) * (q - p)).sum(1).max()) <= 1e-9


@pytest.mark.parametrize("norm", ["linf", "l1"])
def test_the_vertex_is_the_linear_programme_s(norm):
    z, eps, down, up = draw(3)
    found = norms.vertex(z, norm, eps, down, up)
    inside(found, norm, eps, down, up)
    for row in range(len(z)):
        # delta = rise - fall, so that the l1 ball is linear
        length = z.shape[1]
        cost = torch.cat([-z[row], z[row]])
        most = eps[row].item() if norm == "linf" else None
        limits = [(0, min(v, most) if most else v) for v in [*up[row].tolist(), *(-down[row]).tolist()]]
        ball = {} if most else {"A_ub": [[1.0] * (2 * length)], "b_ub": [eps[row].item()]}
        best = linprog(cost.numpy(), bounds=limits, **ball)
        assert float((z[row] * found[row]).sum()) == pytest.approx(-best.fun, abs=1e-9)


def test_the_l2_vertex_is_a_solver_s():
    z, eps, down, up = draw(4)
    found = norms.vertex(z, "l2", eps, down, up)
    inside(found, "l2", eps, down, up)
    for row in range(len(z)):
        best = minimize(
            lambda d, row=row: -(z[row].numpy() @ d),
            x0=[0.0] * z.shape[1],
            bounds=list(zip(down[row].tolist(), up[row].tolist(), strict=True)),
            constraints={"type": "ineq", "fun": lambda d, row=row: eps[row].item() ** 2 - d @ d},
            method="SLSQP",
            options={"maxiter": 500},
        )
        assert float((z[row] * found[row]).sum()) >= -best.fun - 1e-6


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(CONVEX), st.floats(0.05, 0.95))
def test_crossing_is_the_inverse_of_the_vertex(seed, norm, share):
    """The smallest perturbation with that gain spends a budget whose best gain it is."""
    g, eps, down, up = draw(seed)
    up = up.clamp(max=2)
    gain = share * (g * norms.vertex(g, norm, eps, down, up)).sum(1)
    crossing = norms.cross(g, gain, norm, down, up)
    torch.testing.assert_close((g * crossing).sum(1), gain)
    size = norms.size(crossing, norm)
    best = (g * norms.vertex(g, norm, size, down, up)).sum(1)
    torch.testing.assert_close(best, gain)


def test_l0_keeps_the_elements_worth_most():
    z = torch.tensor([[3.0, -2.0, 1.0, 0.5]])
    free = torch.full_like(z, 10.0)
    eps = torch.tensor([2.0])
    assert norms.project(z, "l0", eps, -free, free).tolist() == [[3.0, -2.0, 0.0, 0.0]]
    tight = torch.tensor([[0.1, 10.0, 10.0, 10.0]])  # the largest may hardly move
    assert norms.project(z, "l0", eps, -free, tight)[0, 1:].tolist() == [-2.0, 1.0, 0.0]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(CONVEX))
def test_samples_lie_inside(seed, norm):
    _, eps, down, up = draw(seed)
    key = torch.arange(len(eps)) + seed
    inside(norms.sample(key, (1, 2), norm, eps, down, up), norm, eps, down, up)


def test_noise_is_uniform_and_normal_and_its_own_in_every_row_and_stream():
    key = torch.tensor([1, 2])
    u, v = noise.uniform(key, (0,), 20_000), noise.normal(key, (0,), 20_001, torch.float64)
    assert u.shape == (2, 20_000)
    assert v.shape == (2, 20_001)
    assert bool(((u > 0) & (u < 1)).all())
    assert float((u.mean(1) - 0.5).abs().max()) < 0.01
    assert float((u.var(1) - 1 / 12).abs().max()) < 0.002
    assert float(v.mean(1).abs().max()) < 0.03
    assert float((v.var(1) - 1).abs().max()) < 0.05
    other = noise.uniform(key, (1,), 20_000)
    assert abs(float(torch.corrcoef(torch.stack([u[0], u[1], other[0]]))[0, 1:].abs().max())) < 0.03
    assert torch.equal(noise.uniform(key[1:], (0,), 20_000), u[1:])
