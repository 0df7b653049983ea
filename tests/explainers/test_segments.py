"""Players and baselines for pictures and texts."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from audit.explainers.segments import blur, grid, grid_shape, masked_tokens, token_players


def test_a_small_picture_has_49_square_cells():
    cells = grid(28, 28)
    assert grid_shape(cells) == (7, 7)
    assert (torch.bincount(cells.ravel()) == 16).all()
    assert (cells[:4, :4] == 0).all()
    assert cells[27, 27] == 48


@given(height=st.integers(1, 90), width=st.integers(1, 90), count=st.integers(1, 12))
def test_cells_cover_the_picture_without_gaps(height, width, count):
    cells = grid(height, width, count)
    down, across = grid_shape(cells)
    assert torch.unique(cells).tolist() == list(range(down * across))
    assert max(down, across) == min(count, max(height, width))


def test_blur_keeps_a_flat_picture_and_the_mean():
    flat = torch.full((1, 2, 9, 5), 0.3)
    torch.testing.assert_close(blur(flat), flat)
    point = torch.zeros(1, 1, 21, 21)
    point[0, 0, 10, 10] = 1
    soft = blur(point, sigma=2)
    assert float(soft.sum()) == pytest.approx(1, abs=1e-4)
    assert float(soft.max()) == pytest.approx(1 / (2 * torch.pi * 4), rel=0.02)
    torch.testing.assert_close(soft, soft.transpose(2, 3))


def test_special_tokens_are_no_players():
    ids = torch.tensor([2, 7, 9, 3, 8, 3, 0])
    assert token_players(ids, {0, 2, 3}).tolist() == [-1, 0, 1, -1, 2, -1, -1]
    assert masked_tokens(ids, {0, 2, 3}, 4).tolist() == [2, 4, 4, 3, 4, 3, 0]


@pytest.mark.parametrize(
    "call", [lambda: grid(0, 3), lambda: blur(torch.ones(2, 3)), lambda: blur(torch.ones(1, 1, 2, 2), 0.0)]
)
def test_refusals(call):
    with pytest.raises(ValueError, match="Expected"):
        call()
