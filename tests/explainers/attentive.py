"""Small models with every kind of attention, random weights, in eval mode."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SIZE = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 32}


def seeded(build: Callable[[], nn.Module]) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build().eval()


def bert(implementation: str = "sdpa", layers: int = 3) -> Any:
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(vocab_size=50, **{**SIZE, "num_hidden_layers": layers})
    return _of(BertForSequenceClassification, config, implementation)


def distilbert(implementation: str = "sdpa") -> Any:
    from transformers import DistilBertConfig, DistilBertForSequenceClassification

    config = DistilBertConfig(vocab_size=50, dim=16, n_layers=2, n_heads=4, hidden_dim=32)
    return _of(DistilBertForSequenceClassification, config, implementation)


def gpt2(implementation: str = "sdpa") -> Any:
    from transformers import GPT2Config, GPT2ForSequenceClassification

    config = GPT2Config(
        vocab_size=50, n_embd=16, n_layer=2, n_head=4, pad_token_id=0, bos_token_id=1, eos_token_id=1, use_cache=False
    )
    return _of(GPT2ForSequenceClassification, config, implementation)


def llama(implementation: str = "sdpa") -> Any:
    from transformers import LlamaConfig, LlamaForSequenceClassification

    config = LlamaConfig(vocab_size=50, **SIZE, num_key_value_heads=2, pad_token_id=0)
    return _of(LlamaForSequenceClassification, config, implementation)


def bart(implementation: str = "sdpa") -> Any:
    from transformers import BartConfig, BartModel

    heads = {"encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_layers": 2, "decoder_layers": 2}
    width = {"d_model": 16, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32}
    config = BartConfig(vocab_size=50, **heads, **width, pad_token_id=0, bos_token_id=1, eos_token_id=2)
    return _of(BartModel, config, implementation)


def _of(family: Any, config: Any, implementation: str) -> Any:
    return seeded(lambda: family._from_config(config, attn_implementation=implementation))


class TimmStyle(nn.Module):
    """Attention as in timm's ViT: one product for queries, keys and values, then a fused kernel or the same by hand."""

    def __init__(self, fused: bool, width: int = 16, heads: int = 4) -> None:
        super().__init__()
        self.fused, self.heads = fused, heads
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.drop = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        n, length, width = x.shape
        q, k, v = self.qkv(x).reshape(n, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        if self.fused:
            out = F.scaled_dot_product_attention(q, k, v, dropout_p=self.drop.p if self.training else 0.0)
        else:
            weights = (q * q.shape[-1] ** -0.5 @ k.transpose(-2, -1)).softmax(dim=-1)
            out = self.drop(weights) @ v
        return self.proj(out.transpose(1, 2).reshape(n, length, width))


class Einsum(TimmStyle):
    """The same with `einsum`, tokens before heads in the values."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).reshape(*x.shape[:2], 3, self.heads, -1).unbind(2)
        weights = F.softmax(torch.einsum("bqhd, bkhd -> bhqk", q, k) * q.shape[-1] ** -0.5, dim=-1)
        return self.proj(torch.einsum("bhqk, bkhd -> bqhd", weights, v).flatten(2))


class Folded(TimmStyle):
    """The same with heads folded into the batch, as in `bmm` code."""

    def forward(self, x: Tensor) -> Tensor:
        n, length, width = x.shape
        q, k, v = self.qkv(x).reshape(n, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        scores = torch.bmm(q.flatten(0, 1), k.flatten(0, 1).transpose(1, 2)) * q.shape[-1] ** -0.5
        weights = nn.Softmax(dim=-1)(scores.view(n, self.heads, length, length))
        out = torch.bmm(weights.view(n * self.heads, length, length), v.flatten(0, 1))
        return self.proj(out.view(n, self.heads, length, -1).transpose(1, 2).reshape(n, length, width))


class Classifier(nn.Module):
    """Residual layers around `attention`, one after the other, and two classes read off the first token."""

    def __init__(self, *layers: nn.Module, width: int = 16) -> None:
        super().__init__()
        self.layers, self.head = nn.ModuleList(layers), nn.Linear(width, 2)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = x + F.gelu(layer(x))
        return self.head(x[:, 0])


def stack(kind: Callable[[], nn.Module], depth: int = 3) -> Any:
    return seeded(lambda: Classifier(*(kind() for _ in range(depth))))
