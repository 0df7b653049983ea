"""Figures of attributions: a waterfall and a comparison for tables, overlays for pictures, shaded words for texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from audit.explaining.methods import METHODS
from reports.record import (
    Figure,
    Matrix,
    MatrixRow,
    OverlayRow,
    Overlays,
    Step,
    Swarm,
    SwarmRow,
    TokenLine,
    Tokens,
    Waterfall,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from audit.datasets import Dataset
    from audit.explaining.attributions import Attributions

Found = Mapping[str, "Attributions"]

#: points in a row of a swarm, and its rows
POINTS, ROWS = 128, 12


def of_tables(captions: Sequence[str], sample: Dataset, found: Found, top: int) -> tuple[Figure, ...]:
    """How the score of each example comes about, then the same features by every method.

    Args:
        captions: one an example.
        sample: the n examples.
        found: attributions by method, "kernel_shap" among them.
        top: features named; the others are one step.
    """
    shap = found["kernel_shap"]
    waterfalls: list[Figure] = []
    compared: list[Figure] = []
    for i, caption in enumerate(captions):
        order = np.argsort(-np.abs(shap.values[i]), kind="stable")
        shown, rest = order[:top], order[top:]
        names = [_with_value(shap.names[i][player], sample, i) for player in shown]
        steps = [
            Step(
                label=name,
                value=float(shap.values[i][player]),
                low=float(shap.low[i][player]),
                high=float(shap.high[i][player]),
            )
            for name, player in zip(names, shown, strict=True)
        ]
        if len(rest):
            steps.append(
                Step(
                    label=f"{len(rest)} other feature{'s' if len(rest) > 1 else ''}",
                    value=float(shap.values[i][rest].sum()),
                )
            )
        waterfalls.append(
            Waterfall(
                title=caption,
                x_title="log-odds of the predicted class",
                start=float(shap.base[i]),
                end=float(shap.full[i]),
                steps=tuple(steps),
                start_label="without any feature",
                end_label="with all features",
                note="SHAP values; lines are their 95 % intervals.",
            )
        )
        if len(found) > 1:
            compared.append(_compared(f"{caption}, by method", i, names, shown, found))
    return (*waterfalls, *compared)


def _compared(title: str, row: int, names: Sequence[str], shown: NDArray[np.int64], found: Found) -> Matrix:
    shares = [a.values[row] / (np.abs(a.values[row]).max(initial=0.0) or 1.0) for a in found.values()]
    return Matrix(
        title=title,
        columns=tuple(METHODS[method].title for method in found),
        rows=tuple(
            MatrixRow(label=name, values=tuple(round(float(share[player]), 2) for share in shares))
            for name, player in zip(names, shown, strict=True)
        ),
        around_zero=True,
        note="As a share of what each method finds strongest." + _unsigned(found),
    )


def _with_value(name: str, sample: Dataset, row: int) -> str:
    """A table's feature with its value in the file, where the rows as read are at hand."""
    if sample.frame is None or name not in sample.frame.columns:
        return name
    value = sample.frame[name].iloc[row]
    return f"{name} = {value:g}" if isinstance(value, int | float | np.number) else f"{name} = {value}"


def of_pictures(captions: Sequence[str], sample: Dataset, found: Found) -> tuple[Figure, ...]:
    """The examples with the heat map of every method."""
    import torch

    from audit.explaining.pictures import of_cells, of_elements, png

    pictures = sample.inputs
    assert isinstance(pictures, torch.Tensor)
    low, high = sample.bounds or (float(pictures.min()), float(pictures.max()))
    height, width = pictures.shape[-2:]
    rows = tuple(
        OverlayRow(
            caption=caption,
            image=png(pictures[i], low, high),
            heats=tuple(
                of_cells(a.values[i], height, width) if a.elements is None else of_elements(a.elements[i])
                for a in found.values()
            ),
        )
        for i, caption in enumerate(captions)
    )
    note = "Each heat map has its own scale, and the parts its method plays with: cells of a grid, or single pixels."
    return (
        Overlays(
            title="Explanations side by side",
            columns=tuple(METHODS[method].title for method in found),
            rows=rows,
            note=note + _unsigned(found),
        ),
    )


def of_texts(captions: Sequence[str], sample: Dataset, found: Found) -> tuple[Figure, ...]:
    """Each text with its words shaded, a line a method."""
    return tuple(
        Tokens(
            title=caption,
            lines=tuple(
                TokenLine(
                    caption=METHODS[method].title,
                    tokens=a.names[i],
                    weights=tuple(round(float(v), 4) for v in a.values[i]),
                )
                for method, a in found.items()
            ),
            note="Each line has its own scale." + _unsigned(found),
        )
        for i, caption in enumerate(captions)
    )


def _unsigned(found: Found) -> str:
    titles = [METHODS[method].title for method in found if not METHODS[method].signed]
    return f" Without a sign: {', '.join(titles)}." if titles else ""


def swarm(shap: Attributions, sample: Dataset, targets: NDArray[np.int64], order: NDArray[np.int64]) -> Swarm:
    """How the value of a feature and its effect go together, over the examples of a table.

    All points speak of one class: of two classes the second, for whose log-odds the values of the first turn their
    sign; of more the one that is predicted most often, over the examples where it is.

    Args:
        shap: Shapley values of the predicted class; every example has the same players.
        sample: the examples.
        targets: (n,) predicted classes.
        order: players, the most important first.
    """
    two = len(sample.classes) == 2
    shown = 1 if two else int(np.bincount(targets).argmax())
    rows = (np.arange(len(targets)) if two else np.flatnonzero(targets == shown))[:POINTS]
    sign = np.where(targets[rows] == shown, 1.0, -1.0)
    values = sign[:, None] * np.stack(shap.values)[rows]
    levels = _levels(sample, rows, values.shape[1])
    return Swarm(
        title="Each feature over the examples",
        x_title=f"Shapley value, log-odds of {sample.classes[shown]}",
        rows=tuple(
            SwarmRow(
                label=shap.names[0][player],
                values=tuple(round(float(value), 3) for value in values[:, player]),
                levels=levels[player],
            )
            for player in order[:ROWS]
        ),
        note=f"{len(rows)} examples" + ("." if two else f" answered {sample.classes[shown]}."),
    )


def _levels(sample: Dataset, rows: NDArray[np.int64], players: int) -> list[tuple[float | None, ...]]:
    """For each player the rank of its value among these rows, 0 to 1; None where it has no order (one-hot groups)."""
    import torch
    from scipy import stats

    assert isinstance(sample.inputs, torch.Tensor)
    inputs = sample.inputs[torch.from_numpy(rows)].flatten(1).double().numpy()
    columns = [feature.columns for feature in sample.features] or [(i,) for i in range(players)]
    levels: list[tuple[float | None, ...]] = []
    for of_player in columns:
        if len(of_player) > 1 or len(rows) < 2:
            levels.append((None,) * len(rows))
            continue
        ranks = (stats.rankdata(inputs[:, of_player[0]]) - 1) / (len(rows) - 1)
        levels.append(tuple(round(float(rank), 2) for rank in ranks))
    return levels
