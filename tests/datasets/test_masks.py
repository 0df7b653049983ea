"""Masks beside pictures: read by name, cut with the rows, refused where they do not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from audit.datasets import read
from audit.errors import DataError
from audit.runner import fingerprint


@pytest.fixture
def marked(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    arrays = {
        "test_images": rng.integers(0, 255, (6, 8, 9, 3), dtype=np.uint8),
        "test_labels": np.arange(6) % 2,
        "test_masks": rng.integers(0, 2, (6, 8, 9), dtype=np.uint8) * 255,
        "test_flat": np.zeros((6, 5)),
        "train_images": rng.integers(0, 255, (4, 8, 9, 3), dtype=np.uint8),
        "train_labels": np.arange(4) % 2,
    }
    np.savez(tmp_path / "data.npz", **arrays)
    return tmp_path / "data.npz"


@pytest.mark.parametrize("name", ["masks", "test_masks"])
def test_masks_are_read_beside_the_pictures(marked: Path, name: str) -> None:
    data = read(marked, label="labels", masks=name, train=marked)
    stored = np.load(marked)["test_masks"]
    assert data.inputs.shape == (6, 3, 8, 9)
    assert torch.equal(data.masks, torch.from_numpy(stored > 0))
    assert data.train is not None
    assert data.train.masks is None
    part = data.take([4, 1])
    assert torch.equal(part.masks, data.masks[[4, 1]])


def test_other_masks_are_other_data(marked: Path) -> None:
    data = read(marked, label="labels", masks="masks")
    moved = data.take(np.arange(6))
    moved.masks[0] = ~moved.masks[0]
    assert fingerprint(data) != fingerprint(moved)


def test_what_is_wrong_is_named(marked: Path) -> None:
    with pytest.raises(DataError, match=r"array of masks 'maks' .*did you mean 'masks'\?"):
        read(marked, label="labels", masks="maks")
    with pytest.raises(DataError, match=r"masks of shape \(n, height, width\) .*found 'flat' of shape \(6, 5\)"):
        read(marked, label="labels", masks="flat")
