"""Marks that a model's own pixels are, marks that it never looks at, and none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from audit.checks.explain.localisation import Localisation
from audit.subject import Modality
from tests.checks.explain.known_models import numbers, subject

SMALL = {"methods": ("integrated_gradients", "saliency"), "media": 10}


class Corner(nn.Module):
    """The log-odds are the upper left corner against its surroundings."""

    def forward(self, x):
        z = 20 * (x[:, :, :4, :4] - 0.5).abs().mean((1, 2, 3))[:, None]
        return torch.cat([torch.zeros_like(z), z], dim=1)


@pytest.fixture
def marked():
    masks = torch.zeros(12, 28, 28, dtype=torch.bool)
    masks[:, :4, :4] = True
    masks[3] = False
    masks[4] = True
    return replace(numbers(np.random.default_rng(0).random((12, 1, 28, 28))), masks=masks)


def test_what_the_model_reads_is_what_is_marked(marked):
    found = Localisation(**SMALL).run(subject(Corner(), Modality.IMAGE), marked, np.random.default_rng(0))
    for kind in ("pointing_game", "relevance_rank", "inside_auroc"):
        assert found.estimates[f"{kind}@saliency"].value == pytest.approx(1)
        assert found.estimates[f"{kind}_lead@saliency"].low > 0.4
    assert found.estimates["relevance_mass@saliency"].value == pytest.approx(1)
    assert (
        found.estimates["relevance_mass@saliency"].n == 10
    )  # pictures with nothing, or everything, marked say nothing


def test_chance_finds_marks_by_their_share(marked):
    check = Localisation(methods=("random",), media=10, random=60)
    found = check.run(subject(Corner(), Modality.IMAGE), marked, np.random.default_rng(0))
    (board,) = found.figures
    chance = {
        metric.label: score.chance.value for metric, score in zip(board.metrics, board.rows[0].scores, strict=True)
    }
    assert chance["pointing game"] == pytest.approx(1 / 49, abs=0.015)
    assert chance["AUROC"] == pytest.approx(0.5, abs=0.02)


def test_it_is_skipped_without_marks(marked):
    model = subject(Corner(), Modality.IMAGE)
    assert "data.masks" in Localisation().skip_reason(model, replace(marked, masks=None))
    assert "no mask marks a part" in Localisation().skip_reason(model, marked.take([3, 4]))
    assert Localisation().skip_reason(model, marked) is None
