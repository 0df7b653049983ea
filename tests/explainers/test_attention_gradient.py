"""Gradient rollout against autograd on eager models, written out."""

from __future__ import annotations

import gc

import pytest
import torch

from audit.explainers import attention_rollout, game, gradient_rollout
from tests.explainers import attentive
from tests.explainers.attentive import Classifier, Einsum, Folded, TimmStyle, seeded, stack
from tests.explainers.test_attention import X, texts

TARGETS = torch.tensor([1, 0, 1])


def chefer(maps, gradients):
    """R = R + Ā R over the layers, with every map at hand."""
    joint = torch.eye(maps[0].shape[-1], dtype=torch.float64).expand(len(maps[0]), -1, -1)
    for weights, gradient in zip(maps, gradients, strict=True):
        mean = (weights.double() * gradient.double()).clamp_min(0).mean(1).detach()
        joint = joint + mean @ joint
    return joint


@pytest.mark.parametrize("family", [attentive.bert, attentive.distilbert, attentive.gpt2, attentive.llama])
def test_fused_models_against_autograd_on_eager_ones(family):
    batch, eager = texts(), family("eager")
    found = eager(**batch, output_attentions=True)
    total = found.logits.gather(1, TARGETS[:, None]).sum()
    truth = chefer(found.attentions, torch.autograd.grad(total, found.attentions))
    real = batch["attention_mask"].bool()
    pairs = real[:, None, :] & real[:, :, None]
    for model in (family("sdpa"), eager):
        relevance = gradient_rollout(model, batch, TARGETS).relevance
        torch.testing.assert_close(relevance[pairs], truth[pairs], atol=1e-6, rtol=1e-4)
        assert torch.equal(relevance[~pairs], torch.eye(7).double().expand(3, 7, 7)[~pairs])


@pytest.mark.parametrize("kind", [lambda fused: TimmStyle(True), Einsum, Folded, TimmStyle], ids=range(4))
def test_attention_written_out(kind):
    plain, model = stack(lambda: TimmStyle(False)), stack(lambda: kind(False))
    model.load_state_dict(plain.state_dict())
    hidden, maps = X, []
    for layer in plain.layers:
        q, k, v = layer.qkv(hidden).reshape(3, 5, 3, 4, 4).permute(2, 0, 3, 1, 4)
        maps.append((q @ k.mT / 2).softmax(-1))
        out = layer.proj((maps[-1] @ v).transpose(1, 2).flatten(2))
        hidden = hidden + torch.nn.functional.gelu(out)
    total = plain.head(hidden[:, 0]).gather(1, TARGETS[:, None]).sum()
    found = gradient_rollout(model, X, TARGETS)
    torch.testing.assert_close(found.relevance, chefer(maps, torch.autograd.grad(total, maps)), atol=1e-6, rtol=1e-4)
    # two classes read off the first token
    torch.testing.assert_close(found.readout, torch.eye(5).double()[:1].expand(3, -1))
    assert torch.equal(found.values, found.relevance[:, 0])


def test_where_the_score_reads():
    first = gradient_rollout(attentive.bert(), texts(), 0).readout
    assert torch.equal(first, torch.eye(7).double()[:1].expand(3, -1))
    last = gradient_rollout(attentive.gpt2(), texts(), 0).readout
    assert torch.equal(last, torch.eye(7).double()[[6, 4, 1]])

    class Mean(Classifier):
        def forward(self, x):
            for layer in self.layers:
                x = x + layer(x)
            return self.head(x.mean(1))

    even = gradient_rollout(seeded(lambda: Mean(TimmStyle(True))), X, 0).readout
    torch.testing.assert_close(even, torch.full((3, 5), 0.2).double())


def test_chunks_change_nothing(monkeypatch):
    for fused in (True, False):
        model = stack(lambda fused=fused: TimmStyle(fused))
        whole = gradient_rollout(model, X, TARGETS)
        with monkeypatch.context() as patch:
            patch.setattr(game, "MEMORY", 1)
            found = gradient_rollout(model, X, TARGETS)
        torch.testing.assert_close(found.relevance, whole.relevance, atol=1e-7, rtol=1e-5)


def test_padding_changes_nothing():
    batch = texts()
    own = {name: value[2:3, :2] for name, value in batch.items()}
    for family in (attentive.bert, attentive.gpt2):
        found = gradient_rollout(family(), batch, TARGETS)
        alone = gradient_rollout(family(), own, 1)
        torch.testing.assert_close(found.relevance[2:, :2, :2], alone.relevance, atol=1e-6, rtol=1e-4)
        torch.testing.assert_close(found.values[2:, :2], alone.values, atol=1e-6, rtol=1e-4)


def test_masks_made_of_the_input_get_their_gradient():
    """A mask that depends on the layer before passes its gradient on."""

    class Biased(TimmStyle):
        def forward(self, x):
            n, length, width = x.shape
            q, k, v = self.qkv(x).reshape(n, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
            bias = x[..., :1].unsqueeze(1).expand(n, self.heads, length, length)
            if self.fused:
                out = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)
            else:
                out = (q @ k.mT / 2 + bias.mT * 0 + bias).softmax(-1) @ v
            return self.proj(out.transpose(1, 2).reshape(n, length, width))

    fused, plain = stack(lambda: Biased(True)), stack(lambda: Biased(False))
    torch.testing.assert_close(
        gradient_rollout(fused, X, 0).relevance, gradient_rollout(plain, X, 0).relevance, atol=1e-6, rtol=1e-4
    )


def test_scores_of_ones_own():
    model = stack(lambda: TimmStyle(True))
    twice = gradient_rollout(model, X, 0, score=lambda scores, targets: 2 * scores[:, 0]).relevance
    once = gradient_rollout(stack(lambda: TimmStyle(True), 3), X, 0).relevance
    assert not torch.allclose(once, twice)
    same = gradient_rollout(model, X, [0, 0, 0], score=lambda scores, targets: scores[:, 0]).relevance
    assert torch.equal(once, same)


def test_the_model_is_left_alone():
    model = stack(lambda: TimmStyle(True)).train()
    model.head.bias.requires_grad_(False)
    gradients = [p.requires_grad for p in model.parameters()]
    x = X.clone().requires_grad_()
    with torch.no_grad():
        found = gradient_rollout(model, x, TARGETS)
    assert not found.relevance.requires_grad
    assert [p.requires_grad for p in model.parameters()] == gradients
    assert all(p.grad is None for p in model.parameters())
    assert x.grad is None
    assert model.training
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    with pytest.raises(ValueError, match=r"^targets: Expected classes below 2, found \[0, 2, 1\]"):
        gradient_rollout(model, X, [0, 2, 1])
    with pytest.raises(ValueError, match=r"^targets: Expected one class for each of 3 examples, found \(2,\)"):
        gradient_rollout(model, X, [0, 1])
    assert [p.requires_grad for p in model.parameters()] == gradients


def test_nothing_stays_behind():
    """Hooks on maps would keep the maps, and the graph behind them, alive."""

    def alive():
        gc.collect()
        return sum(isinstance(o, torch.Tensor) for o in gc.get_objects())

    for fused in (True, False):
        model = stack(lambda fused=fused: TimmStyle(fused))
        gradient_rollout(model, X, TARGETS)
        before = alive()
        for _ in range(3):
            gradient_rollout(model, X, TARGETS)
        assert alive() == before


def test_scores_without_attention_are_refused():
    class Aside(Classifier):
        def forward(self, x):
            super().forward(x)
            return self.head(x[:, 0])

    model = seeded(lambda: Aside(TimmStyle(True)))
    with pytest.raises(ValueError, match=r"^model: Expected a score that depends on its attention"):
        gradient_rollout(model, X, 0)
    with pytest.raises(ValueError, match=r"^model: Expected scores \(n, outputs\), found \(3, 5, 16\)"):
        gradient_rollout(TimmStyle(True), X, 0)
    assert attention_rollout(model, X).shape == (3, 5, 5)
