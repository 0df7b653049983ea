"""Players and baselines for pictures and texts."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from audit.explainers.segments import (
    blur,
    grid,
    grid_shape,
    masked_tokens,
    superpixels,
    token_players,
    windows,
    word_players,
)


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
    assert torch.equal(blur(flat), flat)
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


def test_superpixels_follow_the_picture_and_have_no_gaps():
    image = torch.zeros(3, 32, 32)
    image[0, :, 16:] = 1.0  # a red half
    patches = superpixels(image, 16)
    assert patches.shape == (32, 32)
    assert sorted(torch.unique(patches).tolist()) == list(range(int(patches.max()) + 1))
    assert abs(int(patches.max()) + 1 - 16) <= 4
    left, right = set(torch.unique(patches[:, :15]).tolist()), set(torch.unique(patches[:, 17:]).tolist())
    assert not left & right


def test_superpixels_of_a_blank_grey_picture_cover_it():
    patches = superpixels(torch.full((1, 9, 9), 0.5), 4)
    assert int(patches.min()) == 0 and int(patches.max()) >= 1


def test_superpixels_refuse_a_batch():
    with pytest.raises(ValueError, match=r"image, count: Expected \(channels, height, width\)"):
        superpixels(torch.zeros(2, 3, 8, 8))


def test_windows_cut_time_evenly():
    assert windows(7, 3).tolist() == [0, 0, 0, 1, 1, 2, 2]
    assert windows(3, 10).tolist() == [0, 1, 2]  # no more windows than steps
    assert windows(4, 2, channels=2).tolist() == [[0, 0, 1, 1], [0, 0, 1, 1]]
    assert windows(4, 2, channels=2, by_channel=True).tolist() == [[0, 0, 1, 1], [2, 2, 3, 3]]
    with pytest.raises(ValueError, match="Expected positive numbers"):
        windows(0, 2)


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        (("[CLS]", "play", "##ing", "well", "[SEP]"), [-1, 0, 0, 1, -1]),
        (("<s>", "Ġplay", "ing", "Ġwell", "</s>"), [-1, 0, 0, 1, -1]),
        (("[CLS]", "##ing", "well"), [-1, 0, 1]),  # a piece without a beginning is a word
    ],
)
def test_pieces_of_one_word_are_one_player(tokens, expected):
    players = torch.tensor([-1 if t[0] in "[<" else 0 for t in tokens])
    players = torch.where(players < 0, players, (players >= 0).long().cumsum(0) - 1)
    assert word_players(tokens, players).tolist() == expected


def test_a_blur_of_whole_numbers_is_refused():
    with pytest.raises(ValueError, match=r"images: Expected floats \(n, channels, height, width\), found torch.uint8"):
        blur(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))
