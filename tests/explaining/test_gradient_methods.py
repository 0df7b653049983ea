"""DeepLIFT, gradient SHAP, SmoothGrad, Grad-CAM and occlusion of audited rows: closed forms for every modality."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from audit.explainers.segments import blur
from audit.explaining.attributions import attribute, attribute_each
from audit.explaining.methods import METHODS, applicable
from audit.subject import Modality
from tests.explaining.subjects import dataset, subject
from tests.explaining.test_attributions import WORTH

PROMISING = ("integrated_gradients", "deep_lift", "gradient_shap")
KINDS = ("table", "picture", "words")


def explain(method, known, data, evaluations=512, seed=0):
    targets = torch.ones(len(data), dtype=torch.long)
    return attribute(method, known, data, targets, np.random.default_rng(seed), data, evaluations)


def convolutional() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(576, 2)).eval()


@pytest.mark.parametrize("method", ["deep_lift", "gradient_shap", "occlusion"])
def test_tables(method, table):
    known, data = table
    found = explain(method, known, data)
    moved = (data.inputs - data.inputs.mean(0)) * known.model.weight
    truth = torch.stack([moved[:, 0], moved[:, 1:4].sum(1), moved[:, 4]], dim=1)
    np.testing.assert_allclose(np.stack(found.values), truth, atol=0.6 if method == "gradient_shap" else 1e-5)
    inside = (np.stack(found.low) - 1e-6 <= truth.numpy()) & (truth.numpy() <= np.stack(found.high) + 1e-6)
    assert inside.mean() > 0.85


@pytest.mark.parametrize("method", ["deep_lift", "occlusion"])
def test_pictures(method, picture):
    known, data = picture
    found = explain(method, known, data)
    moved = ((data.inputs - blur(data.inputs)) * 4.0)[:, 0, :2, :2].sum((1, 2))
    values = np.stack(found.values)
    np.testing.assert_allclose(values[:, 0], moved, atol=1e-4)
    np.testing.assert_allclose(values[:, 1:], 0, atol=1e-5)


def test_gradient_shap_of_pictures_starts_from_pictures(picture):
    known, data = picture
    found = explain("gradient_shap", known, data, evaluations=1024)
    moved = ((data.inputs - data.inputs.mean(0)) * 4.0)[:, 0, :2, :2].sum((1, 2)).numpy()
    # one cell matters, so the sum that is known says what it is worth
    np.testing.assert_allclose(np.stack(found.values)[:, 0], moved, atol=1e-4)


@pytest.mark.parametrize("method", ["deep_lift", "gradient_shap", "occlusion"])
def test_texts(method, words):
    known, data = words
    found = explain(method, known, data)
    for text, names, values in zip(data.inputs, found.names, found.values, strict=True):
        assert names == tuple(text.split())
        np.testing.assert_allclose(values, [WORTH[word] for word in names], atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", PROMISING)
def test_what_is_promised_adds_up_from_the_base(method, kind, request):
    known, data = request.getfixturevalue(kind)
    found = explain(method, known, data)
    total = np.array([values.sum() for values in found.values])
    assert (np.abs(found.base + total - found.full) <= 1e-3 * np.abs(found.full - found.base) + 1e-4).all()
    assert found.error is not None and found.error.max() <= 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_smooth_magnitudes_of_a_linear_model_are_its_weights(kind, request):
    known, data = request.getfixturevalue(kind)
    smooth, plain = (explain(method, known, data) for method in ("smooth_grad", "saliency"))
    for one, other, low, high in zip(smooth.values, plain.values, smooth.low, smooth.high, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
        np.testing.assert_allclose(low, high, atol=1e-5)
    assert np.isnan(smooth.base).all() and smooth.error is None


def test_grad_cam_is_for_convolutions(picture, table):
    known, data = picture
    assert not applicable("grad_cam", known) and not applicable("grad_cam", table[0])
    seen = subject(convolutional(), Modality.IMAGE)
    assert applicable("grad_cam", seen)
    found = explain("grad_cam", seen, data)
    assert found.elements.shape == data.inputs.shape
    values = np.stack(found.values)
    assert (values >= 0).all() and values.max() > 0 and not METHODS["grad_cam"].signed
    np.testing.assert_allclose(values.sum(1), found.elements.sum((1, 2, 3)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", [name for name in METHODS if METHODS[name].family == "gradient"])
def test_seeds_repeat_and_other_seeds_draw_anew(method, kind, request):
    known, data = request.getfixturevalue(kind)
    if not applicable(method, known):
        assert method == "grad_cam"
        return
    state = torch.get_rng_state()
    one, two, other = (explain(method, known, data, 64, seed) for seed in (0, 0, 1))
    assert all((a == b).all() for a, b in zip(one.values, two.values, strict=True))
    assert torch.equal(state, torch.get_rng_state())
    drawn = method == "gradient_shap" and kind != "words"
    assert (
        drawn != all((a == b).all() for a, b in zip(one.values, other.values, strict=True)) or method == "smooth_grad"
    )


class Jumps(nn.Module):
    def forward(self, batch):
        one = torch.where(batch > 0, batch + 1, batch).sum(1)
        return torch.stack([torch.zeros_like(one), one], dim=1)


def test_a_method_that_refuses_says_so_and_the_others_go_on():
    x = torch.randn(30, 4, generator=torch.Generator().manual_seed(0))
    known, data = subject(Jumps(), Modality.TABULAR), dataset(x, (x.sum(1) > 0).long(), Modality.TABULAR)
    targets, rng = torch.ones(30, dtype=torch.long), np.random.default_rng(0)
    found, refused = attribute_each([*PROMISING, "occlusion"], known, data, targets, rng, data, 64)
    assert set(found) == {"occlusion"} and set(refused) == set(PROMISING)
    assert all(sentence.startswith(f"{name}: Expected attributions") for name, sentence in refused.items())
    assert "no rule is known for where" in refused["deep_lift"]
