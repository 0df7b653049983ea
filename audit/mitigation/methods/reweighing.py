"""Reweighing and retraining (Kamiran and Calders 2012, https://doi.org/10.1007/s10115-011-0463-8, section 4.2)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from audit.mitigation.methods._network import inner, trainee
from audit.mitigation.methods._rates import LEAST, compared, listed
from audit.mitigation.methods._training import Loop
from audit.mitigation.remedy import Bench, Part, Remedy


def reweighing(bench: Bench) -> Remedy:
    """Train the network on rows weighted so that group and label are independent; the aim's strength is an exponent.

    The weights aim at demographic parity whatever the definition: they mend labels, not errors. A class that a group
    lacks in training cannot be weighted up. The best epoch has the least weighted loss on the held rows.

    Raises:
        AssayError: the model does not train, or fewer than two groups are large enough.
    """
    counted = compared(bench, bench.train, "training")
    table = cells(bench.train, len(bench.groups), len(bench.classes)) ** bench.aim.strength
    weight, held = of_rows(table, bench.train), of_rows(table, bench.held)
    here = trainee(bench)
    device = bench.subject.device
    labels, weights = torch.from_numpy(bench.train.labels), torch.from_numpy(weight).float()

    def losses(found: Tensor, rows: Tensor) -> tuple[Tensor]:
        each = F.cross_entropy(found, labels[rows].to(device), reduction="none")
        return ((each * weights[rows].to(device)).sum(),)

    def judge(found: NDArray[np.float64]) -> float:
        each = F.cross_entropy(torch.from_numpy(found), torch.from_numpy(bench.held.labels), reduction="none").numpy()
        return float((each * held).sum() / held.sum())

    loop = Loop(bench, here, "reweighing", losses, judge)
    model = loop.run()
    lacking = [
        f"{bench.groups[g]} without {bench.classes[c]}"
        for g, c in np.argwhere(table == 0)
        if (bench.train.groups == g).any()
    ]
    small = [bench.groups[group] for group in np.flatnonzero(~counted)]
    notes = []
    if lacking:
        notes.append(f"No training row to weight up: {listed(lacking)}.")
    if small:
        notes.append(f"{listed(small)}: fewer than {LEAST} training rows, whose weights are uncertain.")
    effective = weight.sum() ** 2 / (weight**2).sum()
    return Remedy(
        "reweighing",
        model,
        inner(model),
        None,
        group_at_prediction=False,
        figures={
            "weights": {
                group: {name: float(w) for name, w in zip(bench.classes, line, strict=True)}
                for group, line in zip(bench.groups, table, strict=True)
            },
            "effective_rows": float(effective),
            "held_loss": [found for _, found in loop.history],
            "epoch": loop.best,
        },
        notes=tuple(notes),
    )


def cells(part: Part, groups: int, classes: int) -> NDArray[np.float64]:
    """(groups, classes) weights P(g) P(y) / P(g, y); 0 where a cell has no row.

    Rows that no group counts are left out of all three.
    """
    at = part.groups >= 0
    count = np.zeros((groups, classes))
    np.add.at(count, (part.groups[at], part.labels[at]), 1)
    expected = count.sum(1, keepdims=True) * count.sum(0, keepdims=True) / max(count.sum(), 1)
    return np.asarray(np.divide(expected, count, out=np.zeros_like(count), where=count > 0))


def of_rows(table: NDArray[np.float64], part: Part) -> NDArray[np.float64]:
    """(n,) each row's weight; 1 where no group counts it, or where no training row was like it."""
    found = table[np.maximum(part.groups, 0), part.labels]
    return np.where((part.groups < 0) | (found == 0), 1.0, found)
