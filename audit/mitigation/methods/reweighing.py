"""Reweighing and retraining (Kamiran and Calders 2012, https://doi.org/10.1007/s10115-011-0463-8, section 4.2).

Their weights make group and label independent, which is what demographic parity asks for. Equal opportunity and equalised
odds ask for equal errors instead: there the weights follow the errors, epoch by epoch, as in FairBatch (Roh et al. 2021,
https://arxiv.org/abs/2012.01696).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from audit.mitigation.methods._network import inner, scores, trainee
from audit.mitigation.methods._rates import compared, difference, listed, margin, sizeable, small, strata
from audit.mitigation.methods._training import Loop
from audit.mitigation.remedy import Bench, Definition, Part, Remedy

_PACE, _WIDEST = 3.0, 8.0  # weights move by exp(pace x difference) an epoch, and no further than this factor


def reweighing(bench: Bench) -> Remedy:
    """Train the network on rows weighted by group and label.

    For demographic parity the weights are P(g) P(y) / P(g, y), to the power of the aim's strength, and the best epoch has
    the least weighted loss on the held rows. Otherwise they follow the training rows' rates, at a pace scaled by strength,
    and the best epoch has the least error plus difference. A class that a group lacks in training cannot be weighted up.

    Raises:
        AssayError: the model does not train, or fewer than two groups are large enough.
    """
    counted = compared(bench, bench.train, "training")
    here, device, aim = trainee(bench), bench.subject.device, bench.aim
    independent = aim.definition is Definition.DEMOGRAPHIC_PARITY
    shape = (len(bench.groups), len(bench.classes))
    table = cells(bench.train, *shape) ** aim.strength if independent else np.ones(shape)
    labels, weights = torch.from_numpy(bench.train.labels), torch.from_numpy(of_rows(table, bench.train)).float()
    compares = sizeable(aim, bench.held, len(bench.groups)) & counted

    def losses(found: Tensor, rows: Tensor) -> tuple[Tensor]:
        each = F.cross_entropy(found, labels[rows].to(device), reduction="none")
        return ((each * weights[rows].to(device)).sum(),)

    def loss(found: NDArray[np.float64]) -> float:
        held = of_rows(table, bench.held)
        each = F.cross_entropy(torch.from_numpy(found), torch.from_numpy(bench.held.labels), reduction="none").numpy()
        return float((each * held).sum() / held.sum())

    def error(found: NDArray[np.float64]) -> float:
        seen = margin(scores(bench, here.module, here.train), aim.favourable) > 0
        follow(table, bench, seen, counted)
        weights.copy_(torch.from_numpy(of_rows(table, bench.train)))
        wrong = float((found.argmax(1) != bench.held.labels).mean())
        if compares.sum() < 2:
            return wrong
        chosen = margin(found, aim.favourable) > 0
        return wrong + difference(aim, chosen, bench.held.labels, bench.held.groups, compares)

    loop = Loop(bench, here, "reweighing", losses, loss if independent else error)
    model = loop.run()
    weight = of_rows(table, bench.train)
    present = np.isin(np.arange(len(bench.groups)), bench.train.groups)
    lacking = [
        f"{bench.groups[g]} without {bench.classes[c]}"
        for g, c in np.argwhere(cells(bench.train, *shape) == 0)
        if present[g]
    ]
    return Remedy(
        "reweighing",
        model,
        inner(model),
        None,
        group_at_prediction=False,
        figures={
            "weights": {
                group: dict(zip(bench.classes, line, strict=True))
                for group, line in zip(bench.groups, table.tolist(), strict=True)
            },
            "effective_rows": float(weight.sum() ** 2 / (weight**2).sum()),
            "judged": [found for _, found in loop.history],
            "epoch": loop.best,
        },
        notes=(
            *((f"No training row to weight up: {listed(lacking)}.",) if lacking else ()),
            *small(bench, counted, "their weights are uncertain" if independent else "their weights stay 1"),
        ),
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


def follow(table: NDArray[np.float64], bench: Bench, chosen: NDArray[np.bool_], counted: NDArray[np.bool_]) -> None:
    """Weight up, in place, the cells whose rows go wrong more often than those of other groups.

    Args:
        table: (groups, classes) weights so far; each stratum's mean over its rows stays 1.
        bench: aim and training rows.
        chosen: (n,) training rows predicted favourable.
        counted: (groups,) whose weights move.
    """
    train, aim = bench.train, bench.aim
    large = np.flatnonzero(counted)
    classes = np.arange(table.shape[1])
    for rows in strata(aim, train.labels):
        deserved = bool(train.labels[rows][0] == aim.favourable)
        of = classes == aim.favourable if deserved else classes != aim.favourable
        size = np.array([(rows & (train.groups == group)).sum() for group in large])
        rate = np.array([chosen[rows & (train.groups == group)].mean() for group in large])
        wrong = (rate.mean() - rate) if deserved else (rate - rate.mean())
        line = table[large][:, of][:, 0] * np.exp(_PACE * aim.strength * wrong)
        line = np.clip(line / np.average(line, weights=size), 1 / _WIDEST, _WIDEST)
        table[np.ix_(large, np.flatnonzero(of))] = line[:, None]
