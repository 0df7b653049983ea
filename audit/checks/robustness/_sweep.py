"""Attacks over a range of budgets, for little more than the price of one.

The search for each row's smallest change tells which budgets break it. Only the largest budget that does not is then
attacked in earnest: a row that stands there stands at all smaller ones, a row that falls moves on to the next smaller.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

    from attacks.evaluate import Effort
    from attacks.threat import Norm
    from audit.checks.robustness._space import Space
    from audit.subject import Subject


@dataclass(frozen=True, eq=False)
class Sweep:
    """What stands at each budget.

    Attributes:
        eps: budgets, ascending.
        clean: (n,) bool; right without attack.
        robust: (budgets, n) bool; right, and not broken at this budget or a smaller one.
        distance: (n,) size of the smallest change found; 0 where the model is wrong anyway, inf where none was found.
        adversarial: (n, ...) inputs; the smallest change found, of a row without one as given.
        findings: name -> advice, for each sign that the attack was blinded.
        passes: forward and backward passes of single rows.
    """

    eps: tuple[float, ...]
    clean: NDArray[np.bool_]
    robust: NDArray[np.bool_]
    distance: NDArray[np.float64]
    adversarial: Tensor
    findings: dict[str, str]
    passes: int


def sweep(subject: Subject, here: Space, norm: Norm, eps: Sequence[float], effort: Effort, seed: int) -> Sweep:
    """Attack at every budget.

    Args:
        subject: the model.
        here: rows and box.
        norm: how size is measured.
        eps: budgets.
        effort: as for `attacks.evaluate`.
        seed: of every draw.
    """
    import torch

    from attacks import evaluate, minimal

    small = minimal(
        subject.model, here.inputs, here.labels, norm=norm, bounds=here.bounds, seed=seed, mutable=here.mutable
    )
    distance, passes = small.distance.double().cpu(), small.forwards + small.backwards
    adversarial, findings = small.adversarial.clone(), dict[str, str]()
    attacked = torch.zeros(len(distance), dtype=torch.bool)
    for budget in sorted(eps, reverse=True):
        rows = ((distance > budget) & ~attacked).nonzero()[:, 0]
        if not len(rows):
            continue
        at = rows.to(here.inputs.device)
        threat = here.threat(norm, budget)
        found = evaluate(subject.model, here.inputs[at], here.labels[at], threat, effort=effort, seed=seed)
        passes += found.forwards + found.backwards
        findings |= {f.name: f.advice for f in found.findings}
        broken = ~found.robust
        adversarial[at[broken]] = found.adversarial[broken]
        moved = (found.adversarial[broken] - here.inputs[at[broken]]).flatten(1).double().cpu()
        size = moved.abs().amax(1) if norm == "linf" else moved.norm(dim=1)
        distance[rows[broken.cpu()]] = size.clamp(max=budget)
        attacked[rows[~broken.cpu()]] = True
    clean = distance > 0
    return Sweep(
        eps=tuple(sorted(eps)),
        clean=clean.numpy(),
        robust=np.array([(distance > budget).numpy() for budget in sorted(eps)], dtype=bool).reshape(-1, len(clean)),
        distance=distance.numpy(),
        adversarial=adversarial,
        findings=findings,
        passes=passes,
    )
