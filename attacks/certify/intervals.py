"""Certificates for the model itself: bounds on its scores over all inputs an attacker may choose."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from attacks.certify.ball import Ball
from attacks.certify.graph import Program, read
from attacks.certify.propagation import Network
from attacks.guard import Guard, Model
from attacks.points import check
from attacks.threat import Threat

#: examples bounded together
_ROWS = 8


@dataclass(frozen=True, eq=False)
class Bounds:
    """What is proved about each point.

    Attributes:
        certified: bool (n,): no input in ball and box changes the right answer (for a threat with a target: gives the
            target). Such a point needs no attack. A point that is not certified may still stand.
        margin: lower bound, over ball and box, of the score of the label minus the largest other score (for a target:
            minus the target's), (n,) float64. Where the scores are closed by a softmax, of the logits.
        forwards: examples that entered the model.
    """

    certified: Tensor
    margin: Tensor
    forwards: int


def certify_intervals(
    model: Model,
    inputs: Tensor,
    labels: Tensor,
    threat: Threat,
    lines: int = 2**31,
    batch_size: int = _ROWS,
) -> Bounds:
    """Bound the scores over ball and box, and certify the points whose answer cannot change.

    The model's operations are recorded on one batch, and each is bounded: first by intervals (Gowal et al. 2018,
    https://arxiv.org/abs/1810.12715), then, for what intervals leave open, by straight lines carried back to the input
    (Zhang et al. 2018, https://arxiv.org/abs/1811.00866, with their adaptive lower slope for ReLU). The last layer is
    bounded as differences of two scores. Bounds are computed in float64 and widened by an upper bound of the rounding
    in the model's own arithmetic, for sums in any order (Higham 2002, section 3.1), so that what is proved holds for
    the model as it runs, not only for the real numbers it stands for. Products of two moving tensors, as in attention,
    have no rule.

    Args:
        model: callable from a float batch (m, ...) to (m, classes) scores.
        inputs: (n, ...) float, inside the threat's bounds.
        labels: true classes, (n,) integers.
        threat: the budget, in any norm; for other norms than linf, `lines` makes the difference.
        lines: at most this many inputs of each bend are bounded by lines too, those first whose relaxation is widest;
            0 leaves it at intervals, which is quick and very loose on models not trained for it.
        batch_size: examples bounded together.

    Raises:
        TypeError: an argument is of the wrong type.
        ValueError: an argument is out of its range, or an operation of the model has no rule (it is named).
    """
    labels = check(inputs, labels, threat, 0)
    target = None if threat.target is None else torch.as_tensor(threat.target, device=labels.device).expand(len(labels))
    size = min(batch_size, len(inputs))
    with Guard(model, inputs.shape[1:], inputs.dtype) as guard, torch.no_grad():
        program = read(model, inputs[:size].detach())
        network = Network(program, torch.float64 if inputs.dtype == torch.float64 else torch.float32)
        margins = []
        for start in range(0, len(inputs), size):
            # operations are recorded for one batch size: the last batch is filled up
            rows = torch.arange(start, start + size, device=inputs.device).clamp(max=len(inputs) - 1)
            aims = None if target is None else target[rows]
            found = _margins(program, network, inputs[rows], labels[rows], aims, threat, lines)
            margins.append(found[: len(inputs) - start])
        forwards = guard.forwards + 3 * size  # recorded, and held against the record twice
    margin = torch.cat(margins)
    return Bounds(certified=margin > program.slack, margin=margin, forwards=forwards)


def _margins(
    program: Program,
    network: Network,
    inputs: Tensor,
    labels: Tensor,
    target: Tensor | None,
    threat: Threat,
    lines: int,
) -> Tensor:
    """Lower bounds of the label's lead over each other class, the least of them, (m,) float64."""
    ball = Ball.around(inputs, threat)
    network.run(ball, lines)
    low, high = network.result()
    rows, classes = torch.arange(len(low), device=low.device), low.shape[1]
    if int(labels.max()) >= classes or int(labels.min()) < 0:
        raise ValueError(
            f"Expected labels between 0 and {classes - 1}, the model's classes, found {int(labels.min())} to "
            f"{int(labels.max())}; try a model with as many outputs as classes."
        )
    rivals = torch.arange(classes, device=low.device)[:, None] if target is None else target[None]
    rivals = rivals.expand(-1, len(rows))
    lead = low[rows, labels] - high[rows, rivals]  # (rivals, m)
    if lines:
        spec = torch.zeros(*rivals.shape, classes, dtype=low.dtype, device=low.device)
        spec[:, rows, labels] += 1
        spec.scatter_add_(2, rivals[:, :, None], -torch.ones_like(spec))
        lead = torch.maximum(lead, network.lower(program.output, spec, ball))
    margin = lead.masked_fill(rivals == labels, torch.inf).amin(0)
    return margin.nan_to_num(nan=-torch.inf)
