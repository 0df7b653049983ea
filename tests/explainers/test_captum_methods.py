"""captum's methods behind our guards: right, or refused by name; never a trace."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from captum import attr
from torch import nn

from audit import explainers
from audit.explainers import CompletenessError
from audit.explainers.captum_methods import METHODS
from tests.explainers.motifs import motifs
from tests.explainers.traces import assert_same, generators, state

MOTIFS = motifs()
PROMISED = [name for name, promised in METHODS.items() if promised]
SETTINGS = {"IntegratedGradients": {"n_steps": 300}, "GradientShap": {"n_samples": 200}}


def net() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3)).double().eval()


def pictures(n: int = 4) -> torch.Tensor:
    return torch.randn(n, 1, 8, 8, generator=torch.Generator().manual_seed(0)).double()


@pytest.mark.parametrize("method", PROMISED)
@pytest.mark.parametrize("motif", MOTIFS, ids=lambda m: m.name)
def test_each_motif_adds_up_or_is_refused_by_name(method, motif):
    baselines = motif.baselines if method in ("DeepLiftShap", "GradientShap") else motif.baselines[:1]
    before, kept = state(motif.model), generators()
    refusal = ""
    try:
        found = explainers.captum(method, motif.model, motif.inputs, baselines, targets=1, **SETTINGS.get(method, {}))
    except CompletenessError as refused:
        refusal = str(refused)
    if refusal:
        assert f"captum {method}: Expected" in refusal
    else:
        with torch.no_grad():
            change = motif.model(motif.inputs)[:, 1] - motif.model(baselines)[:, 1].mean()
        missed = (found.values.sum(1)[:, 0] - change).abs()
        allowed = 0.5 if method == "GradientShap" else 1e-3  # the mean of 200 draws of each example
        assert bool((missed <= allowed * change.abs().max()).all())
    assert_same(before, state(motif.model))
    for a, b in zip(kept, generators(), strict=True):
        assert (a == b).all() if hasattr(a, "shape") else a == b


def test_deep_lift_of_layer_norm_and_of_functional_activations_is_refused():
    for name in ("LayerNorm", "functional ReLU"):
        motif = next(m for m in MOTIFS if m.name == name)
        with pytest.raises(CompletenessError, match="captum DeepLift: Expected attributions that add up"):
            explainers.captum("DeepLift", motif.model, motif.inputs, motif.baselines[:1])


@pytest.mark.parametrize("method", ["IntegratedGradients", "DeepLift", "Saliency", "InputXGradient"])
def test_the_values_are_captums(method):
    model, x, baseline = net(), pictures(), torch.zeros(1, 1, 8, 8).double()
    promised = METHODS[method]
    settings = {"n_steps": 200} if method == "IntegratedGradients" else {}
    ours = {"tolerance": 0.02} if promised else {}
    found = explainers.captum(method, model, x, baseline if promised else None, targets=[2, 0], **settings, **ours)
    for column, target in enumerate((2, 0)):
        explainer = getattr(attr, method)(model)
        more = {"baselines": baseline, **settings} if promised else {}
        reference = explainer.attribute(x.clone().requires_grad_(), target=target, **more).detach()
        torch.testing.assert_close(found.values[:, :, column], reference.flatten(1))
    if promised:
        torch.testing.assert_close(found.base, model(baseline)[:, [2, 0]].detach().expand(4, 2))


def test_a_layers_map_is_resized_and_keeps_captums_shape():
    model, x = net(), pictures()
    found = explainers.captum("LayerGradCam", model, x, targets=1, layer="0").values[:, :, 0].reshape(4, 1, 8, 8)
    small = attr.LayerGradCam(model, model[0]).attribute(x, target=1).detach()
    torch.testing.assert_close(found, nn.functional.interpolate(small, (8, 8), mode="bilinear"))


def test_a_noise_tunnel_promises_nothing_and_repeats_itself():
    model, x, noise = net(), pictures(), {"nt_type": "smoothgrad", "nt_samples": 8, "stdevs": 0.2}
    first, second, other = (
        explainers.captum("Saliency", model, x, targets=1, noise=noise, seed=seed).values for seed in (0, 0, 1)
    )
    assert torch.equal(first, second) and not torch.equal(first, other)


def test_occlusion_takes_captums_windows():
    model, x = net(), pictures()
    found = explainers.captum(
        "Occlusion", model, x, torch.zeros(1, 1, 8, 8).double(), 0, sliding_window_shapes=(1, 2, 2)
    )
    ours = explainers.occlusion(model, x, torch.zeros(1, 1, 8, 8).double(), targets=0, window=(1, 2, 2))
    torch.testing.assert_close(found.values, ours.values)


def test_nothing_stays_behind_when_the_model_breaks():
    class Breaks(nn.Module):
        calls = 0

        def __init__(self) -> None:
            super().__init__()
            self.inner = net()

        def forward(self, x):
            type(self).calls += 1
            if type(self).calls == 3:
                raise RuntimeError("the model broke")
            return self.inner(x)

    model = Breaks()
    before = state(model)
    with pytest.raises(RuntimeError, match="the model broke"):
        explainers.captum("DeepLift", model, pictures(), torch.zeros(1, 1, 8, 8).double())
    assert_same(before, state(model))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("TeaLeaves",), "method: Expected one of IntegratedGradients"),
        (("DeepLift",), "baselines: Expected rows to compare with for DeepLift"),
        (("LayerGradCam",), "layer: Expected a submodule of the model"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(ValueError, match=message):
        explainers.captum(*arguments, net(), pictures())


def test_an_argument_captum_does_not_know_is_refused():
    with pytest.raises(ValueError, match="Saliency: captum refuses these arguments"):
        explainers.captum("Saliency", net(), pictures(), targets=0, leaves=3)


def test_as_many_background_rows_as_examples_are_a_background_still():
    model, x = net(), pictures(4)
    found = explainers.captum("DeepLiftShap", model, x, pictures(7)[3:], targets=1)
    assert found.error is not None and float(found.error.max()) < 1e-3
    assert float(found.base.var()) == 0


@pytest.mark.parametrize("count", [1, 3])
def test_a_lone_draw_has_an_error_that_is_a_number(count):
    x = pictures(2)
    with pytest.raises(CompletenessError, match=r"captum GradientShap: .* found an error of [0-9]"):
        explainers.captum("GradientShap", net(), x, 0.01 * pictures(count), targets=1, n_samples=1)


def test_a_model_may_write_into_its_input_while_completeness_is_measured():
    class Writes(nn.Module):
        def forward(self, batch):
            with torch.no_grad():
                batch.sub_(0.5)
            return batch.flatten(1)

    x, baselines = pictures(2), pictures(3)[2:]
    found = explainers.captum("IntegratedGradients", nn.Sequential(Writes()), x, baselines, targets=1)
    torch.testing.assert_close(found.values[:, 1, 0], (x - baselines).flatten(1)[:, 1])
    assert torch.equal(x, pictures(2)) and torch.equal(baselines, pictures(3)[2:])


def test_a_seed_gives_the_same_bits_whatever_was_drawn_before():
    def found(state: int, seed: int = 3) -> torch.Tensor:
        np.random.seed(state)  # noqa: NPY002 - the global state is the point
        torch.manual_seed(state)
        return explainers.captum("GradientShap", net(), pictures(2), pictures(7)[2:], targets=1, seed=seed).values

    with torch.random.fork_rng(devices=[]):
        assert torch.equal(found(0), found(1))
        assert not torch.equal(found(0), found(0, seed=4))
