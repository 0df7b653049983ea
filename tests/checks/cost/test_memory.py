"""Peak memory against counts by hand."""

from __future__ import annotations

import numpy as np
import pytest
from torch import nn

from audit.checks.cost.memory import Memory

RNG = np.random.default_rng(0)


def test_weights_and_intermediate_results(pair):
    model = nn.Sequential(nn.Linear(10, 100), nn.ReLU(), nn.Linear(100, 5))
    found = Memory(seconds=0.3, largest_batch=4).run(*pair(model, (10,)), RNG)
    e = found.estimates
    held = 4 * (10 * 100 + 100 + 100 * 5 + 5)
    assert e["activations@batch=1"].value * 1e6 == pytest.approx(4 * 2 * 100)
    assert e["total@batch=1"].value * 1e6 == pytest.approx(held + 4 * 2 * 100)
    size = found.tables[0].rows[1][0]
    assert e["activations@batch=best"].value == pytest.approx(size * e["activations@batch=1"].value)
