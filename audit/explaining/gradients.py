"""Methods that differentiate the score, summed over players. Imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from audit.explainers.deep_lift import lift
from audit.explainers.grad_cam import cam, find_layer
from audit.explainers.gradient_shap import REPEATS, Parts, expected
from audit.explainers.gradients import Found, Score, complete, guarded, score_and_gradient
from audit.explainers.integrated_gradients import integrate
from audit.explainers.noise_tunnel import noise_tunnel
from audit.explainers.saliency import at_inputs
from audit.explainers.segments import blur, masked_tokens
from audit.explaining.attributions import Attributions, Request, Values
from audit.explaining.players import Group, groups_of, log_odds, names_of
from audit.subject import Modality, Subject

#: values, low and high ends, and the gradients taken
Columns: TypeAlias = tuple[tuple[Tensor, Tensor, Tensor], int]

#: points on a path at first and at most; they go where the model bends, so few examples need many
START, MOST = 16, 4096
#: largest relative error of what must add up
TOLERANCE = 1e-3
#: coalitions for the price of a gradient
GRADIENT = 4


#: noisy copies of an example, and the noise as a share of the inputs' range or, in tables, deviation
COPIES, NOISE = 32, 0.1


def from_gradients(name: str, request: Request) -> Attributions:
    """Attributions by a gradient method.

    Raises:
        CompletenessError: it promises to add up, and does not on this model.
    """
    subject, data = request.subject, request.data
    groups = groups_of(subject, data, request.background)
    points, baselines, score = _differentiable(request)
    sums = _sums(subject, groups)
    error = None
    base = np.full(len(data), np.nan)
    full = log_odds(subject.scores(data), request.targets).double().numpy()
    with guarded(subject.model, points):
        if name in PROMISING:
            found = PROMISING[name](score, points, baselines, request, sums)
            if request.complete:
                complete(name, found.error, TOLERANCE, f"{found.evaluations} gradients were taken; try kernel_shap.")
            base, full, error, spent = found.base.numpy(), found.full.numpy(), found.error.numpy(), found.evaluations
            columns = (found.values, found.low, found.high)
        else:
            columns, spent = MAPS[name](score, points, request, sums)
    elements = points[0].numel()
    values, low, high = (_of_players(subject, request, groups, c.flatten(1)[:, elements:].numpy()) for c in columns)
    shown = columns[0].flatten(1)[:, :elements].reshape(points.shape).numpy() if subject.text is None else None
    return Attributions(
        name, values, low, high, names_of(groups, len(data)), base, full, spent, error=error, elements=shown
    )


def _integrated(score: Score, points: Tensor, baselines: Tensor, request: Request, sums: Parts) -> Found:
    most = MOST if request.complete else max(START, GRADIENT * request.evaluations)
    return _summed(integrate(score, points, baselines, START, most, TOLERANCE), sums)


def _deep_lift(score: Score, points: Tensor, baselines: Tensor, request: Request, sums: Parts) -> Found:
    def scores(batch: Tensor, rows: Tensor) -> Tensor:
        return score(batch, rows).unsqueeze(1)

    (found,) = lift(scores, points, baselines.expand_as(points).unsqueeze(1), TOLERANCE)
    return _summed(found, sums)


def _gradient_shap(score: Score, points: Tensor, baselines: Tensor, request: Request, sums: Parts) -> Found:
    """Tables and pictures start from background rows, a text from itself without words."""
    background = baselines.unsqueeze(1)
    if request.subject.text is None:
        assert isinstance(request.background.inputs, Tensor)
        background = request.background.inputs.to(points)
    # a coalition of a table costs a row of the model for each background row, elsewhere one
    price = 1 if request.subject.modality is Modality.TABULAR else GRADIENT
    draws = max(REPEATS, request.evaluations // price)
    return expected(score, points, background, draws, request.seed, sums)


def _summed(found: Found, sums: Parts) -> Found:
    values = sums(found.values)
    return replace(found, values=values, low=values, high=values)


def _saliency(score: Score, points: Tensor, request: Request, sums: Parts) -> Columns:
    values = sums(at_inputs(score, points).abs())
    return (values, values, values), 1


def _smooth_grad(score: Score, points: Tensor, request: Request, sums: Parts) -> Columns:
    """The mean magnitude of the gradient near the example."""
    background = request.background.inputs
    if request.subject.modality is Modality.TABULAR:
        assert isinstance(background, Tensor)
        spread = background.to(points).std(0, correction=0, keepdim=True)
    else:
        flat = points.flatten(1)
        spread = (flat.max(1).values - flat.min(1).values).reshape(-1, *[1] * (points.ndim - 1))

    def explain(noisy: Tensor, rows: Tensor) -> Tensor:
        return sums(score_and_gradient(score, noisy, rows)[1].abs().to("cpu", torch.float64))

    found = noise_tunnel(explain, points, COPIES, NOISE * spread, seed=request.seed)
    return (found.values, found.low, found.high), COPIES


def _grad_cam(score: Score, points: Tensor, request: Request, sums: Parts) -> Columns:
    model = request.subject.model
    values = sums(cam(score, points, find_layer(model, lambda: model(points[:1].clone()))))
    return (values, values, values), 1


PROMISING = {"integrated_gradients": _integrated, "deep_lift": _deep_lift, "gradient_shap": _gradient_shap}
MAPS = {"saliency": _saliency, "smooth_grad": _smooth_grad, "grad_cam": _grad_cam}


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


def _sums(subject: Subject, groups: Sequence[Group]) -> Parts:
    """Maps (m, ...) to their elements and, behind them, what intervals are wanted of: sums over players, or positions."""
    if subject.text is not None:
        return lambda maps: torch.cat([maps.flatten(1), maps.sum(2)], dim=1)
    (group,) = groups
    player = group.features.flatten().cpu().long()
    mine = torch.nonzero(player >= 0).squeeze(1)

    def sums(maps: Tensor) -> Tensor:
        flat = maps.flatten(1)
        of_players = flat.new_zeros(len(flat), len(group.names)).index_add_(1, player[mine], flat[:, mine])
        return torch.cat([flat, of_players], dim=1)

    return sums


def _of_players(subject: Subject, request: Request, groups: Sequence[Group], sums: NDArray[np.float64]) -> Values:
    """One row of sums an example to the values of its own players."""
    if subject.text is None:
        return tuple(sums)
    assert isinstance(request.data.inputs, list)
    mask = subject.text.encode(request.data.inputs).mask.bool().cpu().numpy()
    return tuple(row[own][group.features.numpy() >= 0] for row, own, group in zip(sums, mask, groups, strict=True))
