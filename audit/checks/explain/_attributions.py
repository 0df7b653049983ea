"""Attributions of audited rows, the same way for tables, pictures and texts.

What is explained is the log-odds of one fixed class an example, log p/(1 − p): unlike a probability it does not
saturate, and unlike a logit it does not move when all logits do. Players are a table's features (a one-hot group is
one), a picture's grid cells, a text's tokens without the special ones. A removed player is replaced by the background
rows (tables: the mean score over them), by the picture's own blur, or by the mask token. Integrated gradients start
from the mean background row, the blur, or the mask token's embeddings, and are summed over each player.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from audit.checks.explain._players import Group, classes_of, groups_of, log_odds, names_of, remove
from audit.subject import Capability, Modality

if TYPE_CHECKING:
    from torch import Tensor

    from audit.datasets import Dataset
    from audit.subject import Subject

    Score = Callable[[Tensor, Tensor], Tensor]

#: "saliency" and "attention_rollout" have no sign; "random" is the ranking that knows nothing
METHODS = ("kernel_shap", "lime", "integrated_gradients", "saliency", "attention_rollout", "random")

#: points on a path at first, and at most for each evaluation asked for (a gradient costs about as much as the
#: coalition rows it replaces)
START, POINTS = 16, 4

__all__ = ["METHODS", "Attributions", "applicable", "attribute", "log_odds", "remove"]

Values = tuple[NDArray[np.float64], ...]


@dataclass(frozen=True)
class Attributions:
    """Attributions of n examples, each to its own players.

    Attributes:
        method: one of `METHODS`.
        values: for each example (players,).
        low: lower ends of the 95 % intervals; equal to `values` for methods that sample nothing.
        high: upper ends.
        names: for each example the names of its players.
        base: (n,) log-odds without any player; NaN for methods without a base.
        full: (n,) log-odds of the example.
        evaluations: coalitions or path points spent on an example.
        fit: LIME: (n,) weighted R²; else None.
        error: integrated gradients: (n,) relative completeness error; else None.
        elements: gradient methods on tables and pictures: (n, ...) one value an input element; else None.
    """

    method: str
    values: Values
    low: Values
    high: Values
    names: tuple[tuple[str, ...], ...]
    base: NDArray[np.float64]
    full: NDArray[np.float64]
    evaluations: int
    fit: NDArray[np.float64] | None = None
    error: NDArray[np.float64] | None = None
    elements: NDArray[np.float64] | None = None


def applicable(method: str, subject: Subject) -> bool:
    """Whether the subject allows the method; rollout is meant for texts, where a player is a token.

    Raises:
        ValueError: there is no such method.
    """
    if method not in METHODS:
        raise ValueError(f"method: Expected one of {METHODS}, found {method!r}.")
    if method in ("integrated_gradients", "saliency"):
        needed = {Capability.INPUT_GRADIENT}
        if subject.modality is Modality.TEXT:
            needed.add(Capability.EMBEDDINGS)
        return needed <= subject.capabilities
    if method == "attention_rollout":
        return Capability.ATTENTION in subject.capabilities and subject.text is not None
    return True


def attribute(
    method: str,
    subject: Subject,
    data: Dataset,
    targets: Tensor,
    rng: np.random.Generator,
    background: Dataset,
    evaluations: int,
) -> Attributions:
    """Attribute the log-odds of one class an example to its players.

    Args:
        method: one of `METHODS` that is `applicable`.
        subject: the model.
        data: the n examples.
        targets: (n,) int64, the class explained for each.
        rng: source of the coalitions.
        background: rows that stand for "removed" (tables; each costs one model row a coalition). Pictures and texts
            bring their own and do not look at it.
        evaluations: coalitions an example (raised to what the number of players needs), or a quarter of the most points on a path.
    """
    seed = int(rng.integers(2**31))
    if method in ("kernel_shap", "lime"):
        return _from_game(method, subject, data, targets, background, evaluations, seed)
    if method in ("integrated_gradients", "saliency"):
        return _from_gradients(method, subject, data, targets, background, evaluations)
    groups = groups_of(subject, data, background)
    names = names_of(groups, len(data))
    if method == "random":
        values: Values = tuple(rng.standard_normal(len(of_row)) for of_row in names)
    elif method == "attention_rollout":
        values = _rollout(subject, data)
    else:
        raise ValueError(f"method: Expected one of {METHODS}, found {method!r}.")
    nothing = np.full(len(data), np.nan)
    full = log_odds(subject.scores(data), targets).double().numpy()
    return Attributions(method, values, values, values, names, nothing, full, 0)


def _from_game(
    method: str, subject: Subject, data: Dataset, targets: Tensor, background: Dataset, evaluations: int, seed: int
) -> Attributions:
    from audit import explainers
    from audit.explainers.coalitions import least

    explain = explainers.kernel_shap if method == "kernel_shap" else explainers.lime
    groups = groups_of(subject, data, background)
    parts: dict[int, tuple[NDArray[np.float64], ...]] = {}
    base, fit = np.full(len(data), np.nan), np.full(len(data), np.nan)
    full = log_odds(subject.scores(data), targets).double().numpy()
    spent = 0
    for group in groups:
        if not group.names:  # a text without words
            parts[int(group.rows[0])] = (np.zeros(0),) * 3
            base[group.rows] = full[group.rows]
            continue
        predict, own = classes_of(group, targets)
        enough = max(evaluations, least(len(group.names)), 4)
        found = explain(predict, group.inputs, group.background, group.features, enough, seed=seed)
        spent = max(spent, found.evaluations)
        at = np.arange(len(own))
        of_class = [t.numpy()[at, :, own] for t in (found.values, found.low, found.high)]
        base[group.rows] = found.base.numpy()[at, own]
        if found.fit is not None:
            fit[group.rows] = found.fit.numpy()[at, own]
        for i, row in enumerate(group.rows.tolist()):
            parts[row] = tuple(values[i] for values in of_class)
    values, low, high = (tuple(parts[row][k] for row in range(len(data))) for k in range(3))
    names = names_of(groups, len(data))
    return Attributions(method, values, low, high, names, base, full, spent, fit=fit if method == "lime" else None)


def _from_gradients(
    method: str, subject: Subject, data: Dataset, targets: Tensor, background: Dataset, evaluations: int
) -> Attributions:
    from audit.explainers.integrated_gradients import integrate
    from audit.explainers.saliency import at_inputs

    points, baselines, score = _differentiable(subject, data, targets, background)
    error = None
    base = np.full(len(data), np.nan)
    full = log_odds(subject.scores(data), targets).double().numpy()
    if method == "integrated_gradients":
        path = integrate(score, points, baselines, START, max(START, POINTS * evaluations), tolerance=1e-3)
        elements, error, spent = path.values.numpy(), path.error.numpy(), path.steps
        base, full = path.base.numpy(), path.full.numpy()
    else:
        elements, spent = at_inputs(score, points).abs().numpy(), 1
    groups = groups_of(subject, data, background)
    values = _summed(subject, data, groups, elements)
    shown = elements if subject.text is None else None
    return Attributions(
        method, values, values, values, names_of(groups, len(data)), base, full, spent, error=error, elements=shown
    )


def _differentiable(
    subject: Subject, data: Dataset, targets: Tensor, background: Dataset
) -> tuple[Tensor, Tensor, Score]:
    """Points, baselines and the score whose gradient is taken; for texts at the embeddings, padded to the longest."""
    import torch

    from audit.explainers.segments import blur, masked_tokens

    targets = targets.to(subject.device)
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
    assert isinstance(data.inputs, torch.Tensor) and isinstance(background.inputs, torch.Tensor)
    points = data.inputs.to(subject.device)
    if subject.modality is Modality.IMAGE:
        baselines = blur(points)
    else:
        baselines = background.inputs.mean(dim=0, keepdim=True).to(subject.device)

    def of_inputs(batch: Tensor, rows: Tensor) -> Tensor:
        return log_odds(subject.model(batch), targets[rows])

    return points, baselines, of_inputs


def _summed(subject: Subject, data: Dataset, groups: Sequence[Group], elements: NDArray[np.float64]) -> Values:
    """Values of elements (embeddings: of positions) added up over each player."""
    if subject.text is not None:
        assert isinstance(data.inputs, list)
        mask = subject.text.encode(data.inputs).mask.bool().cpu().numpy()
        of_position = elements.sum(axis=2)
        return tuple(of_position[i][mask[i]][group.features.numpy() >= 0] for i, group in enumerate(groups))
    (group,) = groups
    member = np.eye(len(group.names))[group.features.numpy().ravel()]
    return tuple(elements.reshape(len(elements), -1) @ member)


def _rollout(subject: Subject, data: Dataset) -> Values:
    """How much of each word reaches the position the head reads: a leading special token, else the last token."""
    from audit.explainers import attention_rollout

    text = subject.text
    assert text is not None and isinstance(data.inputs, list)
    encoded = text.encode(data.inputs)
    where = {"input_ids": encoded.ids.to(subject.device), "attention_mask": encoded.mask.to(subject.device)}
    joint = attention_rollout(subject.model, where).cpu().numpy()
    values = []
    for row, (ids, mask) in enumerate(zip(encoded.ids.tolist(), encoded.mask.bool().cpu().numpy(), strict=True)):
        real = np.flatnonzero(mask)
        query = real[0] if ids[real[0]] in text.special_ids else real[-1]
        words = [position for position in real if ids[position] not in text.special_ids]
        values.append(joint[row, query, words])
    return tuple(values)
