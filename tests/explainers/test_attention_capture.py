"""Attention written out or fused, read as it happens: what is seen, what is refused, and what is left behind."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from audit import explainers
from audit.explainers import attention, attention_maps, game
from audit.explainers.attention_capture import einsum_order, intercept
from tests.explainers.attentive import Classifier, Einsum, Folded, TimmStyle, seeded, stack
from tests.explainers.test_attention import X, close


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


def test_pooling_over_tokens():
    class Pool(nn.Module):
        def forward(self, x):
            scores = (x @ x.mean(1).unsqueeze(2)).squeeze(2)
            return (scores.softmax(dim=1).unsqueeze(1) @ x).squeeze(1)

    (found,) = attention_maps(Pool(), X)
    close([found.weights], [(X @ X.mean(1).unsqueeze(2)).softmax(1).reshape(3, 1, 1, 5)])
    assert found.cross


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


def test_a_model_may_write_into_its_input():
    model = stack(lambda: TimmStyle(True))
    model.register_forward_pre_hook(lambda _, args: (args[0].mul_(0.5),))
    x = X.clone()
    found = attention(model, x)
    assert torch.equal(x, X)
    close(attention(model, x), found)


def test_queries_that_are_the_keys_stay_so():
    (found,) = attention_maps(nn.MultiheadAttention(16, 4, batch_first=True), {"query": X, "key": X, "value": X})
    assert not found.cross


def test_models_that_draw_and_count_are_left_as_they_were_and_repeat():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.last = nn.MultiheadAttention(16, 4, batch_first=True), nn.Linear(16, 2)
            self.norm = nn.BatchNorm1d(5)
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x):
            self.calls += 1
            x = self.norm(x)
            return self.last(F.dropout(self.inner(x, x, x)[0], 0.5, training=True).mean(1))

    model = seeded(Odd).train()
    before, state = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    for method in (
        lambda: torch.cat(explainers.attention(model, X)),
        lambda: explainers.attention_rollout(model, X),
        lambda: explainers.gradient_rollout(model, X, 0).values,
        lambda: torch.cat(explainers.head_ablation(model, X, 0)),
        lambda: torch.cat(explainers.head_means(model, X)),
    ):
        assert torch.equal(method(), method())
        assert torch.equal(state, torch.get_rng_state()) and model.training and model.last.weight.requires_grad
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
