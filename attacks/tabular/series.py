"""What goes wrong in measured series: noise, gaps, spikes, drift, clocks that are off, coarse sampling, saturation.

The fault types are those of sensors in the field (Ni et al. 2009, "Sensor Network Data Fault Types": outliers, spikes,
stuck-at, noise, drift, clipping), and of clocks (shift, warp, a lower sampling rate).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from attacks.noise import Draws

#: kind -> what its level means
SERIES_NOISE: dict[str, str] = {
    "noise": "standard deviation of the noise, in deviations of the series",
    "gaps": "share of the series lost, in one gap",
    "spikes": "share of the values replaced by a spike of 5 to 10 deviations",
    "drift": "how far the end has drifted, in deviations of the series",
    "shift": "largest shift, as a share of the length",
    "warp": "largest change of the local speed, below 1",
    "resample": "how many times lower the sampling rate is, from 1 on",
    "clip": "share of the range that the sensor does not reach, half of it at each end",
}
_SHARES = ("gaps", "spikes", "shift", "warp", "clip")


@torch.no_grad()
def series_noise(
    inputs: Tensor,
    kind: str,
    level: float,
    *,
    fill: float | None = None,
    seed: int = 0,
    rows: Tensor | None = None,
) -> Tensor:
    """Spoil series; each is measured by its own deviation over time, channel by channel.

    What has no value any more holds the nearest one: a shift repeats the end of the series, a gap the value before it.
    What is lost at one level is lost at every higher level of the same seed.

    Args:
        inputs: (n, time) or (n, channels, time) floats; all channels of a series share one clock and one gap.
        kind: one of `SERIES_NOISE`.
        level: how strong; 0 (for `resample` 1) changes nothing.
        fill: what stands in a gap; None: the value before it.
        seed: equal seeds give equal noise.
        rows: (n,) int64, the rows' numbers, by default 0 to n - 1: a row's noise depends on its number, not the batch.

    Returns:
        Shape, type and device as given.

    Raises:
        ValueError: an argument is not as described; the message names it.
    """
    numbers = torch.arange(len(inputs)) if rows is None else rows
    _refuse(inputs, kind, level, numbers)
    draws = Draws(seed, f"series {kind}", numbers.to(inputs.device))
    whole = torch.promote_types(inputs.dtype, torch.float32)
    x = inputs.to(whole).reshape(len(inputs), -1, inputs.shape[-1])
    if level == (1 if kind == "resample" else 0):
        return inputs.clone()
    if kind == "resample":
        out = _coarse(x, level)
    elif kind in ("shift", "warp"):
        out = _at(x, _clock(kind, level, x.shape[2], draws, x))
    elif kind == "gaps":
        out = _gaps(x, level, fill, draws)
    else:
        out = _values(x, kind, level, draws)
    return out.reshape(inputs.shape).to(inputs.dtype)


def _values(x: Tensor, kind: str, level: float, draws: Draws) -> Tensor:
    """Faults of single values: noise, spikes, drift, clipping."""
    deviation = x.std(2, correction=0, keepdim=True)
    if kind == "noise":
        return x + level * deviation * draws.normal(*x.shape[1:]).to(x)
    if kind == "spikes":
        hit, size, sign = (draws.uniform(*x.shape[1:]).to(x) for _ in range(3))
        spike = x.mean(2, keepdim=True) + deviation * (5 + 5 * size) * torch.where(sign < 0.5, -1.0, 1.0)
        return torch.where(hit < level, spike, x)
    if kind == "drift":
        sign = torch.where(draws.uniform(x.shape[1], 1) < 0.5, -1.0, 1.0).to(x)
        return x + level * deviation * sign * torch.linspace(0, 1, x.shape[2]).to(x)
    low, high = x.amin(2, keepdim=True), x.amax(2, keepdim=True)
    cut = level / 2 * (high - low)
    return x.clamp(low + cut, high - cut)


def _gaps(x: Tensor, share: float, fill: float | None, draws: Draws) -> Tensor:
    """One gap a series, around a moment that no level moves."""
    time = x.shape[2]
    length = math.ceil(share * time)
    centre = draws.uniform(1)[:, 0] * time
    start = (centre - centre / time * length).floor().long().clamp(0, time - length)[:, None]
    at = torch.arange(time, device=x.device)
    lost = ((at >= start) & (at < start + length))[:, None]
    if fill is not None:
        return torch.where(lost, torch.full_like(x, fill), x)
    # a gap at the very beginning has nothing before it
    before = torch.where(start > 0, start - 1, (start + length).clamp(max=time - 1))
    held = x.gather(2, before[:, None].expand(-1, x.shape[1], 1))
    return torch.where(lost, held, x)


def _clock(kind: str, level: float, time: int, draws: Draws, like: Tensor) -> Tensor:
    """From which moment each value is read, (n, time)."""
    at = torch.arange(time, device=like.device).to(like)
    lot = 2 * draws.uniform(1).to(like) - 1
    if kind == "shift":
        return at + (lot * level * time).round()
    end = max(time - 1, 1)
    return at + level * lot * end / (2 * math.pi) * torch.sin(2 * math.pi * at / end)


def _coarse(x: Tensor, factor: float) -> Tensor:
    """Every `factor`-th moment kept, straight lines between."""
    at = torch.arange(x.shape[2], device=x.device).to(x)
    low = (at / factor).floor() * factor
    high = (low + factor).clamp(max=max(x.shape[2] - 1, 0))
    share = torch.where(high > low, (at - low) / (high - low), 0.0)
    left, right = (_at(x, moment.expand(len(x), -1)) for moment in (low, high))
    return left + share * (right - left)


def _at(x: Tensor, moment: Tensor) -> Tensor:
    """Values at moments between the given ones, by straight lines; (n, channels, time)."""
    end = x.shape[2] - 1
    moment = moment.clamp(0, end)
    low = moment.floor().clamp(max=max(end - 1, 0)).long()
    share = (moment - low).unsqueeze(1)
    left, right = (x.gather(2, at.clamp(max=end)[:, None].expand(-1, x.shape[1], -1)) for at in (low, low + 1))
    return torch.where(share == 0, left, torch.where(share == 1, right, left + share * (right - left)))


def _refuse(inputs: Tensor, kind: str, level: float, numbers: Tensor) -> None:
    if kind not in SERIES_NOISE:
        raise ValueError(f"Expected kind to be one of {', '.join(SERIES_NOISE)}, found {kind!r}.")
    if inputs.ndim not in (2, 3) or not inputs.is_floating_point() or not inputs.shape[-1]:
        raise ValueError(
            f"Expected inputs (n, time) or (n, channels, time) of floats, found {tuple(inputs.shape)} of {inputs.dtype}."
        )
    low, high = (1.0, math.inf) if kind == "resample" else (0.0, 1.0 if kind in _SHARES else math.inf)
    if not low <= level <= high or level == math.inf or (kind == "warp" and level == 1):
        raise ValueError(f"Expected level to be the {SERIES_NOISE[kind]}, found {level!r}.")
    if numbers.shape != (len(inputs),):
        raise ValueError(f"Expected rows ({len(inputs)},), one number a row, found {tuple(numbers.shape)}.")
