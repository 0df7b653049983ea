"""Faults of series: what each does, exactly, and what none of them does."""

import math

import pytest
import torch
from torch import Tensor

from attacks.tabular import SERIES_NOISE, series_noise

LEVELS = {
    "noise": 0.5,
    "gaps": 0.25,
    "spikes": 0.1,
    "drift": 1.0,
    "shift": 0.3,
    "warp": 0.6,
    "resample": 4.0,
    "clip": 0.4,
}


def waves(n: int = 200, channels: int = 2, time: int = 64) -> Tensor:
    """Sines of random phase, each channel of its own scale."""
    generator = torch.Generator().manual_seed(0)
    phase = 2 * math.pi * torch.rand(n, channels, 1, generator=generator)
    scale = torch.tensor([1.0, 50.0])[:channels, None]
    return scale * torch.sin(torch.linspace(0, 9, time) + phase)


@pytest.mark.parametrize("kind", SERIES_NOISE)
def test_rows_stand_alone_and_nothing_is_nothing(kind: str) -> None:
    x = waves(40)
    y = series_noise(x, kind, LEVELS[kind], seed=4)
    assert y.shape == x.shape
    assert bool((y != x).any())
    assert bool(y.isfinite().all())
    rows = torch.tensor([7, 3])
    assert torch.equal(series_noise(x[rows], kind, LEVELS[kind], seed=4, rows=rows), y[rows])
    assert torch.equal(series_noise(x, kind, 1.0 if kind == "resample" else 0.0, seed=4), x)
    if kind not in ("clip", "resample"):  # these draw nothing
        assert not torch.equal(series_noise(x, kind, LEVELS[kind], seed=5), y)
    assert torch.equal(
        series_noise(x[:, 0], kind, LEVELS[kind], seed=4)[:, None], series_noise(x[:, :1], kind, LEVELS[kind], seed=4)
    )
    assert series_noise(x.half(), kind, LEVELS[kind]).dtype == torch.float16


@pytest.mark.parametrize("kind", SERIES_NOISE)
def test_a_constant_stays_constant(kind: str) -> None:
    x = torch.full((5, 2, 30), 3.0)
    assert torch.allclose(series_noise(x, kind, LEVELS[kind]), x)


def test_noise_is_in_deviations_of_each_channel() -> None:
    x = waves()
    change = series_noise(x, "noise", 0.5) - x
    share = change.std(2) / x.std(2, correction=0)
    assert torch.allclose(share.mean(0), torch.tensor(0.5), atol=0.02)


def test_a_gap_has_its_length_and_holds_the_value_before() -> None:
    x = waves()
    y = series_noise(x, "gaps", 0.25, fill=1e6)
    lost = y == 1e6
    assert torch.equal(lost[:, 0], lost[:, 1])
    assert bool((lost[:, 0].sum(1) == 16).all())
    assert bool(((lost[:, 0, 1:] & ~lost[:, 0, :-1]).sum(1) + lost[:, 0, 0] == 1).all()), "one gap"
    held = series_noise(x, "gaps", 0.25)
    for row in range(20):
        at = lost[row, 0].nonzero()[:, 0]
        before = int(at[0]) - 1 if at[0] > 0 else int(at[-1]) + 1
        assert torch.equal(held[row, :, at], x[row, :, before, None].expand(2, 16))
    more = series_noise(x, "gaps", 0.5, fill=1e6) == 1e6
    assert bool((more | ~lost).all())
    assert bool((series_noise(x, "gaps", 1.0, fill=0.0) == 0).all())


def test_spikes_stand_out_at_their_rate() -> None:
    x = waves()
    y = series_noise(x, "spikes", 0.1)
    hit = y != x
    assert float(hit.float().mean()) == pytest.approx(0.1, abs=0.01)
    size = ((y - x.mean(2, keepdim=True)).abs() / x.std(2, correction=0, keepdim=True))[hit]
    assert float(size.min()) + 1e-3 >= 5
    assert float(size.max()) <= 10 + 1e-3
    assert bool((hit <= (series_noise(x, "spikes", 0.3) != x)).all())


def test_drift_is_a_line_that_ends_where_it_should() -> None:
    x = waves()
    change = (series_noise(x, "drift", 2.0) - x) / x.std(2, correction=0, keepdim=True)
    assert torch.allclose(change[..., -1].abs(), torch.tensor(2.0), atol=1e-3)
    assert torch.allclose(change.diff(dim=2).std(2), torch.tensor(0.0), atol=1e-3)
    assert 0.4 < float((change[..., -1] > 0).float().mean()) < 0.6


def test_a_shift_moves_all_channels_and_repeats_the_end() -> None:
    x = waves(time=40)
    y = series_noise(x, "shift", 0.25)
    for row in range(len(x)):
        steps = [s for s in range(-10, 11) if torch.equal(y[row], x[row][:, (torch.arange(40) + s).clamp(0, 39)])]
        assert steps, "some shift within a quarter of the length"


def test_a_warp_keeps_the_ends_and_the_order() -> None:
    line = torch.arange(50.0).expand(30, 50)
    y = series_noise(line, "warp", 0.8)
    assert torch.allclose(y[:, [0, -1]], line[:, [0, -1]], atol=1e-3)
    speed = y.diff(dim=1)
    assert float(speed.min()) >= 0.2 - 1e-2
    assert float(speed.max()) <= 1.8 + 1e-2


def test_a_lower_rate_keeps_every_fourth_value_and_straight_lines() -> None:
    x = waves(time=41)
    y = series_noise(x, "resample", 4.0)
    assert torch.allclose(y[..., ::4], x[..., ::4])
    middle = (x[..., 0:-1:4] + x[..., 4::4]) / 2
    assert torch.allclose(y[..., 2::4], middle, atol=1e-4)
    line = torch.arange(43.0).expand(2, 43)
    assert torch.allclose(series_noise(line, "resample", 5.0), line, atol=1e-4), "the last stretch is shorter"


def test_clipping_cuts_the_range() -> None:
    x = waves()
    y = series_noise(x, "clip", 0.4)
    low, high = x.amin(2), x.amax(2)
    assert torch.allclose(y.amax(2), high - 0.2 * (high - low), rtol=1e-4)
    assert torch.allclose(y.amin(2), low + 0.2 * (high - low), rtol=1e-4)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"kind": "dust"}, "Expected kind"),
        ({"level": -0.1}, "Expected level"),
        ({"level": float("nan")}, "Expected level"),
        ({"kind": "gaps", "level": 1.1}, "Expected level"),
        ({"kind": "warp", "level": 1.0}, "below 1"),
        ({"kind": "resample", "level": 0.5}, "from 1 on"),
        ({"inputs": torch.zeros(3)}, "Expected inputs"),
        ({"inputs": torch.zeros(3, 4, dtype=torch.int64)}, "Expected inputs"),
        ({"rows": torch.arange(5)}, "Expected rows"),
    ],
)
def test_refusals(change: dict[str, object], says: str) -> None:
    given = {"inputs": torch.zeros(2, 8), "kind": "noise", "level": 0.1} | change
    with pytest.raises(ValueError, match=says):
        series_noise(**given)  # type: ignore[arg-type]
