"""Twelve motifs, every gradient method: what adds up is right, what does not is refused by name."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from audit import explainers
from audit.explainers import CompletenessError
from tests.explainers.motifs import LENGTH, OUTPUTS, WIDTH, Shared, motifs

MOTIFS = motifs()
# captum warns of the hooks it sets
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
each_motif = pytest.mark.parametrize("motif", MOTIFS, ids=lambda m: m.name)


def change(motif, baseline: Tensor) -> Tensor:
    with torch.no_grad():
        return motif.model(motif.inputs) - motif.model(baseline)


def dense(score, inputs: Tensor, baseline: Tensor, steps: int = 1500) -> Tensor:
    """Integrated gradients by the midpoint rule with very many points: the truth, slowly."""
    total = torch.zeros_like(inputs)
    for share in (torch.arange(steps) + 0.5).split(250):
        along = (share / steps).double().reshape(-1, 1, 1, 1)
        points = (baseline + along * (inputs - baseline)).flatten(0, 1).requires_grad_(True)
        gradient = torch.autograd.grad(score(points).sum(), points)[0]
        total += gradient.reshape(len(share), *inputs.shape).sum(0)
    return (total / steps * (inputs - baseline)).flatten(1)


def test_there_are_twelve():
    assert len({m.name for m in MOTIFS}) == 12
    assert all(m.model(m.inputs).shape == (4, OUTPUTS) for m in MOTIFS)


@each_motif
def test_integrated_gradients_are_the_path_integral(motif):
    found = explainers.integrated_gradients(motif.model, motif.inputs, motif.baselines[:1], max_steps=2**14)
    missed = (found.values.sum(1) - (moved := change(motif, motif.baselines[:1]))).abs() / moved.abs()
    assert float(missed.max()) <= 1e-3
    close = explainers.integrated_gradients(
        motif.model, motif.inputs, motif.baselines[:1], targets=1, tolerance=1e-4, max_steps=2**16
    )
    truth = dense(lambda p: motif.model(p)[:, 1], motif.inputs, motif.baselines[:1])
    torch.testing.assert_close(close.values[:, :, 0], truth, atol=1e-2 * float(truth.abs().max()), rtol=0)


@each_motif
def test_deep_lift_adds_up(motif):
    # to the last digits, on all twelve: captum returns 10 % errors on some and raises on others
    found = explainers.deep_lift(motif.model, motif.inputs, motif.baselines[:1])
    torch.testing.assert_close(found.values.sum(1), change(motif, motif.baselines[:1]), atol=1e-12, rtol=1e-9)
    mean = explainers.deep_lift_shap(motif.model, motif.inputs, motif.baselines, targets=[0, 2])
    every = torch.stack([change(motif, row[None]) for row in motif.baselines])[:, :, [0, 2]]
    torch.testing.assert_close(mean.values.sum(1), every.mean(0), atol=1e-12, rtol=1e-9)


@each_motif
def test_gradient_shap_is_the_mean_path_integral_within_its_intervals(motif):
    found = explainers.gradient_shap(motif.model, motif.inputs, motif.baselines, targets=1, draws=512)
    paths = [dense(lambda p: motif.model(p)[:, 1], motif.inputs, b[None], 250) for b in motif.baselines]
    truth = torch.stack(paths).mean(0)
    inside = (found.low[:, :, 0] <= truth + 1e-9) & (truth - 1e-9 <= found.high[:, :, 0])
    assert float(inside.double().mean()) > 0.7
    with torch.no_grad():
        promised = motif.model(motif.inputs)[:, 1] - motif.model(motif.baselines)[:, 1].mean()
    # what chance brought is taken out again, so the sum is exact
    torch.testing.assert_close(found.values.sum(1)[:, 0], promised, atol=1e-12, rtol=1e-9)


@each_motif
def test_maps_without_a_promise_are_what_they_say(motif):
    points = motif.inputs.clone().requires_grad_(True)
    truth = torch.autograd.grad(motif.model(points)[:, 1].sum(), points)[0].flatten(1)
    torch.testing.assert_close(explainers.saliency(motif.model, motif.inputs, 1)[:, :, 0], truth.abs())
    still = explainers.smooth_grad(motif.model, motif.inputs, 1, draws=2, deviation=0.0)
    torch.testing.assert_close(still.values[:, :, 0], truth)
    torch.testing.assert_close(still.low, still.high)
    with torch.no_grad():
        covered = motif.inputs.clone().flatten(1)
        covered[:, 5] = motif.baselines[0].flatten()[5]
        lost = (motif.model(motif.inputs) - motif.model(covered.reshape(motif.inputs.shape)))[:, 1]
    occluded = explainers.occlusion(motif.model, motif.inputs, motif.baselines[:1], targets=1)
    torch.testing.assert_close(occluded.values[:, 5, 0], lost)


class Separate(nn.Module):
    """`ReusedReLU` and `FunctionalReLU` as captum wants them: a module for each activation."""

    def __init__(self, *linear: nn.Linear) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for layer in linear[:-1]:
            layers += [copy.deepcopy(layer), nn.ReLU()]
        self.body, self.last = nn.Sequential(*layers), copy.deepcopy(linear[-1])

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.body(x).flatten(1))


@pytest.mark.parametrize(("name", "layers"), [("functional ReLU", "first last"), ("reused ReLU", "first middle last")])
def test_deep_lift_is_captums_on_the_same_network_written_in_modules(name, layers):
    from captum.attr import DeepLift, DeepLiftShap

    motif = next(m for m in MOTIFS if m.name == name)
    twin = Separate(*(getattr(motif.model, layer) for layer in layers.split()))
    torch.testing.assert_close(twin(motif.inputs), motif.model(motif.inputs))
    found = explainers.deep_lift(motif.model, motif.inputs, motif.baselines[:1], targets=2)
    reference = DeepLift(twin).attribute(motif.inputs, motif.baselines[:1], target=2).detach()
    torch.testing.assert_close(found.values[:, :, 0], reference.flatten(1))
    found = explainers.deep_lift_shap(motif.model, motif.inputs, motif.baselines, targets=2)
    reference = DeepLiftShap(twin).attribute(motif.inputs, motif.baselines, target=2).detach()
    torch.testing.assert_close(found.values[:, :, 0], reference.flatten(1))


def test_captum_is_silently_wrong_where_this_is_right():
    from captum.attr import DeepLift

    motif = next(m for m in MOTIFS if m.name == "LayerNorm")
    _, delta = DeepLift(motif.model).attribute(
        motif.inputs, motif.baselines[:1], target=1, return_convergence_delta=True
    )
    missed = (delta.abs() / change(motif, motif.baselines[:1])[:, 1].abs()).max()
    assert float(missed) > 0.01


class Jump(nn.Module):
    """Half of the score jumps, which no gradient sees."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(WIDTH * LENGTH, OUTPUTS)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.where(x > 0.2, x + 1.0, x).flatten(1))


class Passing(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.round()

    @staticmethod
    def backward(ctx, gradient):
        return gradient


class StraightThrough(Jump):
    """Rounds, and pretends not to."""

    def forward(self, x: Tensor) -> Tensor:
        return self.last(Passing.apply(x).flatten(1))


@pytest.mark.parametrize("kind", [Jump, StraightThrough])
def test_what_does_not_add_up_is_refused_by_the_name_of_the_method(kind):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = kind().double().eval()
    x, baselines = MOTIFS[0].inputs, MOTIFS[0].baselines
    with pytest.raises(CompletenessError, match=r"integrated_gradients: Expected attributions.*for example \d"):
        explainers.integrated_gradients(model, x, baselines[:1])
    with pytest.raises(CompletenessError, match=r"gradient_shap: Expected attributions.*for example \d"):
        explainers.gradient_shap(model, x, baselines, draws=512)


def test_deep_lift_names_the_operation_without_a_rule():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = Jump().double().eval()
    with pytest.raises(CompletenessError, match=r"deep_lift: .*for example \d.*no rule is known for where"):
        explainers.deep_lift(model, MOTIFS[0].inputs, MOTIFS[0].baselines[:1])


def test_deep_lift_sees_through_a_gradient_that_pretends():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = StraightThrough().double().eval()
    x, baseline = MOTIFS[0].inputs, MOTIFS[0].baselines[:1]
    found = explainers.deep_lift(model, x, baseline)
    # a step has a slope between two points, if no derivative
    truth = (x.round() - baseline.round()).flatten(1)[:, :, None] * model.last.weight.T.detach()
    torch.testing.assert_close(found.values, truth)


@pytest.mark.parametrize("scale", [200.0, 1e5])
def test_saturated_probabilities_are_refused_or_add_up(scale):
    motif = next(m for m in MOTIFS if m.name == "softmax head")
    sure = nn.Sequential(motif.model[0], Scale(scale), nn.Softmax(1)).double().eval()
    for explain in (explainers.saliency, explainers.gradient_x_input, explainers.smooth_grad):
        with pytest.raises(ValueError, match=r"found a probability of 1 for example \d"):
            explain(sure, motif.inputs)
    lifted = explainers.deep_lift(sure, motif.inputs, motif.baselines[:1])
    with torch.no_grad():
        moved = sure(motif.inputs) - sure(motif.baselines[:1])
    torch.testing.assert_close(lifted.values.sum(1), moved, atol=1e-9, rtol=1e-6)


class Scale(nn.Module):
    def __init__(self, by: float) -> None:
        super().__init__()
        self.by = by

    def forward(self, x: Tensor) -> Tensor:
        return self.by * x


def test_a_recurrent_layer_is_explained_in_eval_mode():
    motif = next(m for m in MOTIFS if m.name == "LSTM")
    modes = []
    handle = motif.model.lstm.register_forward_pre_hook(lambda module, _: modes.append(module.training))
    enabled = torch.backends.cudnn.enabled, torch.backends.mkldnn.enabled
    explainers.saliency(motif.model, motif.inputs)
    explainers.deep_lift(motif.model, motif.inputs, motif.baselines[:1])
    handle.remove()
    assert modes and not any(modes)
    assert enabled == (torch.backends.cudnn.enabled, torch.backends.mkldnn.enabled)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_deep_lift_computes_in_double_whatever_the_model_does(dtype):
    model = copy.deepcopy(next(m for m in MOTIFS if isinstance(m.model, Shared)).model).to(dtype)
    x, baseline = (t.to(dtype) for t in (MOTIFS[0].inputs, MOTIFS[0].baselines[:1]))
    found = explainers.deep_lift(model, x, baseline)
    exact = copy.deepcopy(model).double()
    truth = explainers.deep_lift(exact, x.double(), baseline.double())
    torch.testing.assert_close(found.values, truth.values, atol=1e-12, rtol=1e-9)
    assert np.isfinite(found.base.numpy()).all()
