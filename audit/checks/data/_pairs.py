"""Showing two rows side by side."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from audit.checks.data._rows import excerpt
from audit.subject import Modality
from reports.record import Images, Panel, Table

if TYPE_CHECKING:
    from audit.datasets import Dataset

PICTURED = 5
SIDE = 96


@dataclass(frozen=True)
class Pair:
    """A row and its twin, each an index into its split, and how close they are."""

    row: int
    twin: int
    closeness: str


def pair_table(pairs: list[Pair], data: Dataset, other: Dataset, title: str) -> Table:
    """Both rows of each pair with their labels."""

    def label(part: Dataset, row: int) -> str:
        return part.classes[int(part.labels[row])]

    return Table(
        title=title,
        columns=("row", "twin", "closeness", "label", "twin's label", "content", "twin's content"),
        rows=tuple(
            (
                p.row,
                p.twin,
                p.closeness,
                label(data, p.row),
                label(other, p.twin),
                excerpt(data, p.row),
                excerpt(other, p.twin),
            )
            for p in pairs
        ),
        note="Exact twins first, then the closest. Closeness is a distance in standard deviations for tables, a "
        "correlation for images, a Jaccard similarity for texts.",
    )


def pair_figures(pairs: list[Pair], data: Dataset, other: Dataset, title: str) -> tuple[Images, ...]:
    """For images, the first pairs as pictures; nothing otherwise."""
    if data.modality is not Modality.IMAGE or not pairs:
        return ()
    panels = []
    for p in pairs[:PICTURED]:
        panels.append(Panel(caption=f"row {p.row} ({p.closeness})", image=png(data, p.row)))
        panels.append(Panel(caption=f"twin {p.twin}", image=png(other, p.twin)))
    return (Images(title=title, panels=tuple(panels), per_row=4, note="Each row stands beside its twin."),)


def png(data: Dataset, row: int) -> str:
    """The image as a base64-encoded PNG of at most 96 pixels a side, `bounds` as black and white."""
    from PIL import Image

    assert not isinstance(data.inputs, list)
    low, high = data.bounds or (0.0, 1.0)
    scaled = ((data.inputs[row].numpy() - low) / (high - low) * 255).round().clip(0, 255).astype(np.uint8)
    pixels = scaled[0] if len(scaled) == 1 else scaled.transpose(1, 2, 0)
    image = Image.fromarray(pixels)
    image.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode("ascii")
