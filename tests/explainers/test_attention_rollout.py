"""Rollout against a plain re-implementation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from audit.explainers import attention, attention_rollout, game
from audit.explainers.attention_rollout import padding, rollout
from tests.explainers import attentive
from tests.explainers.attentive import TimmStyle, seeded, stack
from tests.explainers.test_attention import X, texts


@pytest.mark.parametrize("family", [attentive.bert, attentive.gpt2])
def test_rollout_equals_a_plain_reimplementation(family):
    model, batch = family(), texts()
    found = attention_rollout(model, batch)
    assert found.shape == (3, 7, 7)
    assert found.dtype == torch.float64
    maps = [m.double().numpy() for m in attention(model, batch)]
    for i in range(3):
        real = batch["attention_mask"][i].bool().numpy()
        joint = np.eye(real.sum())
        for layer in maps:
            mean = layer[i].mean(0)[np.ix_(real, real)]
            mixed = 0.5 * mean + 0.5 * np.eye(len(mean))
            joint = (mixed / mixed.sum(1, keepdims=True)) @ joint
        np.testing.assert_allclose(found[i].numpy()[np.ix_(real, real)], joint, atol=1e-12)
        assert float(found[i][:, ~torch.from_numpy(real)][torch.from_numpy(real)].sum()) == 0
    torch.testing.assert_close(found.sum(-1), torch.ones(3, 7, dtype=torch.float64))
    torch.testing.assert_close(found, rollout(attention(model, batch), batch["attention_mask"]), atol=1e-12, rtol=0)


@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("family", [attentive.bert, attentive.gpt2])
def test_padding_changes_nothing(family, left):
    model, batch = family(), texts()
    own = {name: value[1:2, :5] for name, value in batch.items()}
    padded = {name: nn.functional.pad(value, (6, 0) if left else (0, 6)) for name, value in own.items()}
    if left:
        padded["position_ids"] = (padded["attention_mask"].cumsum(1) - 1).clamp_min(0)
    where = slice(6, None) if left else slice(0, 5)
    found = attention_rollout(model, padded)[:, where, where]
    torch.testing.assert_close(found, attention_rollout(model, own), atol=1e-6, rtol=0)


def test_padding_of_torch_encoders():
    layer = seeded(lambda: nn.TransformerEncoderLayer(16, 4, 32, batch_first=True))
    model = seeded(lambda: nn.TransformerEncoder(layer, 3))
    mask = torch.arange(5) >= torch.tensor([5, 3, 2])[:, None]
    found = attention_rollout(model, {"src": X, "src_key_padding_mask": mask})
    torch.testing.assert_close(found[1:2, :3, :3], attention_rollout(model, X[1:2, :3]), atol=1e-6, rtol=0)
    assert torch.equal(padding({"key_padding_mask": torch.zeros(3, 5).masked_fill(mask, -torch.inf)}), ~mask)


def test_examples_second_and_no_batch():
    layer = seeded(lambda: nn.TransformerEncoderLayer(16, 4, 32))
    second = attention_rollout(layer, X.transpose(0, 1))
    assert second.shape == (3, 5, 5)
    torch.testing.assert_close(attention_rollout(layer, X[1]), second[1:2], atol=1e-6, rtol=0)


class Largest(TorchDispatchMode):
    """The largest tensor that any operation made, in bytes, and the most that lived at once."""

    def __init__(self):
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        for tensor in torch.utils._pytree.tree_leaves(found):
            if isinstance(tensor, torch.Tensor):
                self.bytes = max(self.bytes, tensor.untyped_storage().nbytes())
        return found


def test_no_layer_is_ever_held_whole(monkeypatch):
    monkeypatch.setattr(game, "MEMORY", 2**20)
    n, length, heads = 2, 256, 4
    model = stack(lambda: TimmStyle(True), depth=4)
    x = torch.randn(n, length, 16, generator=torch.Generator().manual_seed(0))
    with Largest() as seen:
        found = attention_rollout(model, x)
    # the answer itself is the largest thing there is: heads and layers cost nothing
    assert seen.bytes == found.untyped_storage().nbytes() == 8 * n * length**2
    assert seen.bytes < 8 * n * heads * length**2
    monkeypatch.undo()
    torch.testing.assert_close(found, rollout(attention(model, x)), atol=1e-7, rtol=0)


def test_what_cannot_be_chained_is_refused():
    batch = {**texts(), "decoder_input_ids": texts()["input_ids"][:, :4]}
    with pytest.raises(ValueError, match=r"^model: Expected layers over the same tokens, found 4 after 7"):
        attention_rollout(attentive.bart(), batch)
    decoder = seeded(lambda: nn.TransformerDecoderLayer(16, 4, 32, batch_first=True))
    with pytest.raises(ValueError, match=r"^model: Expected self-attention over one sequence, found 5 queries"):
        attention_rollout(decoder, {"tgt": X, "memory": X + 1})
    with pytest.raises(ValueError, match=r"^inputs: Expected padding for \(3, 5\) tokens, found \(3, 4\)"):
        attention_rollout(Loose(), {"x": X, "attention_mask": torch.ones(3, 4)})
    with pytest.raises(ValueError, match=r"^model: Expected one map an example, found 12 for inputs of shape"):
        attention_rollout(Windows(), torch.cat([X, X[:, :3]], dim=1))
    for maps, words in (([], "at least one layer"), ([torch.ones(1, 1, 2, 3)], "self-attention, found 2 queries")):
        with pytest.raises(ValueError, match=rf"^maps: Expected {words}"):
            rollout(maps)


class Loose(nn.Module):
    def forward(self, x, attention_mask):
        return nn.functional.scaled_dot_product_attention(x, x, x)


class Windows(nn.Module):
    def forward(self, x):
        windows = x.reshape(-1, 2, 16)
        return nn.functional.scaled_dot_product_attention(windows, windows, windows).reshape(x.shape)


def test_pictures_have_patches_for_tokens():
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(**attentive.SIZE, image_size=8, patch_size=4)
    model = seeded(lambda: ViTForImageClassification._from_config(config, attn_implementation="sdpa"))
    pictures = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    found = attention_rollout(model, {"pixel_values": pictures})
    assert found.shape == (2, 5, 5)
    torch.testing.assert_close(found, rollout(attention(model, {"pixel_values": pictures})), atol=1e-12, rtol=0)
