"""What goes wrong in tables: noise, missing values, wrong units, wrong categories.

The fault types follow Schelter, Rukat and Biessmann 2020, "Learning to Validate the Predictions of Black Box
Classifiers on Unseen Data" (missing values, outliers, swapped values, scaling by a wrong unit).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from attacks.noise import Draws

#: kind -> what its level means
TABULAR_NOISE: dict[str, str] = {
    "gaussian": "standard deviation of the noise, in encoded units",
    "missing": "share of the values lost",
    "unit": "factor between the wrong and the right unit",
    "decimal": "places by which the decimal point slips, to the left or to the right",
    "sign": "share of the values whose sign is lost",
    "swap": "share of the rows in which two numeric columns trade their values",
    "category": "share of the categories replaced by another",
}


@torch.no_grad()
def tabular_noise(
    inputs: Tensor,
    kind: str,
    level: float,
    *,
    numeric: Tensor | None = None,
    groups: Sequence[Sequence[int]] = (),
    fill: Tensor | None = None,
    mean: Tensor | None = None,
    std: Tensor | None = None,
    observed: Tensor | None = None,
    seed: int = 0,
    rows: Tensor | None = None,
) -> Tensor:
    """Spoil encoded rows of a table; what is neither in `numeric` nor in `groups` never moves.

    - `gaussian`: a normal deviate of `level` on every numeric column.
    - `missing`: each numeric column and each group is lost with probability `level` and takes its `fill`.
    - `unit`: in each row one numeric column is multiplied by `level`, in its own unit.
    - `decimal`: in each row one numeric column is multiplied or divided by 10 ** `level`, in its own unit.
    - `sign`: each numeric column changes its sign with probability `level`, in its own unit.
    - `swap`: with probability `level` two numeric columns of a row trade their values, in their own units.
    - `category`: each group switches with probability `level` to another observed category, all equally likely.

    A value lost or switched at one level is so at every higher level of the same seed.

    Args:
        inputs: (n, d) encoded rows: numeric columns as (value - mean) / std, categories one-hot.
        kind: one of `TABULAR_NOISE`.
        level: how strong; at least 0, for shares at most 1.
        numeric: (d,) bool, numeric columns that may move; None: all outside `groups`.
        groups: positions of each one-hot column that may move.
        fill: (d,) what a lost value becomes, such as the mean of a number and the one-hot of the most frequent category;
            None: 0, which is the mean of a standardised column and no category.
        mean: (d,) subtracted from a numeric column, in its own unit; None: 0.
        std: (d,) it was divided by; None: 1.
        observed: (d,) bool, categories that occur; None: all.
        seed: equal seeds give equal noise.
        rows: (n,) int64, the rows' numbers, by default 0 to n - 1: a row's noise depends on its number, not the batch.

    Returns:
        (n, d), type and device as given.

    Raises:
        ValueError: an argument is not as described; the message names it.
    """
    _refuse(inputs, kind, level)
    device, width = inputs.device, inputs.shape[1]
    numbers = torch.arange(len(inputs)) if rows is None else rows
    if numbers.shape != (len(inputs),):
        raise ValueError(f"Expected rows ({len(inputs)},), one number a row, found {tuple(numbers.shape)}.")
    moving = _free(width, groups) if numeric is None else numeric
    if moving.shape != (width,) or moving.dtype != torch.bool:
        raise ValueError(f"Expected numeric ({width},) of bool, found {tuple(moving.shape)} of {moving.dtype}.")
    columns = moving.nonzero()[:, 0].to(device)
    draws = Draws(seed, f"tabular {kind}", numbers.to(device))
    out = inputs.clone()
    if kind == "gaussian":
        out[:, columns] += (level * draws.normal(width)[:, columns]).to(out.dtype)
    elif kind == "missing":
        lost = draws.uniform(width) < level  # a group is lost by the draw of its first position
        value = torch.zeros(width) if fill is None else fill
        value = value.to(out)
        out[:, columns] = torch.where(lost[:, columns], value[columns], out[:, columns])
        for group in groups:
            at = torch.tensor(list(group), device=device)
            out[:, at] = torch.where(lost[:, at[:1]], value[at], out[:, at])
    elif kind in ("unit", "decimal", "sign", "swap") and len(columns):
        centre = torch.zeros(width).to(out) if mean is None else mean.to(out)
        spread = torch.ones(width).to(out) if std is None else std.to(out)
        own = out[:, columns] * spread[columns] + centre[columns]
        wrong = _in_own_units(own, kind, level, draws)
        moved = torch.where(wrong == own, out[:, columns], (wrong - centre[columns]) / spread[columns])
        out[:, columns] = moved.to(out.dtype)
    elif kind == "category":
        seen = torch.ones(width, dtype=torch.bool) if observed is None else observed
        for group in groups:
            at = torch.tensor(list(group), device=device)
            out[:, at] = _switch(out[:, at], seen.to(device)[at], level, draws)
    return out


def _refuse(inputs: Tensor, kind: str, level: float) -> None:
    if kind not in TABULAR_NOISE:
        raise ValueError(f"Expected kind to be one of {', '.join(TABULAR_NOISE)}, found {kind!r}.")
    if inputs.ndim != 2 or not inputs.is_floating_point():
        raise ValueError(f"Expected inputs (n, d) of floats, found {tuple(inputs.shape)} of {inputs.dtype}.")
    if not level >= 0 or (kind in ("missing", "category", "sign", "swap") and level > 1):
        raise ValueError(f"Expected level to be the {TABULAR_NOISE[kind]}, found {level!r}.")


def _in_own_units(own: Tensor, kind: str, level: float, draws: Draws) -> Tensor:
    """What a clerk writes into the wrong field, or in the wrong unit; (n, numeric columns)."""
    columns = own.shape[1]
    picked = (draws.uniform(1) * columns).long().clamp(max=columns - 1)
    value = own.gather(1, picked)
    if kind == "unit":
        return own.scatter(1, picked, value * level)
    if kind == "decimal":
        right = draws.uniform(1).to(own.device) < 0.5
        return own.scatter(1, picked, torch.where(right, value * 10**level, value / 10**level))
    if kind == "sign":
        return torch.where(draws.uniform(columns) < level, -own, own)
    if columns == 1:
        return own
    # a step of 1 to columns - 1 round the circle leads to another column
    step = 1 + (draws.uniform(1) * (columns - 1)).long().clamp(max=columns - 2)
    other = (picked + step) % columns
    hit = draws.uniform(1) < level
    traded = own.scatter(1, picked, own.gather(1, other)).scatter(1, other, value)
    return torch.where(hit, traded, own)


def _free(width: int, groups: Sequence[Sequence[int]]) -> Tensor:
    mask = torch.ones(width, dtype=torch.bool)
    for group in groups:
        mask[list(group)] = False
    return mask


def _switch(hot: Tensor, seen: Tensor, share: float, draws: Draws) -> Tensor:
    """Move the one of (n, k) to another seen category with probability `share`, where there is another."""
    n, k = hot.shape
    hit = draws.uniform(1)[:, 0] < share
    lot = draws.uniform(k)
    candidates = seen.expand(n, k) & (hot < 0.5)
    choice = torch.where(candidates, lot, -1.0).argmax(1)
    new = torch.nn.functional.one_hot(choice, k).to(hot)
    return torch.where((hit & candidates.any(1))[:, None], new, hot)
