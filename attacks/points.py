"""The attacked examples as flat rows, with everything that belongs to a row beside it."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Self

import torch
from torch import Tensor

from attacks import losses, noise, norms
from attacks.guard import Guard
from attacks.threat import Norm, Threat

#: the ball is shrunk by this share, so that a caller's own check in float32 cannot fail by rounding
SLACK = 1e-6


@dataclass(frozen=True, eq=False)
class Points:
    """Rows under attack.

    Attributes:
        norm: of the ball.
        raw: inputs as given, (m, d).
        x: the same in the search's precision.
        label: (m,) int64.
        eps: radius of the ball, (m,) float64.
        down: how far an element may fall, at most 0, (m, d).
        up: how far an element may rise, at least 0, (m, d).
        key: what random draws derive from, (m,) int64.
        goal: class the threat wants, (m,) or None: any wrong one.
        aim: class a targeted loss aims at, (m,) or None; any success counts all the same.
        aims: classes to aim at in turn, (m, targets) or None.
        start: strongest perturbation so far, (m, d) or None.
        scale: spread of the clean scores, (m,).
        scores: clean scores, (m, classes).
    """

    norm: Norm
    raw: Tensor
    x: Tensor
    label: Tensor
    eps: Tensor
    down: Tensor
    up: Tensor
    key: Tensor
    goal: Tensor | None
    aim: Tensor | None
    aims: Tensor | None
    start: Tensor | None
    scale: Tensor
    scores: Tensor

    def __len__(self) -> int:
        return len(self.x)

    def take(self, rows: Tensor) -> Self:
        """The same for some rows (indices or mask)."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        chosen: dict[str, Any] = {name: v[rows] for name, v in values.items() if isinstance(v, Tensor)}
        return replace(self, **chosen)

    def within(self, eps: Tensor) -> Self:
        """The same rows with another radius each, (m,)."""
        return replace(self, eps=eps)

    def aiming(self, aim: Tensor) -> Self:
        """The same rows, each with a class to aim at, (m,)."""
        return replace(self, aim=aim)

    def towards(self, aims: Tensor) -> Self:
        """The same rows, each with classes to aim at in turn, (m, targets)."""
        return replace(self, aims=aims)

    def starting(self, start: Tensor) -> Self:
        """The same rows, each with its strongest perturbation so far, (m, d)."""
        return replace(self, start=start)

    @property
    def radius(self) -> Tensor:
        """Radius the search keeps to, (m,)."""
        return (self.eps if self.norm == "l0" else self.eps * (1 - SLACK)).to(self.x.dtype)

    def broken(self, scores: Tensor) -> Tensor:
        """Bool (m,): the attacker has what he wants. NaN scores are no success."""
        decision = scores.argmax(1)
        hit = decision != self.label if self.goal is None else decision == self.goal
        return hit & ~scores.isnan().any(1)

    def margin(self, scores: Tensor) -> Tensor:
        """The loss whose sign is the decision, (m,); NaN scores are the worst."""
        return losses.margin(scores, self.label, self.goal).nan_to_num(nan=-torch.inf, posinf=torch.inf)

    def project(self, delta: Tensor) -> Tensor:
        """The nearest perturbation in ball and box."""
        return norms.project(delta, self.norm, self.radius, self.down, self.up)

    def vertex(self, gradient: Tensor) -> Tensor:
        """The perturbation in ball and box that goes farthest along the gradient."""
        return norms.vertex(gradient, self.norm, self.radius, self.down, self.up)

    def sample(self, stream: noise.Stream) -> Tensor:
        """A random perturbation in ball and box."""
        return norms.sample(self.key, stream, self.norm, self.radius, self.down, self.up)

    def usable(self, gradient: Tensor, stream: noise.Stream) -> Tensor:
        """The gradient on the elements that may move; where it vanishes, a random direction."""
        free = self.up > self.down
        gradient = gradient.masked_fill(~free, 0)
        lost = (gradient == 0).all(1)
        if not bool(lost.any()):
            return gradient
        random = noise.normal(self.key, stream, gradient.shape[1], gradient.dtype).masked_fill(~free, 0)
        return torch.where(lost[:, None], random, gradient)

    def at(self, delta: Tensor) -> Tensor:
        """What the search shows the model, (m, d): in half precision already the rounded inputs `place` returns."""
        return self.x + delta if self.raw.dtype == self.x.dtype else self.place(delta).to(self.x.dtype)

    def place(self, delta: Tensor) -> Tensor:
        """Inputs moved by delta, (m, d), in the inputs' own precision.

        Rounding goes towards the clean input, element by element, so nothing leaves the ball or the box by rounding.
        """
        wish = delta.double()
        if self.norm in ("l2", "l1"):
            excess = norms.size(wish, self.norm) / self.eps.clamp(min=torch.finfo(torch.float64).tiny)
            wish = wish / excess.clamp(min=1)[:, None]
        wish = torch.minimum(torch.maximum(wish, self.down.double()), self.up.double())
        clean = self.raw.double()
        moved = (clean + wish).to(self.raw.dtype)
        over = (moved.double() - clean).abs() > wish.abs()
        return torch.where(over, torch.nextafter(moved, self.raw), moved)


def build(guard: Guard, inputs: Tensor, labels: Tensor, threat: Threat, seed: int) -> Points:
    """Flatten valid inputs, pass them through the model once, and refuse scores no attack can work on.

    Raises:
        ValueError: NaN or infinite scores on clean inputs, labels or targets outside the classes.
    """
    raw = inputs.detach().clone().flatten(1)  # a clone leaves inference mode
    x = raw.to(torch.promote_types(raw.dtype, torch.float32))
    scores = guard.scores(x)
    _check_scores(scores)
    classes = scores.shape[1]
    goal = _goal(threat, labels)
    for name, index in (("labels", labels), ("target", goal)):
        if index is not None and not bool(((index >= 0) & (index < classes)).all()):
            raise ValueError(
                f"Expected {name} between 0 and {classes - 1}, the model's classes, found "
                f"{int(index.min())} to {int(index.max())}; try a model with as many outputs as classes."
            )
    if bool((scores >= 0).all()) and bool(((scores.sum(1) - 1).abs() < 1e-3).all()):
        guard.treat_as_probabilities()
        scores = scores.clamp_min(torch.finfo(scores.dtype).tiny).log()
    low, high = (_limit(bound, inputs).to(x) for bound in threat.bounds)
    down, up = (low - x).clamp(max=0), (high - x).clamp(min=0)
    if threat.mutable is not None:
        fixed = ~threat.mutable.to(x.device).flatten()
        down, up = down.masked_fill(fixed, 0), up.masked_fill(fixed, 0)
    eps = torch.full((len(x),), threat.eps, dtype=torch.float64, device=x.device)
    return Points(
        norm=threat.norm,
        raw=raw,
        x=x,
        label=labels,
        eps=eps,
        down=down,
        up=up,
        key=noise.keys(raw, labels, seed),
        goal=goal,
        aim=None,
        aims=None,
        start=None,
        scale=losses.spread(scores),
        scores=scores,
    )


def check(inputs: Tensor, labels: Tensor, threat: Threat, seed: int) -> Tensor:
    """Refuse arguments no attack can work on; return the labels as int64 beside the inputs.

    Raises:
        TypeError: an argument is of the wrong type.
        ValueError: an argument is out of its range; the message names it.
    """
    if not isinstance(threat, Threat):
        raise TypeError(f"Expected threat to be an attacks.Threat, found {type(threat).__name__}.")
    for name, value in (("inputs", inputs), ("labels", labels)):
        if not isinstance(value, Tensor):
            raise TypeError(f"Expected {name} to be a torch tensor, found {type(value).__name__}; try torch.as_tensor.")
    if not inputs.is_floating_point():
        raise TypeError(f"Expected inputs of a float type, found {inputs.dtype}; try inputs.float().")
    if inputs.ndim < 2 or inputs.numel() == 0:
        raise ValueError(f"Expected inputs of shape (n, ...) with at least one element, found {tuple(inputs.shape)}.")
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise TypeError(f"Expected labels of an integer type, found {labels.dtype}; try labels.long().")
    if labels.shape != inputs.shape[:1]:
        raise ValueError(f"Expected labels of shape ({len(inputs)},), one an input, found {tuple(labels.shape)}.")
    if not isinstance(seed, int):
        raise TypeError(f"Expected seed to be an integer, found {type(seed).__name__}.")
    if not bool(inputs.isfinite().all()):
        raise ValueError("Expected finite inputs, found NaN or infinity; try to impute missing values first.")
    low, high = (_limit(bound, inputs) for bound in threat.bounds)
    flat = inputs.flatten(1)
    if not bool(((flat >= low) & (flat <= high)).all()):
        raise ValueError(
            f"Expected inputs inside bounds, found values from {float(flat.min()):g} to {float(flat.max()):g} outside "
            f"them; try bounds that hold the inputs, or put the normalisation inside the model."
        )
    if threat.norm == "l0" and not all(bool(_limit(bound, inputs).isfinite().all()) for bound in threat.bounds):
        raise ValueError("Expected finite bounds for the norm l0, whose elements move as far as they may.")
    if threat.mutable is not None and threat.mutable.dtype != torch.bool:
        raise TypeError(f"Expected mutable to be a bool mask, found {threat.mutable.dtype}; try mutable.bool().")
    if threat.mutable is not None and threat.mutable.shape != inputs.shape[1:]:
        raise ValueError(
            f"Expected mutable shaped like one input, {tuple(inputs.shape[1:])}, found {tuple(threat.mutable.shape)}."
        )
    return labels.to(device=inputs.device, dtype=torch.int64)


def _limit(bound: float | Tensor, inputs: Tensor) -> Tensor:
    """One bound for each element of a flat input, (d,), in the inputs' precision."""
    shape = inputs.shape[1:]
    tensor = torch.as_tensor(bound, dtype=inputs.dtype, device=inputs.device)
    try:
        return tensor.expand(shape).reshape(-1)
    except RuntimeError:
        raise ValueError(
            f"Expected bounds shaped like one input, {tuple(shape)}, found {tuple(tensor.shape)}."
        ) from None


def _goal(threat: Threat, labels: Tensor) -> Tensor | None:
    if threat.target is None:
        return None
    goal = torch.as_tensor(threat.target, device=labels.device).long()
    if goal.ndim > 0 and goal.shape != labels.shape:
        raise ValueError(f"Expected target to be one class or of shape ({len(labels)},), found {tuple(goal.shape)}.")
    goal = goal.expand(len(labels))
    if bool((goal == labels).any()):
        raise ValueError("Expected target to differ from labels, found rows where they agree; try to leave those out.")
    return goal


def _check_scores(scores: Tensor) -> None:
    bad = int((~scores.isfinite()).any(1).sum())
    if bad:
        raise ValueError(
            f"Expected model to return finite scores on the clean inputs, found NaN or infinity on {bad} of "
            f"{len(scores)}; try to check the weights and the normalisation."
        )
