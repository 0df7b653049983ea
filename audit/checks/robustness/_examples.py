"""Adversarial examples a person can look at."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np

from audit.checks.robustness._grid import answers
from reports.record import Cell, Images, Panel, Table

if TYPE_CHECKING:
    from torch import Tensor

    from audit.datasets import Dataset, Feature
    from audit.subject import Subject

#: longest side of a shown picture, in pixels
SIDE = 64
#: numeric columns shown of a table's row
COLUMNS = 8
#: how far from a whole number a value may be by rounding, as a share of it
WHOLE = 1e-4


def as_pictures(subject: Subject, data: Dataset, clean: Tensor, adversarial: Tensor, title: str) -> Images:
    """As given, the change, as attacked: three panels an example.

    Args:
        subject: whose answers stand below.
        data: says the range of a pixel and the classes.
        clean: (n, C, H, W).
        adversarial: the same, attacked.
        title: of the figure.
    """
    from audit.explaining.pictures import of_elements, png

    assert data.bounds is not None
    before, after = answers(subject, clean), answers(subject, adversarial)
    small, moved = _fitted(clean), _fitted(adversarial)
    panels = []
    for i in range(len(clean)):
        change = (moved[i] - small[i]).cpu().numpy().astype(np.float64)
        panels.append(Panel(caption=f"as given: {data.classes[before[i]]}", image=png(small[i], *data.bounds)))
        panels.append(Panel(caption="the change", heat=of_elements(change)))
        panels.append(Panel(caption=f"attacked: {data.classes[after[i]]}", image=png(moved[i], *data.bounds)))
    return Images(
        title=title,
        panels=tuple(panels),
        per_row=3,
        colours=("lighter", "darker, drawn at full strength"),
    )


def as_rows(
    subject: Subject,
    data: Dataset,
    clean: Tensor,
    adversarial: Tensor,
    title: str,
    whole: Collection[str] = (),
    mark: str = "",
) -> Table:
    """Rows of a table before and after, in the columns' own units.

    Args:
        subject: whose answers stand beside.
        data: knows the encoding.
        clean: (n, d) encoded rows.
        adversarial: the same, attacked.
        title: of the table.
        whole: numeric columns that hold whole numbers.
        mark: put before what changed.
    """
    from audit.datasets import FeatureKind

    change = (adversarial - clean).abs().amax(0)
    moved = {f.name: float(change[list(f.columns)].max()) for f in data.features}
    moving = [f for f in data.features if f.mutable and (f.kind is FeatureKind.NUMERIC or moved[f.name])]
    chosen = sorted(moving, key=lambda f: -moved[f.name])[:COLUMNS]
    shown = [f for f in moving if f in chosen]
    before, after = answers(subject, clean), answers(subject, adversarial)
    rows: list[tuple[Cell, ...]] = []
    for i in range(len(clean)):
        old = [_own(f, clean[i], f.name in whole) for f in shown]
        new = [_own(f, adversarial[i], f.name in whole) for f in shown]
        marked = [f"{mark}{b}" if mark and a != b else b for a, b in zip(old, new, strict=True)]
        rows.append((i + 1, "as given", data.classes[before[i]], *old))
        rows.append((i + 1, "attacked", data.classes[after[i]], *marked))
    return Table(
        title=title,
        columns=("example", "", "answer", *(f.name for f in shown)),
        rows=tuple(rows),
        note="Values in the columns' own units; columns that are not shown did not move, or moved less.",
    )


def _own(feature: Feature, row: Tensor, whole: bool) -> Cell:
    """A column's value in its own unit."""
    if feature.categories:
        block = row[list(feature.columns)]
        return feature.categories[int(block.argmax())] if bool((block > 0.5).any()) else "none"
    value = float(row[feature.columns[0]].double()) * feature.std + feature.mean
    rounded = round(value, max(0, 2 - math.floor(math.log10(feature.std)))) + 0.0
    # a missing value stands at the mean, which need not be whole
    return round(value) if whole and abs(value - round(value)) < WHOLE * max(1.0, abs(value)) else rounded


def _fitted(images: Tensor) -> Tensor:
    """Shrunk to at most `SIDE` pixels."""
    from torch.nn import functional as F

    height, width = images.shape[2:]
    if max(height, width) <= SIDE:
        return images
    scale = SIDE / max(height, width)
    return F.interpolate(images, size=(max(1, int(height * scale)), max(1, int(width * scale))), mode="area")
