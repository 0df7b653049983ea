"""The ensemble: cheap attacks first, broken points leave at once, survivors meet stronger ones.

The parts are those of AutoAttack (Croce and Hein 2020, https://arxiv.org/abs/2003.01690) without FAB; a first step that
is exact on linear models, targets ordered by linear distance and compaction make it short.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from attacks import masking, search
from attacks.gradient import apgd, targeted
from attacks.guard import Guard, Model
from attacks.minimal import seek
from attacks.points import Points, build, check
from attacks.query import square
from attacks.search import Hunt
from attacks.threat import Threat

Effort: TypeAlias = Literal["quick", "standard", "exhaustive"]
#: an attack of the ensemble, on points none of which is broken
Stage: TypeAlias = Callable[[Guard, Points], Hunt]
_BLOCK = 2**26  # elements of inputs searched at a time; the search holds about ten copies

MISCLASSIFIED = "misclassified"


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What the attacks left standing.

    Attributes:
        adversarial: (n, ...) inputs in ball and box: the first verified success of a point, else its last attempt; the
            clean input where the model is wrong already.
        robust: bool (n,): no attack broke the point.
        clean_correct: bool (n,).
        broken_by: name of the attack that broke a point, "misclassified" where none was needed, None where robust.
        forwards: examples that entered the model, verification and probes included.
        backwards: examples whose gradient was taken.
        findings: evidence that the number is too high.
    """

    adversarial: Tensor
    robust: Tensor
    clean_correct: Tensor
    broken_by: tuple[str | None, ...]
    forwards: int
    backwards: int
    findings: tuple[masking.Finding, ...]

    @property
    def robust_accuracy(self) -> float:
        """Share of all points that stand: classified rightly, and broken by no attack."""
        return float((self.robust & self.clean_correct).double().mean())

    @property
    def trustworthy(self) -> bool:
        """Whether nothing speaks against the number."""
        return not self.findings


def evaluate(
    model: Model,
    inputs: Tensor,
    labels: Tensor,
    threat: Threat,
    effort: Effort = "standard",
    batch_size: int | None = None,
    seed: int = 0,
) -> Evaluation:
    """Attack a model with an ensemble, and say whether the result can be trusted.

    Each point's answer depends on the point and the seed alone: not on the batch size, the order, or its neighbours
    (up to the rounding of the model's own batched arithmetic).

    Args:
        model: callable from a float batch (m, ...) to (m, classes) scores, in input units. A module is put into eval
            mode for the time, and left exactly as it was.
        inputs: (n, ...) float, inside the threat's bounds.
        labels: true classes, (n,) integers.
        threat: the budget.
        effort: how long to try: "quick", "standard" or "exhaustive".
        batch_size: most examples in one call of the model; None chooses.
        seed: of every random draw.

    Raises:
        TypeError: an argument is of the wrong type.
        ValueError: an argument is out of its range, or the model's scores are not finite on the inputs.
    """
    labels = check(inputs, labels, threat, seed)
    stages = schedule(budget(effort), tuple(inputs.shape[1:]))
    with Guard(model, inputs.shape[1:], inputs.dtype, batch_size, seed) as guard, torch.no_grad():
        points = build(guard, inputs, labels, threat, seed)
        run = assault(guard, points, stages)
        fought = ~points.broken(points.scores)
        findings = masking.examine(guard, points, fought, black_box_share(run.broken_by, fought))
    clean = points.scores.argmax(1) == labels
    return Evaluation(
        adversarial=run.moved.reshape(inputs.shape),
        robust=torch.tensor([name is None for name in run.broken_by], device=inputs.device),
        clean_correct=clean,
        broken_by=run.broken_by,
        forwards=guard.forwards,
        backwards=guard.backwards,
        findings=findings,
    )


@dataclass(frozen=True, eq=False)
class Run:
    """Inputs (n, d) after all stages, and who broke each."""

    moved: Tensor
    broken_by: tuple[str | None, ...]


def assault(guard: Guard, points: Points, stages: dict[str, Stage]) -> Run:
    """Run the stages in order on whatever still stands, and believe only what a fresh forward pass confirms."""
    moved = points.raw.clone()
    already = points.broken(points.scores)
    names: list[str | None] = [MISCLASSIFIED if broken else None for broken in already.tolist()]
    standing = (~already).nonzero()[:, 0]
    size = max(_BLOCK // points.x.shape[1], 1)
    for block in torch.split(standing, size):
        for name, stage in stages.items():
            if not len(block):
                break
            here = points.take(block)
            found = stage(guard, here)
            placed = here.place(found.delta)
            moved[block] = placed
            claimed = found.broken.nonzero()[:, 0]
            if not len(claimed):
                continue
            sound = claimed[search.verify(guard, here.take(claimed), placed[claimed])]
            for row in block[sound].tolist():
                names[row] = name
            left = torch.ones_like(found.broken)
            left[sound] = False
            block = block[left]
    return Run(moved, tuple(names))


@dataclass(frozen=True)
class Budget:
    """Gradients, classes, runs and queries an effort spends on a point that withstands all.

    Attributes:
        steps: gradients of a run of Auto-PGD; restarts take twice as many.
        walk: gradients of the minimal-perturbation search.
        targets: classes aimed at in turn.
        restarts: random starts.
        queries: of the Square attack.
    """

    steps: int
    walk: int
    targets: int
    restarts: int
    queries: int


_BUDGETS = {
    "quick": Budget(steps=10, walk=20, targets=0, restarts=0, queries=50),
    "standard": Budget(steps=20, walk=40, targets=5, restarts=1, queries=500),
    "exhaustive": Budget(steps=100, walk=100, targets=9, restarts=5, queries=5000),
}


def budget(effort: Effort) -> Budget:
    """The budget of an effort; a ValueError names the efforts there are."""
    if effort not in _BUDGETS:
        raise ValueError(f"Expected effort to be one of {', '.join(_BUDGETS)}, found {effort!r}.")
    return _BUDGETS[effort]


def schedule(spend: Budget, shape: tuple[int, ...]) -> dict[str, Stage]:
    """The attacks in order, for inputs of a shape."""
    stages: dict[str, Stage] = {
        "apgd": lambda guard, points: apgd.search(guard, points, search.margin, spend.steps),
        "minimal": lambda guard, points: seek(guard, points, spend.walk),
    }
    if spend.targets:
        stages["apgd_targeted"] = lambda guard, points: targeted.search(guard, points, spend.targets, spend.steps)
    if spend.restarts:
        stages["apgd_restarts"] = lambda guard, points: apgd.search(
            guard, points, search.cross_entropy, 2 * spend.steps, spend.restarts, first=1
        )
    stages["square"] = lambda guard, points: square.search(guard, points, shape, spend.queries)
    return stages


def black_box_share(broken_by: tuple[str | None, ...], fought: Tensor) -> float:
    """Share of the attacked points, bool (n,), that only random search broke."""
    return sum(name == "square" for name in broken_by) / max(int(fought.sum()), 1)
