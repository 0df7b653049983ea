"""Adversarial examples a person can look at."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from audit.checks.robustness._grid import answers
from reports.record import Cell, Images, Panel, Table

if TYPE_CHECKING:
    from torch import Tensor

    from audit.datasets import Dataset
    from audit.subject import Subject

#: longest side of a shown picture, in pixels
SIDE = 64
#: numeric columns shown of a table's row
COLUMNS = 8


def as_pictures(subject: Subject, data: Dataset, clean: Tensor, adversarial: Tensor, title: str) -> Images:
    """As given, the change, as attacked: three panels an example.

    Args:
        subject: whose answers stand below.
        data: says the range of a pixel and the classes.
        clean: (n, C, H, W).
        adversarial: the same, attacked.
        title: of the figure.
    """
    from audit.checks.explain._pictures import of_elements, png

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
        note="The change is drawn at full strength: one colour lightens a pixel, the other darkens it.",
    )


def as_rows(subject: Subject, data: Dataset, clean: Tensor, adversarial: Tensor, title: str) -> Table:
    """Rows of a table before and after, in the columns' own units.

    Args:
        subject: whose answers stand beside.
        data: knows the encoding.
        clean: (n, d) encoded rows.
        adversarial: the same, attacked.
        title: of the table.
    """
    from audit.datasets import FeatureKind

    moving = [f for f in data.features if f.mutable and f.kind is FeatureKind.NUMERIC]
    change = (adversarial - clean).abs().amax(0)
    shown = sorted(moving, key=lambda f: -float(change[f.columns[0]]))[:COLUMNS]
    shown = [f for f in moving if f in shown]
    before, after = answers(subject, clean), answers(subject, adversarial)
    rows: list[tuple[Cell, ...]] = []
    for i in range(len(clean)):
        for when, x, answer in (("as given", clean[i], before[i]), ("attacked", adversarial[i], after[i])):
            own = [_rounded(float(x[f.columns[0]]) * f.std + f.mean, f.std) for f in shown]
            rows.append((i + 1, when, data.classes[answer], *own))
    return Table(
        title=title,
        columns=("example", "", "answer", *(f.name for f in shown)),
        rows=tuple(rows),
        note="Values in the columns' own units; columns that are not shown did not move, or moved less.",
    )


def _fitted(images: Tensor) -> Tensor:
    """Shrunk to at most `SIDE` pixels."""
    from torch.nn import functional as F

    height, width = images.shape[2:]
    if max(height, width) <= SIDE:
        return images
    scale = SIDE / max(height, width)
    return F.interpolate(images, size=(max(1, int(height * scale)), max(1, int(width * scale))), mode="area")


def _rounded(value: float, std: float) -> float:
    """As many digits as show a hundredth of the column's deviation."""
    return round(value, max(0, 2 - math.floor(math.log10(std)))) + 0.0
