"""Whether a finished run can be trusted, and what to try where it cannot."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from attacks import control, masking
from attacks.control import Control
from attacks.ensemble import Budget, Effort, Run, Stage, assault, black_box_share, budget, schedule
from attacks.guard import Guard
from attacks.points import Points
from attacks.query import hop_skip_jump, smoothed, square, surrogate
from attacks.threat import Norm

#: stages that never ask for a gradient
_BLACK_BOX = "square"


@dataclass(frozen=True)
class Trial:
    """Evidence about a run.

    Attributes:
        control: what the attack found of what was planted.
        findings: what speaks against the number.
    """

    control: Control
    findings: tuple[masking.Finding, ...]

    @property
    def blinded(self) -> bool:
        """Whether attacks that need no gradient should have their turn."""
        return any(sign.name not in (masking.UNCONVERGED, masking.STOCHASTIC) for sign in self.findings)


def examine(
    guard: Guard,
    points: Points,
    broken_by: tuple[str | None, ...],
    effort: Effort,
    probed: Points | None = None,
) -> Trial:
    """Put a run to the test.

    Args:
        guard: the guard of the run, with its counts.
        points: all rows of the run.
        broken_by: who broke each, None where it stands; "misclassified" ones were not attacked.
        effort: of the run.
        probed: the same rows at a smaller budget, where a gradient must keep its promises; None: at their own, where
            more steps are tried on points that stand.
    """
    attacked = ~points.broken(points.scores)
    stands = torch.tensor([name is None for name in broken_by], device=attacked.device) & attacked
    tried = control.measure(guard, points.take(attacked.nonzero()[:, 0]), control_stages(points))
    if not bool(stands.any()) and guard.draws == 1:
        return Trial(tried, ())  # no number is lower
    findings = masking.examine(
        guard,
        points if probed is None else probed,
        attacked,
        black_box_share(broken_by, attacked),
        stands if probed is None else None,
        budget(effort).steps,
        tried,
    )
    return Trial(tried, findings)


def gradient_stages(spend: Budget, points: Points) -> dict[str, Stage]:
    """The schedule's gradient attacks, for these rows with one more element."""
    stages = schedule(spend, (points.x.shape[1] + 1,))
    return {name: stage for name, stage in stages.items() if name != _BLACK_BOX}


def control_stages(points: Points) -> dict[str, Stage]:
    """What must find the planted examples: the first attack alone, for its failure is no less for being made up later.

    In l1 and l0 a few elements matter, and which is a question of combinations that one attack cannot be sure to
    answer: there all gradient attacks are called on.
    """
    if points.norm not in control.DENSE:
        return gradient_stages(budget("standard"), points)
    return dict([next(iter(gradient_stages(budget("quick"), points).items()))])


@dataclass(frozen=True)
class _Patience:
    """What a point that withstood a suspect run is worth.

    Attributes:
        lessons: queries of the substitute.
        steps: estimated gradients at each width.
        moves: pairs of queries an estimated gradient takes.
        squares: queries of the Square attack.
        walks: moves along the boundary, by decisions alone.
    """

    lessons: int
    steps: int
    moves: int
    squares: int
    walks: int


_PATIENCE = {
    "quick": _Patience(lessons=48, steps=10, moves=32, squares=300, walks=5),
    "standard": _Patience(lessons=128, steps=20, moves=24, squares=2000, walks=16),
    "exhaustive": _Patience(lessons=256, steps=40, moves=48, squares=10000, walks=40),
}


def remedies(effort: Effort, norm: Norm, shape: tuple[int, ...]) -> dict[str, Stage]:
    """Attacks that believe scores and decisions only, in order, for inputs of a shape."""
    patience = _PATIENCE[effort]
    stages: dict[str, Stage] = {
        "surrogate": lambda guard, points: surrogate.search(guard, points, shape, patience.lessons),
        "smoothed": lambda guard, points: smoothed.search(guard, points, patience.steps, patience.moves),
        "square_longer": lambda guard, points: square.search(guard, points, shape, patience.squares),
    }
    if norm in ("linf", "l2"):
        stages["hop_skip_jump"] = lambda guard, points: hop_skip_jump.walk(guard, points, patience.walks)
    return stages


def deepen(guard: Guard, points: Points, run: Run, stages: dict[str, Stage]) -> Run:
    """Run further stages on what stands, and return the whole run."""
    rows = [row for row, name in enumerate(run.broken_by) if name is None]
    if not rows:
        return run
    again = assault(guard, points.take(torch.tensor(rows, device=points.x.device)), stages)
    moved, names = run.moved.clone(), list(run.broken_by)
    for place, (row, name) in enumerate(zip(rows, again.broken_by, strict=True)):
        if name is not None:
            moved[row], names[row] = again.moved[place], name
    return replace(run, moved=moved, broken_by=tuple(names))
