"""Sizes against counts by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from audit.checks.cost.size import Size

RNG = np.random.default_rng(0)


def test_counts_parameters_bytes_and_the_file(pair, tmp_path):
    file = tmp_path / "model.bin"
    file.write_bytes(b"x" * 12345)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    found = Size().run(*pair(model, (3, 8, 8), str(file)), RNG)
    e = found.estimates
    assert e["parameters"].value == (3 * 4 * 9 + 4) + (4 + 4)
    # buffers: running mean and variance as float32, one int64 counter
    assert e["memory"].value * 1e6 == (112 + 8) * 4 + 8 * 4 + 8
    assert e["checkpoint"].value == pytest.approx(12345 / 1e6)
    assert e["largest_module_share"].value == pytest.approx(112 / 120)
    assert found.tables[0].rows[0][:3] == ("0", "Conv2d", 112)


def test_a_folder_is_the_sum_of_its_files(pair, tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.bin").write_bytes(b"x" * 100)
    (tmp_path / "sub" / "b.bin").write_bytes(b"x" * 11)
    found = Size().run(*pair(nn.Linear(2, 2), (2,), str(tmp_path)), RNG).estimates["checkpoint"]
    assert (found.value, found.n) == (pytest.approx(111e-6), 2)


def test_shared_weights_count_once(pair):
    model = nn.Sequential(nn.Linear(5, 5, bias=False), nn.Linear(5, 5, bias=False))
    model[1].weight = model[0].weight
    assert Size().run(*pair(model, (5,)), RNG).estimates["parameters"].value == 25


def test_without_parameters_or_a_file_nothing_is_made_up(pair):
    e = Size().run(*pair(nn.Identity(), (2,)), RNG).estimates
    assert e["parameters"].value == 0
    assert e["checkpoint"].value is None
    assert e["largest_module_share"].value is None


def test_half_precision_halves_the_bytes(pair):
    model = nn.Linear(100, 10, bias=False)
    full = Size().run(*pair(model, (100,)), RNG).estimates["memory"].value
    half = Size().run(*pair(model.to(torch.bfloat16), (100,)), RNG).estimates["memory"].value
    assert full == 2 * half == 4000 / 1e6
