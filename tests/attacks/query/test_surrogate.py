"""A substitute learns a model from its answers alone, within its budget and without a trace."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from attacks import Threat
from attacks.guard import Guard
from attacks.points import build
from attacks.query import smoothed, surrogate


def run(search, model, inputs, labels, threat, **more):
    with Guard(model, inputs.shape[1:], inputs.dtype, **more) as guard, torch.no_grad():
        points = build(guard, inputs, labels, threat, 0)
        points = points.take((~points.broken(points.scores)).nonzero()[:, 0])
        before = guard.forwards
        hunt = search(guard, points)
        verified = points.broken(guard.scores(points.place(hunt.delta).to(points.x)))
        return hunt, verified, guard.forwards - before - len(points), guard.backwards, points


def labels_only(model):
    return lambda x: functional.one_hot(model(x).argmax(1), 10).float()


@pytest.mark.parametrize("hard", [False, True])
def test_it_breaks_what_hides_its_gradient(digits, hard):
    model, inputs, labels = digits
    target = labels_only(model) if hard else lambda x: model(x.detach())
    threat = Threat("linf", 0.15)
    hunt, verified, forwards, backwards, points = run(
        lambda guard, points: surrogate.search(guard, points, (1, 8, 8), 40), target, inputs, labels, threat
    )
    assert forwards <= 40 * len(points)
    assert backwards == 0
    assert torch.equal(hunt.broken, verified)
    assert float(hunt.delta.abs().max()) <= 0.15
    # random corners break almost nothing
    blind = torch.stack([points.broken(target((points.x + points.sample((i,))).view(-1, 1, 8, 8))) for i in range(40)])
    assert int(hunt.broken.sum()) > int(blind.any(0).sum()) + 10


def test_tables_have_a_dense_substitute():
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(12, 3, generator=generator)
    inputs = torch.rand(40, 12, generator=generator)
    labels = (inputs @ weights).argmax(1)
    hunt, verified, *_ = run(
        lambda guard, points: surrogate.search(guard, points, (12,), 100),
        lambda x: functional.one_hot((x @ weights).argmax(1), 3).float(), inputs, labels, Threat("l2", 1.2, (float("-inf"), float("inf"))),
    )  # fmt: skip
    assert torch.equal(hunt.broken, verified)
    # no more than the closed form allows, and most of it
    scores = inputs @ weights
    gaps = scores.gather(1, labels[:, None]) - scores
    widths = (weights.T[labels][:, None] - weights.T[None]).norm(dim=2)
    near = (gaps / widths.clamp(min=1e-9)).masked_fill(functional.one_hot(labels, 3).bool(), torch.inf).amin(1) < 1.2
    assert not bool((hunt.broken & ~near).any())
    assert float(hunt.broken.double().sum()) >= 0.5 * float(near.double().sum())


@pytest.mark.parametrize("norm", ["linf", "l2", "l1", "l0"])
def test_it_repeats_itself_whatever_the_order_and_leaves_no_trace(digits, norm):
    model, inputs, labels = digits
    inputs, labels = inputs[:12], labels[:12]
    threat = Threat(norm, {"linf": 0.1, "l2": 0.5, "l1": 2.0, "l0": 4.0}[norm])

    def search(guard, points):
        return surrogate.search(guard, points, (1, 8, 8), 10)

    state = torch.get_rng_state()
    one = run(search, model, inputs, labels, threat)[0]
    assert torch.equal(torch.get_rng_state(), state)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    two = run(search, model, inputs[order], labels[order], threat, batch_size=5)[0]
    torch.testing.assert_close(one.delta[order], two.delta, atol=1e-3, rtol=0)
    assert all(weight.grad is None for weight in model.parameters())


def test_it_draws_nothing_from_a_random_models_generator(digits):
    model, inputs, labels = digits
    with Guard(model, inputs.shape[1:], inputs.dtype) as guard, torch.no_grad():
        points = build(guard, inputs[:8], labels[:8], Threat("linf", 0.1), 0)
        state = torch.get_rng_state()
        surrogate.search(guard, points, (1, 8, 8), 6)
        assert torch.equal(torch.get_rng_state(), state)


def test_the_slope_of_the_smoothed_loss_is_the_true_one():
    """On a linear loss any smoothing has the slope itself; steps do not hide it."""
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(6, 2, generator=generator, dtype=torch.float64)
    inputs = torch.rand(20, 6, generator=generator, dtype=torch.float64)
    for model in (lambda x: x @ weights, lambda x: (20 * x @ weights).round() / 20):
        with Guard(model, (6,), torch.float64) as guard, guard.estimating(0.2, 1500):
            _, loss, slope = guard.gradient(inputs, lambda scores, rows: scores[:, 1] - scores[:, 0])
        true = weights[:, 1] - weights[:, 0]
        assert float((slope - true).norm(dim=1).max() / true.norm()) < 0.2
        assert torch.equal(loss, model(inputs)[:, 1] - model(inputs)[:, 0])
        assert guard.forwards == 20 * (2 * 1500 + 1)
        assert guard.backwards == 0


def test_rounded_scores_fall_to_estimated_slopes(digits):
    model, inputs, labels = digits
    hunt, verified, *_ = run(
        lambda guard, points: smoothed.search(guard, points, 8, 16),
        lambda x: model(x).round(), inputs, labels, Threat("linf", 0.15),
    )  # fmt: skip
    assert torch.equal(hunt.broken, verified)
    assert int(hunt.broken.sum()) >= 15
