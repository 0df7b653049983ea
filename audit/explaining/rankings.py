"""Curves of rankings: the log-odds while players are taken away or put back, under any removal operator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from audit.explaining.players import REMOVALS, cells_of, log_odds, remove
from audit.subject import Modality

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from audit.explaining.examples import Examples

    Floats = NDArray[np.float64]
    Keep = Sequence[NDArray[np.bool_]]

#: pictures only: holes are filled with what their neighbours suggest
ROAD = "road"


def operators(modality: Modality) -> tuple[str, ...]:
    """All removal operators for this kind of input, the usual one first."""
    return REMOVALS[modality] + ((ROAD,) if modality is Modality.IMAGE else ())


def scores_without(chosen: Examples, keep: Keep, operator: str | None = None) -> list[Floats]:
    """Log-odds of the explained class when only some players are left; see `players.remove`."""
    if operator != ROAD:
        return remove(chosen.subject, chosen.rows, keep, chosen.targets, chosen.background, operator)
    import torch

    from audit.explainers.quality import noisy_linear_imputation

    images = chosen.rows.inputs
    assert isinstance(images, torch.Tensor)
    cells = cells_of(images.shape[2], images.shape[3])
    found = []
    for row, states in enumerate(keep):
        holes = ~torch.from_numpy(states)[:, cells]
        filled = noisy_linear_imputation(images[row].expand(len(states), *images.shape[1:]), holes)
        scores = chosen.subject.predict(filled)
        found.append(log_odds(scores, chosen.targets[row].expand(len(scores))).double().numpy())
    return found


def curves(
    chosen: Examples,
    rankings: Mapping[str, Sequence[Floats]],
    steps: int,
    rng: np.random.Generator,
    operator: str | None = None,
) -> dict[str, Floats]:
    """Deletion and insertion curves of each ranking, (examples, 2, steps + 1), the mean over its versions.

    Args:
        chosen: the examples.
        rankings: name -> for each example (versions, players).
        steps: from all players to none.
        rng: breaks ties.
        operator: what stands for a removed player.
    """
    from audit.explainers.quality import states

    def both(values: Floats) -> NDArray[np.bool_]:
        kept = states(_untied(values, rng), steps)
        # the number of states is said, for a text without words has no elements to count them by
        return np.stack([kept, ~kept], axis=1).reshape(2 * kept.shape[0] * kept.shape[1], values.shape[1])

    keep = [np.concatenate([both(of_rows[row]) for of_rows in rankings.values()]) for row in range(len(chosen.rows))]
    scores = np.stack(scores_without(chosen, keep, operator)).reshape(len(keep), -1, 2, steps + 1)
    out, start = {}, 0
    for name, of_rows in rankings.items():
        versions = len(of_rows[0])
        out[name] = scores[:, start : start + versions].mean(1)
        start += versions
    return out


def _untied(values: Floats, rng: np.random.Generator) -> Floats:
    """Places instead of values, (versions, players), ties in random order: a constant is a random ranking."""
    shuffle = rng.permuted(np.broadcast_to(np.arange(values.shape[1]), values.shape), axis=1)
    order = np.argsort(np.take_along_axis(values, shuffle, axis=1), axis=1, kind="stable")
    place = np.empty(values.shape)
    np.put_along_axis(place, np.take_along_axis(shuffle, order, axis=1), np.arange(values.shape[1]), axis=1)
    return place


def gains(method: Floats, random: Floats) -> tuple[Floats, Floats]:
    """Areas between the curves of a method and of chance, deletion and insertion, positive where it is better, (examples,)."""
    from audit.explainers.quality import area

    lead = area(random - method)
    return lead[:, 0], -lead[:, 1]
