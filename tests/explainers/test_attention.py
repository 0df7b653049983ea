"""Attention maps against eager models and against what torch itself says."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from audit.explainers import attention, attention_maps
from tests.explainers import attentive
from tests.explainers.attentive import seeded

X = torch.randn(3, 5, 16, generator=torch.Generator().manual_seed(0))


def texts(left: bool = False) -> dict[str, torch.Tensor]:
    ids = torch.randint(2, 50, (3, 7), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    mask[2, 2:] = 0
    mask = mask.flip(1) if left else mask
    return {"input_ids": ids * mask, "attention_mask": mask}


def close(found, truth, atol=1e-6):
    assert len(found) == len(truth)
    for a, b in zip(found, truth, strict=True):
        torch.testing.assert_close(a, b, atol=atol, rtol=0)


@pytest.mark.parametrize("family", [attentive.bert, attentive.distilbert, attentive.gpt2, attentive.llama])
@pytest.mark.parametrize("left", [False, True], ids=["right", "left"])
def test_fused_models_give_the_maps_of_eager_ones(family, left):
    """Also causal ones with padding, and grouped queries."""
    batch = texts(left)
    eager, fused = family("eager"), family("sdpa")
    settings = fused.config.to_dict()
    with torch.no_grad():
        truth = eager(**batch, output_attentions=True).attentions
        before = fused(**batch).logits
    maps = attention(fused, batch)
    # what padding looks at differs between kernels and reaches nothing: fused ones let it see nothing
    real = batch["attention_mask"].bool()[:, None, :, None].expand(-1, 4, -1, 7)
    close([m[real] for m in maps], [t[real] for t in truth])
    close(attention(eager, batch), truth, atol=0)
    assert all(m.shape == (3, 4, 7, 7) for m in maps)
    assert fused.config.to_dict() == settings
    with torch.no_grad():
        assert torch.equal(before, fused(**batch).logits)


def test_decoders_look_at_nothing_later():
    for family in (attentive.gpt2, attentive.llama):
        for weights in attention(family(), texts()):
            assert weights.triu(1).abs().max() == 0
            assert (weights.tril().sum(-1)[:, :, :2] - 1).abs().max() < 1e-6


def test_cross_attention_is_named():
    batch = {**texts(), "decoder_input_ids": texts()["input_ids"][:, :4]}
    with torch.no_grad():
        found = attentive.bart("eager")(**batch, output_attentions=True)
    truth = [*found.encoder_attentions]
    for own, cross in zip(found.decoder_attentions, found.cross_attentions, strict=True):
        truth += [own, cross]
    maps = attention_maps(attentive.bart("sdpa"), batch)
    close([m.weights for m in maps], truth)
    assert [m.cross for m in maps] == [False, False, False, True, False, True]
    assert maps[3].name == "decoder.layers.0.encoder_attn"


@pytest.mark.parametrize("options", [{}, {"need_weights": False}, {"average_attn_weights": True}], ids=str)
@pytest.mark.parametrize("shape", ["batch first", "batch second", "unbatched", "other widths"])
def test_multihead_attention(options, shape):
    first = shape != "batch second"
    more = {"kdim": 6, "vdim": 7} if shape == "other widths" else {}
    module = seeded(lambda: nn.MultiheadAttention(16, 4, batch_first=first, dropout=0.3, **more))
    generator = torch.Generator().manual_seed(1)
    q, k, v = (
        torch.randn(3, n, w, generator=generator) for n, w in ((5, 16), (4, 6 if more else 16), (4, 7 if more else 16))
    )
    q, k, v = {"unbatched": (q[0], k[0], v[0]), "batch second": tuple(t.transpose(0, 1) for t in (q, k, v))}.get(
        shape, (q, k, v)
    )
    with torch.no_grad():
        truth = module(q, k, v, average_attn_weights=False)[1]
    (found,) = attention_maps(module, {"query": q, "key": k, "value": v, **options})
    close([found.weights], [truth.reshape(-1, 4, 5, 4)])
    assert found.cross


@pytest.mark.parametrize("masks", ["none", "padding", "causal", "float", "for each head"])
def test_multihead_attention_with_masks(masks):
    module = seeded(lambda: nn.MultiheadAttention(16, 4, batch_first=True))
    lengths = torch.tensor([5, 3, 1])
    given = {
        "none": {},
        "padding": {"key_padding_mask": torch.arange(5) >= lengths[:, None]},
        "causal": {"attn_mask": torch.ones(5, 5).triu(1).bool(), "is_causal": True},
        "float": {"attn_mask": torch.linspace(-1, 1, 25).view(5, 5)},
        "for each head": {"attn_mask": torch.linspace(-1, 1, 300).view(12, 5, 5)},
    }[masks]
    for need in (True, False):
        with torch.no_grad():
            truth = module(X, X, X, average_attn_weights=False, **given)[1]
        (found,) = attention_maps(module, {"query": X, "key": X, "value": X, "need_weights": need, **given})
        close([found.weights], [truth])
        assert not found.cross


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("norm_first", [False, True])
def test_encoders_with_a_fast_path(padded, norm_first):
    layer = seeded(lambda: nn.TransformerEncoderLayer(16, 4, 32, batch_first=True, norm_first=norm_first))
    model = seeded(lambda: nn.TransformerEncoder(layer, 2, enable_nested_tensor=not norm_first))
    mask = (torch.arange(5) >= torch.tensor([5, 3, 2])[:, None]) if padded else None
    hidden, truth = X, []
    with torch.no_grad():
        before = model(X, src_key_padding_mask=mask)
        for block in model.layers:
            seen = block.norm1(hidden) if norm_first else hidden
            truth.append(block.self_attn(seen, seen, seen, key_padding_mask=mask, average_attn_weights=False)[1])
            hidden = block(hidden, src_key_padding_mask=mask)
    maps = attention_maps(model, {"src": X, "src_key_padding_mask": mask} if padded else X)
    real = torch.ones(3, 5).bool() if mask is None else ~mask
    rows = real[:, None, :, None].expand(-1, 4, -1, 5)
    close([m.weights[rows] for m in maps], [t[rows] for t in truth], atol=1e-5)
    assert [(m.name, m.cross) for m in maps] == [("layers.0.self_attn", False), ("layers.1.self_attn", False)]
    with torch.no_grad():
        assert torch.equal(before, model(X, src_key_padding_mask=mask))
    assert torch.backends.mha.get_fastpath_enabled()


def test_decoder_layers_say_which_attention_crosses():
    layer = seeded(lambda: nn.TransformerDecoderLayer(16, 4, 32, batch_first=True))
    memory = X + 1  # as long as the target, so that lengths cannot tell
    maps = attention_maps(layer, {"tgt": X, "memory": memory})
    with torch.no_grad():
        own = layer.self_attn(X, X, X, average_attn_weights=False)[1]
        between = layer.norm1(X + layer.self_attn(X, X, X)[0])
        cross = layer.multihead_attn(between, memory, memory, average_attn_weights=False)[1]
    close([m.weights for m in maps], [own, cross])
    assert [(m.name, m.cross) for m in maps] == [("self_attn", False), ("multihead_attn", True)]


def test_encoder_and_decoder_of_torch():
    model = seeded(lambda: nn.Transformer(16, 4, 1, 2, 32, batch_first=True))
    causal = nn.Transformer.generate_square_subsequent_mask(4)
    maps = attention_maps(model, {"src": X, "tgt": X[:, :4], "tgt_mask": causal, "tgt_is_causal": True})
    assert [tuple(m.weights.shape[2:]) for m in maps] == [(5, 5), (4, 4), (4, 5), (4, 4), (4, 5)]
    assert [m.cross for m in maps] == [False, False, True, False, True]
    assert maps[1].weights.triu(1).max() == 0


def test_settings_and_modes_come_back():
    model = attentive.bert()
    model.bert.train()
    modes = [m.training for m in model.modules()]
    with pytest.raises(IndexError):
        attention(model, {"input_ids": texts()["input_ids"] + 1000})
    close(attention(model, texts()), attention(model, texts()), atol=0)
    assert model.config._attn_implementation == "sdpa"
    assert [m.training for m in model.modules()] == modes
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_hidden_kernels_are_refused_by_name():
    model = attentive.bert()
    model.config._attn_implementation = "flash_attention_2"
    for shown, inputs in ((model, texts()), (nn.Sequential(model), texts()["input_ids"])):
        with pytest.raises(ValueError, match=r"^model: Expected attention that can be read, found 'flash_attention_2'"):
            attention(shown, inputs)


def test_tensors_are_refused_for_transformers():
    with pytest.raises(ValueError, match=r"^inputs: Expected a mapping"):
        attention(attentive.bert(), texts()["input_ids"])
