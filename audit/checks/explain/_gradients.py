"""Methods that differentiate the score, summed over players. Imports torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from audit.checks.explain._attributions import Attributions, Request, Values
from audit.checks.explain._players import Group, groups_of, log_odds, names_of
from audit.explainers.attribution import CompletenessError
from audit.explainers.integrated_gradients import integrate
from audit.explainers.saliency import at_inputs
from audit.explainers.segments import blur, masked_tokens
from audit.subject import Modality, Subject

Score = Callable[[Tensor, Tensor], Tensor]

#: points on a path at first and at most; they go where the model bends, so few examples need many
START, MOST = 16, 4096
#: largest relative error of what must add up
TOLERANCE = 1e-3


def from_gradients(name: str, request: Request) -> Attributions:
    """Attributions by a gradient method."""
    subject, data, targets = request.subject, request.data, request.targets
    points, baselines, score = _differentiable(request)
    error = None
    base = np.full(len(data), np.nan)
    full = log_odds(subject.scores(data), targets).double().numpy()
    if name == "integrated_gradients":
        path = integrate(score, points, baselines, START, MOST, TOLERANCE)
        elements, error, spent = path.values.numpy(), path.error.numpy(), path.steps
        if error.max() > TOLERANCE:
            raise CompletenessError(
                f"integrated_gradients: Expected values that add up to the change in log-odds within {TOLERANCE:g} of it, "
                f"found an error of {error.max():.2g} in example {error.argmax()} after {spent} points; try kernel_shap."
            )
        base, full = path.base.numpy(), path.full.numpy()
    else:
        elements, spent = at_inputs(score, points).abs().numpy(), 1
    groups = groups_of(subject, data, request.background)
    values = _summed(subject, request, groups, elements)
    shown = elements if subject.text is None else None
    return Attributions(
        name, values, values, values, names_of(groups, len(data)), base, full, spent, error=error, elements=shown
    )


def _differentiable(request: Request) -> tuple[Tensor, Tensor, Score]:
    """Points, baselines and the score whose gradient is taken; for texts at the embeddings, padded to the longest."""
    subject, data, background = request.subject, request.data, request.background
    targets = request.targets.to(subject.device)
    text = subject.text
    if text is not None:
        assert isinstance(data.inputs, list)
        encoded = text.encode(data.inputs)
        ids, mask = encoded.ids.to(subject.device), encoded.mask.to(subject.device)
        empty = torch.where(mask.bool(), masked_tokens(ids, text.special_ids, text.mask_id), ids)
        with torch.no_grad():
            points, baselines = text.embed(ids), text.embed(empty)

        def of_embeddings(batch: Tensor, rows: Tensor) -> Tensor:
            return log_odds(text.from_embeddings(batch, mask[rows]), targets[rows])

        return points, baselines, of_embeddings
    assert isinstance(data.inputs, Tensor) and isinstance(background.inputs, Tensor)
    points = data.inputs.to(subject.device)
    if subject.modality is Modality.IMAGE:
        baselines = blur(points)
    else:
        baselines = background.inputs.mean(dim=0, keepdim=True).to(subject.device)

    def of_inputs(batch: Tensor, rows: Tensor) -> Tensor:
        return log_odds(subject.model(batch), targets[rows])

    return points, baselines, of_inputs


def _summed(subject: Subject, request: Request, groups: Sequence[Group], elements: NDArray[np.float64]) -> Values:
    """Values of elements (embeddings: of positions) added up over each player."""
    if subject.text is not None:
        assert isinstance(request.data.inputs, list)
        mask = subject.text.encode(request.data.inputs).mask.bool().cpu().numpy()
        of_position = elements.sum(axis=2)
        return tuple(of_position[i][mask[i]][group.features.numpy() >= 0] for i, group in enumerate(groups))
    (group,) = groups
    member = np.eye(len(group.names))[group.features.numpy().ravel()]
    return tuple(elements.reshape(len(elements), -1) @ member)
