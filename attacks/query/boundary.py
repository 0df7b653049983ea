"""Boundary attack: a random walk along the boundary, by foolbox.

Brendel, Rauber, Bethge 2018, https://arxiv.org/abs/1712.04248. The walk is foolbox's. What surrounds it is not: its
start gives up a whole batch where one point has none, its model wrapper moves everything to a GPU it finds, and its
criterion takes NaN scores for a success. So the starts are our own, points without one stay out, and foolbox sees a
model with two scores, "stands" and "broken". The draws, which all points of a batch share, come from the global
generator, seeded and later restored by the guard.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from attacks import norms, search
from attacks.guard import Guard, Model
from attacks.points import Points
from attacks.query import start
from attacks.threat import Threat

_STREAM = 10


def boundary(
    model: Model,
    inputs: Tensor,
    labels: Tensor,
    threat: Threat,
    steps: int = 5000,
    restarts: int = 1,
    seed: int = 0,
    batch_size: int | None = None,
) -> Tensor:
    """Walk along the boundary at random, nearer and nearer to the clean input, seeing only which class wins.

    Args:
        model: see `attacks.search.solo`, as for all further arguments; gradients are never asked for.
        inputs: (n, ...) float.
        labels: (n,) integers.
        threat: norm l2; all elements that may move share the same bounds.
        steps: moves a run, one query each and every tenth two.
        restarts: runs, from one random start each.
        seed: of the starts and moves.
        batch_size: most examples in one call.

    Returns:
        (n, ...) in ball and box: the smallest success where it fits, else the attempt drawn inside.

    Raises:
        TypeError: an argument is of the wrong type.
        ValueError: an argument is out of its range, or the model's scores are not finite on the inputs.
    """
    search.count("steps", steps), search.count("restarts", restarts)
    search.knows("boundary", threat, ("l2",))
    return search.solo(
        search.smallest(
            lambda guard, points, _, restart: _run(guard, points, threat, steps, restart, seed), restarts, _STREAM
        ),
        model, inputs, labels, threat, seed, batch_size,
    )  # fmt: skip


def _run(guard: Guard, points: Points, threat: Threat, steps: int, restart: int, seed: int) -> tuple[Tensor, Tensor]:
    oracle = _Oracle(guard, points, threat)
    delta, found = start.find(guard, points, (_STREAM, restart))
    sizes = torch.where(found, norms.size(delta, points.norm), torch.inf)
    rows = found.nonzero()[:, 0]
    if len(rows) and int(oracle.free.sum()) > 1:  # there is no walking along a boundary that is a point
        _seed(seed + restart, delta.device)
        delta[rows] = oracle.take(rows).walk(delta[rows], steps)
        sizes[rows] = norms.size(delta[rows], points.norm)
    return delta, sizes


class _Bounds(NamedTuple):
    lower: float
    upper: float


class _Oracle:
    """What foolbox takes for a model: from the elements that may move, (m, d), to scores of "stands" and "broken"."""

    def __init__(self, guard: Guard, points: Points, threat: Threat) -> None:
        self.guard, self.points, self.threat = guard, points, threat
        width = points.x.shape[1]
        whole = torch.ones(width, dtype=torch.bool) if threat.mutable is None else threat.mutable.flatten()
        self.free = whole.to(points.x.device)
        limits = []
        for bound in threat.bounds:
            tensor = torch.as_tensor(bound, dtype=points.raw.dtype)
            if bool((tensor != tensor.flatten()[0]).any()):
                raise ValueError("Expected threat.bounds the same for all elements for boundary; try hop_skip_jump.")
            limits.append(float(tensor.flatten()[0]))
        self.bounds = _Bounds(*limits)

    def take(self, rows: Tensor) -> _Oracle:
        return _Oracle(self.guard, self.points.take(rows), self.threat)

    def walk(self, delta: Tensor, steps: int) -> Tensor:
        """The end of a walk from successes (m, d)."""
        from foolbox.attacks.boundary_attack import BoundaryAttack

        clean, model = self.points.x[:, self.free], cast("Any", self)
        moved = BoundaryAttack(steps=steps).run(
            model, clean, torch.zeros_like(self.points.label), starting_points=clean + delta[:, self.free]
        )
        return self._delta(moved)

    def __call__(self, inputs: Any) -> Any:
        from eagerpy.astensor import astensor_

        moved, restore = astensor_(inputs)
        broken = self.points.broken(self.guard.scores(self.points.at(self._delta(moved.raw))))
        return restore(type(moved)(torch.stack([~broken, broken], dim=1).to(moved.raw)))

    def _delta(self, moved: Tensor) -> Tensor:
        delta = torch.zeros_like(self.points.x)
        delta[:, self.free] = moved - self.points.x[:, self.free]
        return delta.clamp(self.points.down, self.points.up)


def _seed(seed: int, device: torch.device) -> None:
    """Seed the generators foolbox draws from; the guard puts them back."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed_all(seed)
