"""Attention maps against eager models and against what torch itself says."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from audit.explainers import attention, attention_maps, game
from audit.explainers.attention_capture import einsum_order, intercept
from tests.explainers import attentive
from tests.explainers.attentive import Classifier, Einsum, Folded, TimmStyle, seeded, stack

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


@pytest.mark.parametrize(
    "kind", [Einsum, Folded, lambda fused=True: TimmStyle(True)], ids=["einsum", "folded", "fused"]
)
def test_attention_written_out(kind):
    """Three ways to write the same thing, against the fourth."""
    plain, other = stack(lambda: TimmStyle(False)), stack(lambda: kind(False))
    other.load_state_dict(plain.state_dict())
    truth = attention(plain, X)
    q, k, _ = plain.layers[0].qkv(X).reshape(3, 5, 3, 4, 4).permute(2, 0, 3, 1, 4)
    close(truth[:1], [(q @ k.mT / 2).softmax(-1).detach()])
    close(attention(other, X), truth)
    close([plain(X)], [other(X)])


def kernel(**options):
    class Kernel(nn.Module):
        def forward(self, query, key, value):
            return F.scaled_dot_product_attention(query, key, value, **options)

    return Kernel()


@pytest.mark.parametrize("options", [
    {}, {"is_causal": True}, {"scale": 0.3}, {"attn_mask": torch.ones(5, 6).tril().bool()},
    {"attn_mask": torch.linspace(-2, 2, 90).view(3, 1, 5, 6)}, {"attn_mask": torch.zeros(3, 1, 1, 6).bool()},
    {"attn_mask": torch.full((5, 6), torch.finfo().min)}, {"enable_gqa": True},
], ids=lambda options: ",".join(options))  # fmt: skip
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_maps_are_what_the_kernel_did(options, dtype):
    """Values that are the unit vectors make the kernel write its map out."""
    generator = torch.Generator().manual_seed(0)
    heads = 2 if options.get("enable_gqa") else 4
    q, k = (torch.randn(3, h, n, 8, generator=generator).to(dtype) for h, n in ((4, 5), (heads, 6)))
    mask = options.get("attn_mask")
    if mask is not None and mask.is_floating_point():
        options = {"attn_mask": mask.to(dtype).clamp_min(torch.finfo(dtype).min)}
    model, v = kernel(**options), torch.eye(6, dtype=dtype).expand(3, heads, 6, 6)
    (found,) = attention(model, {"query": q, "key": k, "value": v})
    assert found.dtype == (torch.float32 if dtype == torch.bfloat16 else dtype)
    torch.testing.assert_close(
        found.to(dtype), model(q, k, v), atol={torch.bfloat16: 1e-2, torch.float32: 1e-6}.get(dtype, 1e-12), rtol=0
    )


def test_fewer_and_more_dimensions():
    for lead, shape in (((), (1, 1)), ((3,), (3, 1)), ((2, 3, 4), (6, 4))):
        q = torch.randn(*lead, 5, 8, generator=torch.Generator().manual_seed(0))
        v = torch.eye(5).expand(*lead, 5, 5)
        (found,) = attention(kernel(is_causal=True), {"query": q, "key": q, "value": v})
        close([found], [kernel(is_causal=True)(q, q, v).reshape(*shape, 5, 5)])


def test_modules_used_twice_and_nested():
    shared = TimmStyle(True)
    model = seeded(lambda: Classifier(shared, nn.Sequential(TimmStyle(False)), shared))
    maps = attention_maps(model, X)
    assert [m.name for m in maps] == ["layers.0", "layers.1.0", "layers.0"]
    assert not torch.equal(maps[0].weights, maps[2].weights)


@pytest.mark.parametrize("fused", [True, False])
def test_memory_is_bounded_and_chunks_change_nothing(monkeypatch, fused):
    model = stack(lambda: TimmStyle(fused), depth=1)
    x = torch.randn(2, 64, 16, generator=torch.Generator().manual_seed(0))
    whole = attention(model, x)
    monkeypatch.setattr(game, "MEMORY", 2**14)
    seen: list[int] = []

    def visit(site):
        for start, stop in site.chunks():
            seen.append(site.rows(start, stop).nbytes)
        return site.run()

    with torch.no_grad():
        intercept(model, x, visit)
    assert len(seen) == 64
    assert max(seen) <= 2**14
    close(attention(model, x), whole, atol=1e-7)


class Failing(nn.Module):
    def __init__(self):
        super().__init__()
        self.mixing = TimmStyle(True)

    def forward(self, x):
        self.mixing(x)
        raise IndexError("as it happens")


@pytest.mark.parametrize("model", [seeded(Failing), seeded(lambda: Classifier(nn.Dropout(), Failing()))])
def test_everything_comes_back_when_the_model_fails(model):
    next(model.children()).train()
    modes = [m.training for m in model.modules()]
    with pytest.raises(IndexError):
        attention(model, X)
    assert [m.training for m in model.modules()] == modes
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert not torch.overrides._len_torch_function_stack()


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


def test_nothing_stays_behind():
    model = stack(lambda: TimmStyle(False))
    sites: list[weakref.ref] = []

    def visit(site):
        sites.append(weakref.ref(site.operand))
        return site.run()

    with torch.no_grad():
        intercept(model, X, visit)
    gc.collect()
    assert len(sites) == 3
    assert not any(site() is not None for site in sites)


def test_compiled_models_are_read_as_written():
    plain = stack(lambda: TimmStyle(True))
    compiled = torch.compile(plain, backend="eager")
    close(attention(compiled, X), attention(plain, X))


class Mixture(nn.Module):
    """A softmax that weighs experts, and one that makes features of queries: neither is attention."""

    def __init__(self):
        super().__init__()
        self.gate, self.experts = nn.Linear(16, 3), nn.Linear(16, 48)

    def forward(self, x):
        chosen = self.gate(x).softmax(-1).unsqueeze(-2) @ self.experts(x).unflatten(-1, (3, 16))
        return chosen.squeeze(-2) + x.softmax(-1) @ (x.softmax(1).mT @ x)


@pytest.mark.parametrize("model", [nn.Linear(16, 2), nn.LSTM(16, 2), Mixture()], ids=lambda m: type(m).__name__)
def test_models_without_attention_are_refused(model):
    with pytest.raises(ValueError, match=r"^model: Expected one that gives attention maps, found \w+ without"):
        attention(model, X)


def test_hidden_kernels_are_refused_by_name():
    model = attentive.bert()
    model.config._attn_implementation = "flash_attention_2"
    with pytest.raises(ValueError, match=r"^model: Expected attention that can be read, found 'flash_attention_2'"):
        attention(model, texts())


def test_tensors_are_refused_for_transformers():
    with pytest.raises(ValueError, match=r"^inputs: Expected a mapping"):
        attention(attentive.bert(), texts()["input_ids"])


def test_heads_that_cannot_be_told_from_examples_are_refused():
    class Ambiguous(nn.Module):
        def forward(self, x):
            x = x.repeat(2, 1, 1)
            return (x @ x.mT).softmax(-1) @ x

    with pytest.raises(
        ValueError, match=r"^model: Expected attention weights \(n, heads, query, key\), found \(6, 5, 5\)"
    ):
        attention(Ambiguous(), X)


def test_einsum_orders():
    assert einsum_order("bhqk,bkhd->bqhd", 0, 4) == (0, 2, 1, 3)
    assert einsum_order("... i j, ... j d -> ... i d", 0, 4) == (0, 1, 2, 3)
    assert einsum_order("bkhd,bhqk->bqhd", 1, 4) == (0, 2, 1, 3)
    assert einsum_order("bhqk,bhqd->bhkd", 0, 4) is None  # summed over queries
    assert einsum_order("bhqk,bkd->bqd", 0, 4) is None  # heads are summed too
