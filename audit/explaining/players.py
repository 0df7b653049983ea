"""Players: which parts of an example can be removed, what stands for them, and what the model says without them.

See `attributions`, which explains the same game.
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

#: what may stand for a removed player, the usual one first
REMOVALS: dict[Modality, tuple[str, ...]] = {
    # rows of the background, one typical row, the training rows nearest to the example
    Modality.TABULAR: ("background", "mean", "neighbours"),
    # the picture's own blur, its own mean colour, other pictures
    Modality.IMAGE: ("blur", "mean", "pictures"),
    # the mask token, nothing (the text closes up), words of other texts
    Modality.TEXT: ("mask", "delete", "words"),
}
#: nearest rows, other pictures, and draws of other words that stand for an example's players
NEIGHBOURS, PICTURES, DRAWS = 16, 8, 8
#: training rows among which the nearest are looked for
POOL = 4096


def log_odds(scores: Tensor, targets: Tensor) -> Tensor:
    """Log-odds log p/(1 − p) of one class a row: scores (m, classes), targets (m,) -> (m,); differentiable."""
    import torch

    own = scores.gather(1, targets[:, None])
    rest = scores.scatter(1, targets[:, None], -torch.inf)
    return own.squeeze(1) - rest.logsumexp(1)


def remove(
    subject: Subject,
    data: Dataset,
    keep: Sequence[NDArray[np.bool_]],
    targets: Tensor,
    background: Dataset,
    removal: str | None = None,
) -> list[NDArray[np.float64]]:
    """Log-odds when only some players are left: the game that `attribute` explains.

    Args:
        subject: the model.
        data: the n examples.
        keep: for each example (k, players) bool, k states of it; tables and pictures have one k for all.
        targets: (n,) int64, the class scored for each.
        background: as in `groups_of`.
        removal: as in `groups_of`.

    Returns:
        For each example (k,) log-odds.
    """
    import torch

    found: dict[int, NDArray[np.float64]] = {}
    for group in groups_of(subject, data, background, removal):
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


def groups_of(subject: Subject, data: Dataset, background: Dataset, removal: str | None = None) -> list[Group]:
    """The examples with their players and what stands for each.

    Args:
        subject: the model.
        data: the n examples.
        background: rows that stand for "removed" where the operator asks for other rows; each costs one model row a
            coalition.
        removal: one of `REMOVALS` for this kind of input; None takes the first.

    Raises:
        ValueError: there is no such operator.
    """
    known = REMOVALS[subject.modality]
    removal = known[0] if removal is None else removal
    if removal not in known:
        raise ValueError(
            f"removal: Expected one of {', '.join(known)} for {subject.modality} models, found {removal!r}."
        )
    if subject.text is not None:
        return _texts(subject, data, background, removal)
    if subject.modality is Modality.IMAGE:
        return [_pictures(subject, data, background, removal)]
    return [_table(subject, data, background, removal)]


def _pictures(subject: Subject, data: Dataset, background: Dataset, removal: str) -> Group:
    import torch

    from audit.explainers.removal import mean_colour
    from audit.explainers.segments import blur, grid_shape

    inputs = data.inputs
    assert isinstance(inputs, torch.Tensor) and isinstance(background.inputs, torch.Tensor)
    cells = cells_of(inputs.shape[-2], inputs.shape[-1])
    down, across = grid_shape(cells)
    names = tuple(f"row {r + 1}, column {c + 1}" for r in range(down) for c in range(across))
    if removal == "blur":
        own = blur(inputs).unsqueeze(1)
    elif removal == "mean":
        own = mean_colour(inputs).unsqueeze(1)
    else:
        own = background.inputs[:PICTURES]
    return Group(np.arange(len(inputs)), inputs, own, cells.expand(inputs.shape[1:]), names, subject.predict)


def _table(subject: Subject, data: Dataset, background: Dataset, removal: str) -> Group:
    import torch

    from audit.explainers.removal import neighbours, typical

    inputs, source = data.inputs, background if data.train is None else data.train
    assert isinstance(inputs, torch.Tensor) and isinstance(source.inputs, torch.Tensor)
    players = data.players()
    if players is None:
        players = np.arange(inputs[0].numel())
        names = tuple(f"x{i}" for i in players)
    else:
        names = tuple(feature.name for feature in data.features)
    if removal == "background":
        assert isinstance(background.inputs, torch.Tensor)
        rows = background.inputs
    elif removal == "mean":
        rows = typical(source.inputs.flatten(1), [f.columns for f in data.features if len(f.columns) > 1])
        rows = rows.reshape(1, *inputs.shape[1:])
    else:
        # an even stride is as good as a draw, and the same for every sample of examples
        rows = neighbours(inputs, source.inputs[:: max(1, len(source) // POOL)], NEIGHBOURS)
    features = torch.from_numpy(players).reshape(inputs.shape[1:])
    return Group(np.arange(len(inputs)), inputs, rows, features, names, subject.predict)


def cells_of(height: int, width: int) -> Tensor:
    """Pixel -> grid cell of a picture of this size, (height, width)."""
    from audit.explainers.segments import grid

    return grid(height, width, CELLS)


def _texts(subject: Subject, data: Dataset, background: Dataset, removal: str) -> list[Group]:
    import torch

    from audit.explainers.removal import deleted, other_words, without_deleted
    from audit.explainers.segments import masked_tokens, token_players
    from audit.subject import Encoded

    text = subject.text
    assert text is not None

    def predict(ids: Tensor) -> Tensor:
        return text.from_ids(Encoded(ids, torch.ones_like(ids)))

    pool = torch.cat(_ids(subject, background)) if removal == "words" else None
    score = without_deleted(predict) if removal == "delete" else predict
    groups = []
    for row, ids in enumerate(_ids(subject, data)):
        players = token_players(ids, text.special_ids)
        pieces = text.tokens(ids.tolist())
        names = tuple(piece for piece, player in zip(pieces, players.tolist(), strict=True) if player >= 0)
        if removal == "mask":
            own = masked_tokens(ids, text.special_ids, text.mask_id)[None]
        elif removal == "delete":
            own = deleted(ids, text.special_ids)[None]
        else:
            assert pool is not None
            own = other_words(ids, text.special_ids, pool, DRAWS, seed=0)
        groups.append(Group(np.array([row]), ids[None], own, players, names, score))
    return groups


def _ids(subject: Subject, data: Dataset) -> list[Tensor]:
    """The ids of each text without padding."""
    assert subject.text is not None and isinstance(data.inputs, list)
    encoded = subject.text.encode(data.inputs)
    return [ids[mask.bool()].cpu() for ids, mask in zip(encoded.ids, encoded.mask, strict=True)]


def names_of(groups: Sequence[Group], n: int) -> tuple[tuple[str, ...], ...]:
    """Names of the players of each of n examples, in the order of the examples."""
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
