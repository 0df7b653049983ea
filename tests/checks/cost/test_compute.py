"""Operations against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from audit.checks.cost.compute import Compute

RNG = np.random.default_rng(0)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(5, 7, batch_first=True)

    def forward(self, x):
        return self.lstm(x.squeeze(1))[0][:, -1]


class Attention(nn.Module):
    def __init__(self, width, inner):
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(width, 2, inner, batch_first=True)

    def forward(self, x):
        return self.layer(x.squeeze(1)).mean(1)


def attention_flops(t, d, h):
    """One encoder layer: four projections, scores and mixing, two feed-forward products; two operations a MAC."""
    return 2 * (4 * t * d * d + 2 * t * t * d + 2 * t * d * h)


@pytest.mark.parametrize(
    ("model", "shape", "flops"),
    [
        (nn.Linear(11, 3), (11,), 2 * 11 * 3),
        (nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), (4,), 2 * (4 * 8 + 8 * 2)),
        # 6 x 6 positions; 3 x 3 kernel over 2 channels into 5
        (nn.Sequential(nn.Conv2d(2, 5, 3), nn.Flatten()), (2, 8, 8), 2 * 6 * 6 * 9 * 2 * 5),
        # groups: each output channel reads one input channel only; stride 2 leaves 4 x 4 positions
        (nn.Conv2d(4, 4, 3, stride=2, padding=1, groups=4), (4, 8, 8), 2 * 4 * 4 * 9 * 4),
        # three steps; four gates over input and state
        (Recurrent(), (1, 3, 5), 3 * 2 * 4 * 7 * (5 + 7)),
        (Attention(8, 16), (1, 5, 8), attention_flops(5, 8, 16)),
    ],
    ids=["linear", "mlp", "conv", "grouped", "lstm", "attention"],
)
def test_closed_forms(pair, model, shape, flops):
    found = Compute().run(*pair(model, shape), RNG).estimates["flops"]
    assert (found.value, found.low, found.high) == (flops, flops, flops)


@pytest.mark.parametrize("kind", ["export", "script"])
def test_other_formats_count_the_same(pair, kind):
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(2 * 36, 3)).eval()
    subject, data = pair(model, (1, 8, 8))
    subject.model = (
        torch.export.export(model, (data.inputs[:1],)).module() if kind == "export" else torch.jit.script(model)
    )
    assert Compute().run(subject, data, RNG).estimates["flops"].value == 2 * (36 * 9 * 2 + 72 * 3)


def test_text_is_counted_at_the_median_length(text_pair):
    found = Compute().run(*text_pair, RNG)
    assert found.estimates["flops"].value == 2 * 3 * 4 * 2
    assert "3 tokens" in found.notes[0]


def test_an_operator_without_a_formula_makes_the_figure_undefined(pair):
    # a product written as a bilinear form has no formula in the counter; 0 would be a lie
    found = Compute().run(*pair(Square(), (6,)), RNG).estimates["flops"]
    assert found.value is None
    assert "_trilinear" in found.reason


class Square(nn.Module):
    def __init__(self):
        super().__init__()
        self.form = nn.Bilinear(6, 6, 2)

    def forward(self, x):
        return self.form(x, x)


def test_settings_of_torch_are_put_back(pair):
    before = (torch.backends.mha.get_fastpath_enabled(), torch.backends.mkldnn.enabled)
    Compute().run(*pair(nn.Linear(2, 2), (2,)), RNG)
    assert (torch.backends.mha.get_fastpath_enabled(), torch.backends.mkldnn.enabled) == before


def test_operations_a_byte(pair):
    model = nn.Linear(1000, 10, bias=False)
    found = Compute().run(*pair(model, (1000,)), RNG).estimates["flops_per_byte"].value
    assert found == pytest.approx(2 * 1000 * 10 / (4 * 1000 * 10 + 4 * 10))
