"""Corruptions: what they promise for every name, then the truth of each where one can be derived."""

import io
import itertools
import math

import numpy as np
import pytest
import torch
from PIL import Image

from attacks.corruptions import CORRUPTIONS, FAMILY, corrupt, corruptions_for, jpeg
from attacks.corruptions.blur import drag, smooth
from attacks.corruptions.noise import poisson
from attacks.corruptions.weather import plasma
from attacks.noise import Draws

GREY, COLOUR = (6, 1, 28, 28), (3, 3, 32, 24)


def pictures(shape: tuple[int, ...]) -> torch.Tensor:
    """Like a photograph: something of every frequency, the coarse stronger than the fine."""
    generator = torch.Generator().manual_seed(3)
    n, channels, height, width = shape
    total = torch.zeros(shape)
    for cells in (2, 4, 8, 16, 32):
        coarse = torch.rand(n, channels, cells, cells, generator=generator) - 0.5
        total += torch.nn.functional.interpolate(coarse, size=(height, width), mode="bilinear") / cells**0.5
    return (total + 0.5).clamp(0, 1)


CASES = [(name, shape) for shape in (GREY, COLOUR) for name in corruptions_for(shape[1])]


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_range_shape_and_severity(name: str, shape: tuple[int, ...]) -> None:
    x = pictures(shape)
    before = x.clone()
    distances = []
    for severity in range(1, 6):
        y = corrupt(x, name, severity)
        assert y.shape == x.shape
        assert y.dtype == x.dtype
        assert 0 <= float(y.min()) <= float(y.max()) <= 1
        distances.append(float((y - x).flatten(1).norm(dim=1).mean()))
    assert torch.equal(x, before)
    assert distances[0] > 0
    assert all(later > earlier for earlier, later in itertools.pairwise(distances)), distances


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_a_row_does_not_depend_on_its_batch(name: str, shape: tuple[int, ...]) -> None:
    x = pictures(shape)
    whole = corrupt(x, name, 3, seed=5)
    rows = torch.tensor([2, 0])
    assert torch.allclose(corrupt(x[rows], name, 3, seed=5, rows=rows), whole[rows], atol=1e-6)
    assert torch.allclose(corrupt(x[1:2], name, 3, seed=5, rows=torch.tensor([1])), whole[1:2], atol=1e-6)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_deterministic_by_seed_and_silent(name: str) -> None:
    x = pictures(COLOUR)
    state = torch.get_rng_state()
    first = corrupt(x, name, 4, seed=1)
    assert torch.equal(first, corrupt(x, name, 4, seed=1))
    assert torch.equal(state, torch.get_rng_state())
    drawn = not torch.equal(first, corrupt(x, name, 4, seed=2))
    fixed = {"defocus_blur", "gaussian_blur", "zoom_blur", "brightness", "contrast", "saturate", "pixelate"}
    assert drawn == (name not in fixed | {"jpeg_compression"})


@pytest.mark.parametrize("name", corruptions_for(2))
@pytest.mark.parametrize("shape", [(2, 2, 5, 9), (1, 4, 40, 33), (1, 13, 64, 31), (2, 1, 1, 1)])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_any_size_channels_and_precision(name: str, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x = pictures(shape).to(dtype)
    y = corrupt(x, name, 5)
    assert y.shape == shape
    assert y.dtype == dtype
    assert bool(((y >= 0) & (y <= 1)).all())
    torch.testing.assert_close(y, corrupt(x.float(), name, 5).to(dtype))


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_any_layout_in_memory(name: str) -> None:
    x = pictures(COLOUR)
    other = x.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(corrupt(other, name, 4), corrupt(x, name, 4), atol=1e-5, rtol=0)
    torch.testing.assert_close(corrupt(x[:1].expand(2, -1, -1, -1), name, 4)[:1], corrupt(x[:1], name, 4))


def test_families_cover_all() -> None:
    assert set(FAMILY) == set(CORRUPTIONS)
    assert len(CORRUPTIONS) >= 15


def test_empty_batch() -> None:
    assert corrupt(torch.zeros(0, 1, 8, 8), "fog").shape == (0, 1, 8, 8)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"name": "rain"}, "Expected name"),
        ({"severity": 0}, "Expected severity"),
        ({"inputs": torch.zeros(3, 8, 8)}, "Expected inputs"),
        ({"inputs": torch.zeros(1, 1, 8, 8, dtype=torch.uint8)}, "Expected inputs"),
        ({"inputs": torch.full((1, 1, 8, 8), 2.0)}, r"in \[0, 1\]"),
        ({"inputs": torch.full((1, 1, 8, 8), math.nan)}, r"in \[0, 1\]"),
        ({"rows": torch.arange(3)}, "Expected rows"),
        ({"name": "saturate"}, "3 channels"),
    ],
)
def test_refusals(change: dict[str, object], says: str) -> None:
    given = {"inputs": torch.zeros(1, 1, 8, 8), "name": "fog", "severity": 1} | change
    with pytest.raises(ValueError, match=says):
        corrupt(**given)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------ random numbers


def test_draws_have_the_moments_they_should() -> None:
    draws = Draws(0, "moments", torch.arange(40))
    u, z = draws.uniform(50, 50), draws.normal(50, 50)
    n = u.numel()
    assert 0 < float(u.min()) < 1e-4
    assert 1 - 1e-4 < float(u.max()) < 1
    assert abs(float(u.mean()) - 0.5) < 5 * 12**-0.5 / n**0.5
    assert abs(float(z.mean())) < 5 / n**0.5
    assert abs(float(z.var()) - 1) < 5 * (2 / n) ** 0.5
    assert abs(float(z.pow(4).mean()) - 3) < 5 * (96 / n) ** 0.5
    rows = torch.corrcoef(z.flatten(1)) - torch.eye(40)
    assert float(rows.abs().max()) < 6 / 2500**0.5  # rows are independent
    half = z.flatten(1).shape[1] // 2
    assert abs(float((z.flatten(1)[:, :half] * z.flatten(1)[:, half:]).mean())) < 5 / (n / 2) ** 0.5


def test_draws_by_seed_stream_and_call() -> None:
    rows = torch.arange(3)
    first = Draws(0, "a", rows)
    one, two = first.uniform(9), first.uniform(9)
    assert not torch.equal(one, two)
    assert torch.equal(one, Draws(0, "a", rows).uniform(9))
    assert not torch.equal(one, Draws(1, "a", rows).uniform(9))
    assert not torch.equal(one, Draws(0, "b", rows).uniform(9))
    assert torch.equal(one[2:], Draws(0, "a", rows[2:]).uniform(9))
    Draws(-(2**70), "a", rows).uniform(1)  # any integer is a seed


@pytest.mark.parametrize(
    ("rate", "top"),
    [(0.0, 0.0), (0.3, 3.0), (3.0, 3.0), (11.9, 12.0), (0.3, 60.0), (11.9, 60.0), (12.0, 500.0), (500.0, 500.0)],
)
def test_poisson_moments(rate: float, top: float) -> None:
    counts = poisson(torch.full((20, 5000), rate), top, Draws(1, "poisson", torch.arange(20)))
    n = counts.numel()
    assert bool((counts == counts.round()).all())
    assert abs(float(counts.mean()) - rate) <= 5 * (rate / n) ** 0.5 + 1e-9
    assert abs(float(counts.var()) - rate) <= 6 * ((rate + 2 * rate**2) / n) ** 0.5 + 0.003 * rate
    if rate:
        nothing = float((counts == 0).float().mean())
        assert abs(nothing - math.exp(-rate)) < 5 * math.exp(-rate / 2) / n**0.5 + 1e-9


@pytest.mark.parametrize("rate", [0.5, 3.0, 12.0])
def test_small_poisson_rates_have_every_probability(rate: float) -> None:
    counts = poisson(torch.full((20, 20000), rate), 12.0, Draws(2, "poisson", torch.arange(20)))
    n = counts.numel()
    for k in range(int(rate + 5 * rate**0.5)):
        expected = math.exp(-rate) * rate**k / math.factorial(k)
        assert abs(float((counts == k).double().mean()) - expected) < 5 * (expected / n) ** 0.5, k


# --------------------------------------------------------------------------------------------- truths of single names


def test_noise_has_the_published_size() -> None:
    x = torch.full((20, 1, 32, 32), 0.5)
    assert float((corrupt(x, "gaussian_noise", 3) - x).std()) == pytest.approx(0.08, rel=0.02)
    assert float((corrupt(x, "speckle_noise", 3) - x).std()) == pytest.approx(0.06, rel=0.02)
    assert float((corrupt(x, "shot_noise", 3) - x).std()) == pytest.approx((0.5 / 100) ** 0.5, rel=0.02)
    assert float((corrupt(x, "impulse_noise", 5) != x).float().mean()) == pytest.approx(0.07, rel=0.1)
    large = torch.full((1, 1, 224, 224), 0.5)
    assert float((corrupt(large, "gaussian_noise", 1) - large).std()) == pytest.approx(0.08, rel=0.02)


def test_blur_keeps_a_flat_image_and_the_sum_of_a_dot() -> None:
    flat = torch.full((2, 1, 30, 30), 0.3)
    for name in ("defocus_blur", "gaussian_blur", "glass_blur", "motion_blur", "zoom_blur", "pixelate", "contrast"):
        assert torch.allclose(corrupt(flat, name, 5), flat, atol=1e-6), name
    dot = torch.zeros(1, 1, 41, 41)
    dot[0, 0, 20, 20] = 1
    for name in ("defocus_blur", "gaussian_blur"):
        assert float(corrupt(dot, name, 5).sum()) == pytest.approx(1, abs=1e-5)


def test_smooth_is_scipys_gaussian() -> None:
    from scipy.ndimage import gaussian_filter

    x = pictures((1, 1, 20, 31))
    mine = smooth(x, 1.3)[0, 0].numpy()
    assert np.abs(mine - gaussian_filter(x[0, 0].numpy(), 1.3, mode="nearest", radius=6)).max() < 1e-5


def test_drag_moves_against_the_axis_it_names() -> None:
    dot = torch.zeros(2, 1, 21, 21)
    dot[:, :, 10, 10] = 1
    y = drag(dot, 2.0, torch.tensor([0.0, math.pi / 2]))
    assert float(y[0, 0, 10].sum()) == pytest.approx(1)  # along a row
    assert float(y[1, 0, :, 10].sum()) == pytest.approx(1)  # along a column


def test_brightness_and_saturation_are_hsv() -> None:
    import colorsys

    rgb = (0.2, 0.4, 0.35)
    x = torch.tensor(rgb)[None, :, None, None].expand(1, 3, 32, 32)
    hue, saturation, value = colorsys.rgb_to_hsv(*rgb)
    bright = corrupt(x, "brightness", 3)[0, :, 0, 0].tolist()
    assert bright == pytest.approx(colorsys.hsv_to_rgb(hue, saturation, value + 0.15), abs=1e-5)
    vivid = corrupt(x, "saturate", 2)[0, :, 0, 0].tolist()
    assert vivid == pytest.approx(colorsys.hsv_to_rgb(hue, saturation * 1.4, value), abs=1e-5)
    grey = torch.full((1, 3, 8, 8), 0.4)
    assert torch.equal(corrupt(grey, "saturate", 5), grey)
    black = corrupt(torch.zeros(1, 3, 32, 32), "brightness", 1)
    assert torch.allclose(black, torch.tensor(0.05))


def test_contrast_keeps_the_mean() -> None:
    x = pictures(GREY)
    y = corrupt(x, "contrast", 2)
    assert torch.allclose(y.mean((2, 3)), x.mean((2, 3)), atol=1e-5)
    assert torch.allclose(y.std((2, 3)), 0.5 * x.std((2, 3)), atol=1e-5)


def test_pixelate_averages_whole_blocks() -> None:
    x = pictures((1, 1, 32, 32))
    y = corrupt(x, "pixelate", 5)  # half the resolution
    blocks = torch.nn.functional.avg_pool2d(x, 2)
    assert torch.allclose(y, blocks.repeat_interleave(2, 2).repeat_interleave(2, 3), atol=1e-6)


def test_occlusion_is_a_grey_square() -> None:
    x = torch.zeros(50, 1, 40, 40)
    y = corrupt(x, "occlusion", 5)
    assert set(y.unique().tolist()) == {0.0, 0.5}
    covered = (y == 0.5).flatten(1).sum(1)
    assert int(covered.max()) <= 20 * 20 + 41
    assert len(covered.unique()) > 1  # places differ, and some are cut off by the border


def test_plasma_spans_zero_to_one() -> None:
    field = plasma(32, 2.0, Draws(0, "fog", torch.arange(4)))
    assert field.shape == (4, 32, 32)
    assert torch.allclose(field.amin((1, 2)), torch.zeros(4))
    assert torch.allclose(field.amax((1, 2)), torch.ones(4))
    # neighbours resemble each other more than far pixels do
    near = (field[:, 1:] - field[:, :-1]).abs().mean()
    far = (field[:, 16:] - field[:, :-16]).abs().mean()
    assert float(near) < 0.5 * float(far)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("quality", [80, 25, 7])
def test_jpeg_is_pillows(channels: int, quality: int) -> None:
    x = (pictures((1, channels, 48, 40)) * 255).round() / 255
    x = smooth(x, 1.0).mul(255).round() / 255  # photographs have no hard edges
    pixels = (x[0] * 255).to(torch.uint8).permute(1, 2, 0).numpy()
    buffer = io.BytesIO()
    Image.fromarray(pixels if channels == 3 else pixels[:, :, 0]).save(buffer, format="JPEG", quality=quality)
    theirs = torch.from_numpy(np.array(Image.open(buffer))).reshape(48, 40, channels).permute(2, 0, 1) / 255
    error = (jpeg.compress(x, quality)[0] - theirs).abs()
    changed = (theirs - x[0]).abs().mean()
    assert float(error.mean()) < 0.25 * float(changed) + 0.5 / 255
