"""Attention maps against eager models, rollout against a plain re-implementation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from audit.explainers import attention, attention_rollout


def bert(implementation: str):
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(vocab_size=50, hidden_size=16, num_hidden_layers=3, num_attention_heads=4, intermediate_size=32)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config._attn_implementation = implementation
        return BertForSequenceClassification(config).eval()


@pytest.fixture
def batch() -> dict[str, torch.Tensor]:
    ids = torch.randint(1, 50, (3, 7), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    mask[2, 2:] = 0
    return {"input_ids": ids, "attention_mask": mask}


def test_fused_models_give_the_maps_of_eager_ones(batch):
    eager, fused = bert("eager"), bert("sdpa")
    fused.load_state_dict(eager.state_dict())
    with torch.no_grad():
        reference = eager(**batch, output_attentions=True).attentions
        before = fused(**batch).logits
    maps = attention(fused, batch)
    assert len(maps) == 3
    for found, truth in zip(maps, reference, strict=True):
        assert found.shape == (3, 4, 7, 7)
        torch.testing.assert_close(found, truth, atol=1e-5, rtol=0)
    assert fused.config._attn_implementation == "sdpa"
    with torch.no_grad():
        assert torch.equal(before, fused(**batch).logits)


def test_settings_come_back_when_the_model_fails(batch):
    model = bert("sdpa")
    with pytest.raises(IndexError):
        attention(model, {"input_ids": batch["input_ids"] + 1000})
    assert model.config._attn_implementation == "sdpa"


def test_training_mode_comes_back(batch):
    model = bert("sdpa")
    model.bert.train()
    expected = {name: module.training for name, module in model.named_modules()}
    one, two = attention(model, batch), attention(model, batch)
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert {name: module.training for name, module in model.named_modules()} == expected


def test_encoder_layers_and_multihead_attention():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        model = nn.TransformerEncoder(layer, 2).eval()
        x = torch.randn(3, 5, 8)
    with torch.no_grad():
        before = model(x)
    maps = attention(model, x)
    hidden, truth = x, []
    with torch.no_grad():
        for block in model.layers:
            truth.append(block.self_attn(hidden, hidden, hidden, average_attn_weights=False)[1])
            hidden = block(hidden)
    assert [tuple(m.shape) for m in maps] == [(3, 2, 5, 5)] * 2
    for found, reference in zip(maps, truth, strict=True):
        torch.testing.assert_close(found, reference, atol=1e-5, rtol=0)
    with torch.no_grad():
        assert torch.equal(before, model(x))
    assert torch.backends.mha.get_fastpath_enabled()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_rollout_equals_a_plain_reimplementation(batch):
    model = bert("sdpa")
    found = attention_rollout(model, batch)
    assert found.shape == (3, 7, 7)
    maps = [m.double().numpy() for m in attention(model, batch)]
    for i in range(3):
        real = batch["attention_mask"][i].bool().numpy()
        joint = np.eye(real.sum())
        for layer in maps:
            mean = layer[i].mean(0)[np.ix_(real, real)]
            mixed = 0.5 * mean + 0.5 * np.eye(len(mean))
            joint = (mixed / mixed.sum(1, keepdims=True)) @ joint
        np.testing.assert_allclose(found[i].numpy()[np.ix_(real, real)], joint, atol=1e-6)
        assert float(found[i][:, ~torch.from_numpy(real)][torch.from_numpy(real)].sum()) == 0
    torch.testing.assert_close(found.sum(-1), torch.ones(3, 7, dtype=torch.float64))


def test_padding_changes_nothing(batch):
    model = bert("sdpa")
    short = {name: value[2:3, :2] for name, value in batch.items()}
    torch.testing.assert_close(
        attention_rollout(model, batch)[2:3, :2, :2], attention_rollout(model, short), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("model", [nn.Linear(3, 2), nn.Sequential(nn.LSTM(3, 2))])
def test_models_without_attention_are_refused(model):
    with pytest.raises(ValueError, match=r"^model: Expected one that gives attention maps"):
        attention(model, torch.ones(2, 3))


def test_tensors_are_refused_for_transformers(batch):
    with pytest.raises(ValueError, match=r"^inputs: Expected a mapping"):
        attention(bert("sdpa"), batch["input_ids"])
