"""Which coalitions a sampled explainer asks the model about: one design, shared by all examples and outputs.

Coalitions come in complementary pairs (Covert and Lee 2021). A layer holds the pairs whose smaller coalition has s players.
A design is the beginning of one endless list, so that a larger one holds every smaller one of the same seed.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import count
from math import comb
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

#: layers of at most this many pairs are shuffled as a whole; from larger ones distinct pairs are drawn
SHUFFLED = 2**20


class Plan(NamedTuple):
    """What a design follows from.

    Attributes:
        players: at least 2.
        evaluations: at least `least(players, order)`; two for each pair.
        seed: of the sampling.
        order: layers up to this one come first and whole: 1 identifies every main effect, 2 every interaction.
    """

    players: int
    evaluations: int
    seed: int
    order: int = 1


def pairs_in_all(players: int) -> int:
    """Pairs of complementary coalitions, the two ends not counted."""
    every: int = 2 ** (players - 1) - 1
    return every


def least(players: int, order: int = 1) -> int:
    """Fewest evaluations for which values (order 1) or pairwise interactions (order 2) and their intervals exist."""
    first = sum(_pairs(players, s) for s in range(1, min(order, players // 2) + 1))
    return 2 * min(pairs_in_all(players), first + 1)


@lru_cache(maxsize=16)
def design(plan: Plan) -> NDArray[np.bool_]:
    """The first coalition of each pair, (pairs, players) bool, read-only; the second is its complement.

    The layers after the first ones share the rest by the root of their kernel mass (Lundberg and Lee 2017), between the
    mass itself and an even share (leverage scores, Musco and Witter 2025).

    Raises:
        ValueError: there are too few evaluations.
    """
    players, evaluations, seed, order = plan
    if evaluations < least(players, order):
        raise ValueError(
            f"evaluations: Expected at least {least(players, order)} for {players} players, found {evaluations}; "
            "try more, or group the players with `features`."
        )
    wanted = min(evaluations // 2, pairs_in_all(players))
    sizes = np.arange(1, players // 2 + 1)
    mass = np.sqrt((players - 1) / (sizes * (players - sizes)) * np.where(2 * sizes == players, 0.5, 1.0))
    layer, place, rank = [], [], []
    for size, weight in zip(sizes.tolist(), mass.tolist(), strict=True):
        at = np.arange(min(_pairs(players, size), wanted))
        layer.append(np.full(len(at), size))
        place.append(at)
        rank.append(at - 1e9 if size <= order else (at + 0.5) / weight)
    chosen = np.argsort(np.concatenate(rank), kind="stable")[:wanted]
    layers, places = np.concatenate(layer)[chosen], np.concatenate(place)[chosen]
    keep = np.zeros((len(chosen), players), dtype=np.bool_)
    for size in np.unique(layers).tolist():
        here = layers == size
        keep[here] = _layer(players, size, int(here.sum()), np.random.default_rng([seed, size]))[places[here]]
    keep.flags.writeable = False
    return keep


def _pairs(players: int, size: int) -> int:
    whole: int = comb(players, size)
    return whole // 2 if 2 * size == players else whole


def _layer(players: int, size: int, take: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """The first `take` coalitions of this size in the generator's order; in the middle layer those with player 0."""
    every = _pairs(players, size)
    if every <= SHUFFLED:
        chosen = rng.permutation(every)[:take]
        if 2 * size < players:
            return _unrank(chosen, players, size)
        others = _unrank(chosen, players - 1, size - 1)
        return np.concatenate([np.ones((take, 1), dtype=np.bool_), others], axis=1)
    found = np.zeros((0, players), dtype=np.bool_)
    for doubling in count(4):  # steps that do not depend on `take` keep the order of a longer list
        order = np.argsort(rng.random((2**doubling, players)), axis=1)
        drawn = order < size
        if 2 * size == players:
            drawn ^= ~drawn[:, :1]
        found = np.concatenate([found, drawn])
        packed = np.packbits(found, axis=1)
        first = np.unique(packed.view(f"V{packed.shape[1]}").ravel(), return_index=True)[1]
        found = found[np.sort(first)]
        if len(found) >= take:
            break
    return found[:take]


def _unrank(rank: NDArray[np.int64], players: int, size: int) -> NDArray[np.bool_]:
    """Numbers from 0 to C(players, size) − 1 to coalitions: the combinatorial number system (Lehmer 1964)."""
    keep = np.zeros((len(rank), players), dtype=np.bool_)
    row = np.arange(len(rank))
    left = rank.copy()
    for k in range(size, 0, -1):
        steps = np.array([comb(c, k) for c in range(players)])
        player = np.searchsorted(steps, left, side="right") - 1
        keep[row, player] = True
        left = left - steps[player]
    return keep
