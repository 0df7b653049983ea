"""Players: which parts of an example can be removed, and what the model says without them.

See `_attributions`, which explains the same game.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from audit.subject import Modality

if TYPE_CHECKING:
    from torch import Tensor

    from audit.datasets import Dataset
    from audit.subject import Subject

#: grid cells along a picture's longer side
CELLS = 7


def log_odds(scores: Tensor, targets: Tensor) -> Tensor:
    """Log-odds log p/(1 − p) of one class a row: scores (m, classes), targets (m,) -> (m,); differentiable."""
    import torch

    own = scores.gather(1, targets[:, None])
    rest = scores.scatter(1, targets[:, None], -torch.inf)
    return own.squeeze(1) - rest.logsumexp(1)


def remove(
    subject: Subject, data: Dataset, keep: Sequence[NDArray[np.bool_]], targets: Tensor, background: Dataset
) -> list[NDArray[np.float64]]:
    """Log-odds when only some players are left: the game that `attribute` explains.

    Args:
        subject: the model.
        data: the n examples.
        keep: for each example (k, players) bool, k states of it; tables and pictures have one k for all.
        targets: (n,) int64, the class scored for each.
        background: as in `attribute`.

    Returns:
        For each example (k,) log-odds.
    """
    import torch

    found: dict[int, NDArray[np.float64]] = {}
    for group in groups_of(subject, data, background):
        states = torch.from_numpy(np.stack([keep[row] for row in group.rows]))
        if states.shape[2] == 0:  # a text without words
            score = log_odds(group.predict(group.inputs), targets[group.rows]).double().numpy()
            scores = np.repeat(score[:, None], states.shape[1], axis=1)
        else:
            game, own = _game(group, targets)
            scores = game.values(states).numpy()[np.arange(len(own)), :, own]
        found.update(zip(group.rows.tolist(), scores, strict=True))
    return [found[row] for row in range(len(data))]


@dataclass(frozen=True)
class Group:
    """Rows that share one set of players."""

    rows: NDArray[np.int64]
    inputs: Tensor
    background: Tensor
    features: Tensor
    names: tuple[str, ...]
    predict: Callable[[Tensor], Tensor]


def groups_of(subject: Subject, data: Dataset, background: Dataset) -> list[Group]:
    import torch

    from audit.explainers.segments import blur, grid_shape

    if subject.text is not None:
        return _texts(subject, data)
    inputs, rows = data.inputs, np.arange(len(data))
    assert isinstance(inputs, torch.Tensor) and isinstance(background.inputs, torch.Tensor)
    if subject.modality is Modality.IMAGE:
        cells = cells_of(inputs.shape[-2], inputs.shape[-1])
        down, across = grid_shape(cells)
        names = tuple(f"row {r + 1}, column {c + 1}" for r in range(down) for c in range(across))
        own = blur(inputs).unsqueeze(1)
        return [Group(rows, inputs, own, cells.expand(inputs.shape[1:]), names, subject.predict)]
    players = data.players()
    if players is None:
        players = np.arange(inputs[0].numel())
        names = tuple(f"x{i}" for i in players)
    else:
        names = tuple(feature.name for feature in data.features)
    features = torch.from_numpy(players).reshape(inputs.shape[1:])
    return [Group(rows, inputs, background.inputs, features, names, subject.predict)]


def cells_of(height: int, width: int) -> Tensor:
    """Pixel -> grid cell of a picture of this size, (height, width)."""
    from audit.explainers.segments import grid

    return grid(height, width, CELLS)


def _texts(subject: Subject, data: Dataset) -> list[Group]:
    import torch

    from audit.explainers.segments import masked_tokens, token_players
    from audit.subject import Encoded

    text = subject.text
    assert text is not None

    def predict(ids: Tensor) -> Tensor:
        return text.from_ids(Encoded(ids, torch.ones_like(ids)))

    groups = []
    for row, ids in enumerate(_ids(subject, data)):
        players = token_players(ids, text.special_ids)
        pieces = text.tokens(ids.tolist())
        names = tuple(piece for piece, player in zip(pieces, players.tolist(), strict=True) if player >= 0)
        empty = masked_tokens(ids, text.special_ids, text.mask_id)
        groups.append(Group(np.array([row]), ids[None], empty[None], players, names, predict))
    return groups


def _ids(subject: Subject, data: Dataset) -> list[Tensor]:
    """The ids of each text without padding."""
    assert subject.text is not None and isinstance(data.inputs, list)
    encoded = subject.text.encode(data.inputs)
    return [ids[mask.bool()].cpu() for ids, mask in zip(encoded.ids, encoded.mask, strict=True)]


def names_of(groups: Sequence[Group], n: int) -> tuple[tuple[str, ...], ...]:
    found = {int(row): group.names for group in groups for row in group.rows}
    return tuple(found[row] for row in range(n))


def classes_of(group: Group, targets: Tensor) -> tuple[Callable[[Tensor], Tensor], NDArray[np.int64]]:
    """The group's log-odds of the classes in question, and which of them is each row's own."""
    import torch

    classes, own = torch.unique(targets[group.rows], return_inverse=True)

    def predict(batch: Tensor) -> Tensor:
        scores = group.predict(batch)
        return torch.stack([log_odds(scores, c.expand(len(scores)).to(scores.device)) for c in classes], dim=1)

    return predict, own.numpy()


def _game(group: Group, targets: Tensor) -> tuple[Any, NDArray[np.int64]]:
    from audit.explainers.game import Game

    predict, own = classes_of(group, targets)
    return Game(predict, group.inputs, group.background, group.features), own
