"""Silenced heads against models whose weights were changed to silence them."""

from __future__ import annotations

import copy

import pytest
import torch

from audit.explainers import head_ablation, head_means
from tests.explainers import attentive
from tests.explainers.attentive import Einsum, Folded, TimmStyle, stack
from tests.explainers.test_attention import X, texts

TARGETS = torch.tensor([1, 0, 1])


@pytest.mark.parametrize("kind", [lambda fused: TimmStyle(True), Einsum, Folded, TimmStyle], ids=range(4))
def test_a_silent_head_is_a_projection_without_its_columns(kind):
    model = stack(lambda: kind(False))
    found = head_ablation(model, X, TARGETS)
    assert [f.shape for f in found] == [(3, 4)] * 3
    for layer in range(3):
        for head in range(4):
            silent = copy.deepcopy(model)
            with torch.no_grad():
                silent.layers[layer].proj.weight[:, 4 * head : 4 * head + 4] = 0
                change = (model(X) - silent(X)).gather(1, TARGETS[:, None]).squeeze(1)
            torch.testing.assert_close(found[layer][:, head], change.double(), atol=1e-6, rtol=0)


def test_means_move_into_the_bias():
    model = stack(lambda: TimmStyle(True))
    means = head_means(model, X)
    found = head_ablation(model, X, TARGETS, means)
    q, k, v = model.layers[0].qkv(X).reshape(3, 5, 3, 4, 4).permute(2, 0, 3, 1, 4)
    truth = ((q @ k.mT / 2).softmax(-1) @ v).mean((0, 2)).detach().double()
    torch.testing.assert_close(means[0], truth, atol=1e-6, rtol=0)
    silent = copy.deepcopy(model)
    with torch.no_grad():
        own = silent.layers[1].proj
        own.bias += own.weight[:, 8:12] @ means[1][2].float()
        own.weight[:, 8:12] = 0
        change = (model(X) - silent(X)).gather(1, TARGETS[:, None]).squeeze(1)
    torch.testing.assert_close(found[1][:, 2], change.double(), atol=1e-6, rtol=0)


def test_padding_is_no_part_of_the_mean():
    batch = texts()
    alone = {name: value[2:3, :2] for name, value in batch.items()}
    own = {name: value[2:3] for name, value in batch.items()}
    for with_padding, without in zip(
        head_means(attentive.bert(), own), head_means(attentive.bert(), alone), strict=True
    ):
        torch.testing.assert_close(with_padding, without, atol=1e-6, rtol=0)


def test_scores_and_refusals():
    model = attentive.gpt2()
    margin = head_ablation(model, texts(), 0, score=lambda scores, targets: scores[:, 0] - scores[:, 1])
    first, second = head_ablation(model, texts(), 0), head_ablation(model, texts(), 1)
    for both, a, b in zip(margin, first, second, strict=True):
        torch.testing.assert_close(both, a - b, atol=1e-6, rtol=0)
    with pytest.raises(ValueError, match=r"^means: Expected one row a head for layers of \[4, 4\], found \[3\]"):
        head_ablation(model, texts(), 0, [torch.zeros(3, 4)])

    class Shared(TimmStyle):
        def forward(self, x):
            q, k, v = self.qkv(x).reshape(3, 5, 3, 4, 4).permute(2, 0, 3, 1, 4).unbind(0)
            weights = (q @ k.mT).softmax(-1)
            return torch.matmul(weights[:, :1], v).transpose(1, 2).flatten(2)

    with pytest.raises(ValueError, match=r"^model: Expected an output for each head in layers.0, found heads"):
        head_ablation(stack(lambda: Shared(False)), X, 0)


def test_only_some_heads():
    model = stack(lambda: TimmStyle(True))
    every, some = head_ablation(model, X, 0), head_ablation(model, X, 0, only=[(2, 1), (0, 3)])
    asked = {(layer, head) for layer in range(3) for head in range(4) if some[layer][:, head].isfinite().all()}
    assert asked == {(0, 3), (2, 1)}
    assert torch.equal(some[2][:, 1], every[2][:, 1])
    with pytest.raises(ValueError, match=r"^only: Expected heads of layers with \[4, 4, 4\], found head 4 of layer 0"):
        head_ablation(model, X, 0, only=[(0, 4)])
