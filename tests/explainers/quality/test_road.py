"""The noisy linear imputation against a dense solve of the paper's equations, on grey and coloured pictures."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from audit.explainers import quality


def dense(image: np.ndarray, gone: np.ndarray) -> np.ndarray:
    """One channel by the textbook: a row for each removed pixel, weights 1/6 and 1/12 over the neighbours there are."""
    where = np.argwhere(gone)
    number = {tuple(at): i for i, at in enumerate(where.tolist())}
    a, b = np.zeros((len(where), len(where))), np.zeros(len(where))
    for i, (row, column) in enumerate(where.tolist()):
        for down in (-1, 0, 1):
            for across in (-1, 0, 1):
                there = (row + down, column + across)
                if (down, across) == (0, 0) or not (0 <= there[0] < image.shape[0] and 0 <= there[1] < image.shape[1]):
                    continue
                weight = 1 / 12 if down and across else 1 / 6
                a[i, i] += weight
                if there in number:
                    a[i, number[there]] -= weight
                else:
                    b[i] += weight * image[there]
    out = image.copy()
    out[gone] = np.linalg.solve(a, b)
    return out


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.98])
def test_every_removed_pixel_is_the_mean_of_its_neighbours(channels, share):
    rng = np.random.default_rng(0)
    images = rng.random((3, channels, 11, 14)).astype(np.float32)
    gone = rng.random((3, 11, 14)) < share
    found = quality.noisy_linear_imputation(torch.from_numpy(images), torch.from_numpy(gone), noise=0).numpy()
    for image, filled, holes in zip(images, found, gone, strict=True):
        for before, after in zip(image, filled, strict=True):
            assert np.allclose(after, dense(before.astype(float), holes), atol=2e-4)
    assert np.array_equal(found[~gone[:, None].repeat(channels, 1)], images[~gone[:, None].repeat(channels, 1)])


def test_a_slope_is_filled_in_exactly():
    """A linear picture is harmonic: every inner pixel is the weighted mean of its neighbours."""
    slope = (torch.arange(20.0)[:, None] * 2 + torch.arange(16.0)[None]) / 60
    gone = torch.zeros(1, 20, 16, dtype=torch.bool)
    gone[:, 4:15, 3:12] = True
    found = quality.noisy_linear_imputation(slope[None, None], gone, noise=0)
    assert torch.allclose(found[0, 0], slope, atol=1e-4)


def test_a_picture_without_a_pixel_left_is_its_mean():
    image = torch.rand(2, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    gone = torch.ones(2, 5, 5, dtype=torch.bool)
    gone[1] = False
    found = quality.noisy_linear_imputation(image, gone, noise=0)
    assert torch.allclose(found[0], image[0].mean((1, 2), keepdim=True).expand(3, 5, 5), atol=1e-6)
    assert torch.equal(found[1], image[1])


def test_a_picture_is_filled_the_same_in_any_company():
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.random((6, 3, 12, 12)).astype(np.float32))
    gone = torch.from_numpy(rng.random((6, 12, 12)) < np.linspace(0.05, 0.95, 6)[:, None, None])
    together = quality.noisy_linear_imputation(images, gone)
    alone = [quality.noisy_linear_imputation(images[i : i + 1], gone[i : i + 1]) for i in range(6)]
    assert torch.equal(together, torch.cat(alone))


def test_noise_is_added_to_holes_and_only_there():
    images = torch.full((1, 1, 40, 40), 0.5)
    gone = torch.zeros(1, 40, 40, dtype=torch.bool)
    gone[:, :, ::2] = True
    found = quality.noisy_linear_imputation(images, gone, noise=0.1, seed=3)
    assert float((found - images)[:, 0][gone].std()) == pytest.approx(0.1, rel=0.1)
    assert torch.equal(found[:, 0][~gone], images[:, 0][~gone])


@pytest.mark.parametrize("channels", [1, 3])
def test_the_true_order_makes_the_score_fall_first(channels):
    """The class is the lightness of a corner on a dark ground: imputing it from the dark around takes it away."""
    images = torch.zeros(4, channels, 16, 16)
    images[:, :, :6, :6] = 1.0
    truth = np.zeros((4, 16, 16))
    truth[:, :6, :6] = 1

    def predict(batch):
        score = batch[:, :, :6, :6].mean((1, 2, 3))
        return torch.stack([-score, score], 1)

    shares = (0.0, 0.1, 0.15, 0.5)
    order = np.stack([truth, -truth])
    score = quality.road(predict, images, order, shares)[..., 1]
    assert score.shape == (2, 4, 4)
    assert np.allclose(score[:, :, 0], 1)
    assert (score[0, :, 2] < 0.2).all()
    assert (score[1, :, 2] > 0.99).all()
    assert np.array_equal(quality.road(predict, images, truth, shares, least=True)[..., 1], score[1])


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="images, removed: Expected"):
        quality.noisy_linear_imputation(torch.ones(1, 1, 4, 4), torch.ones(1, 4, 5, dtype=torch.bool))
    with pytest.raises(ValueError, match="fractions: Expected shares"):
        quality.road(lambda x: x, torch.ones(1, 1, 4, 4), np.ones((1, 4, 4)), (1.5,))
    with pytest.raises(ValueError, match=r"attributions: Expected \(..., 1, 4, 4\)"):
        quality.road(lambda x: x, torch.ones(1, 1, 4, 4), np.ones((1, 5, 4)), (0.5,))


def test_attributions_that_are_no_numbers_are_refused():
    with pytest.raises(ValueError, match="attributions: Expected finite numbers"):
        quality.road(lambda batch: batch.flatten(1), torch.rand(2, 1, 4, 4), np.full((2, 4, 4), np.nan))
