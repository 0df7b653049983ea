"""What may stand for a part that is taken away: the operators whose verdicts are compared.

No operator is neutral. Each leaves another trace (a grey patch, a sentence with a hole, a person who does not exist), so a
finding that one operator alone supports is a finding about that operator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor

from audit.explainers.segments import token_players

#: stands in token ids for a token that is no longer there
DELETED = -1


def mean_colour(images: Tensor) -> Tensor:
    """Each picture's own mean colour, shaped like the images (n, channels, height, width)."""
    return images.mean(dim=(2, 3), keepdim=True).expand_as(images).contiguous()


def typical(rows: Tensor, groups: Iterable[Iterable[int]] = ()) -> Tensor:
    """One row that stands for all: means of the columns, and of each one-hot group its commonest category.

    Args:
        rows: (m, columns).
        groups: columns of each one-hot group.

    Returns:
        (1, columns).
    """
    row = rows.mean(dim=0, keepdim=True)
    for group in groups:
        columns = torch.tensor(list(group), device=rows.device)
        commonest = row[0, columns].argmax()
        row[0, columns] = rows[:, columns].min(dim=0).values
        row[0, columns[commonest]] = rows[:, columns[commonest]].max()
    return row


def neighbours(inputs: Tensor, pool: Tensor, count: int) -> Tensor:
    """The nearest rows of a pool to each example (Euclidean, an identical row left out), (n, count, ...).

    They change a part without leaving the example's surroundings, so that features that go together stay plausible.

    Args:
        inputs: (n, ...) examples.
        pool: (m, ...) rows.
        count: rows for each example; at most those that the pool has to offer.

    Raises:
        ValueError: the pool offers no other row.
    """
    flat, rows = inputs.flatten(1).double(), pool.flatten(1).double()
    near = []
    for start in range(0, len(flat), 256):
        # the plain formula: the one by matrix products is off by more than nothing for identical rows
        distance = torch.cdist(flat[start : start + 256], rows, compute_mode="donot_use_mm_for_euclid_dist")
        near.append(torch.where(distance == 0, torch.inf, distance))
    distance = torch.cat(near)
    offered = int(torch.isfinite(distance).sum(dim=1).min())
    if offered == 0:
        raise ValueError("pool: Expected rows other than the example itself, found none; try more background rows.")
    nearest = distance.sort(dim=1, stable=True).indices[:, : min(count, offered)]
    return pool[nearest]


def deleted(ids: Tensor, special: Iterable[int]) -> Tensor:
    """The text without its words: every token but the special ones replaced by `DELETED`, shaped like `ids`."""
    return torch.where(token_players(ids.reshape(-1), special).reshape(ids.shape) >= 0, DELETED, ids)


def without_deleted(predict: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """`predict` of (m, length) ids for rows that have lost tokens: each is closed up, and rows of one length go together."""

    def score(ids: Tensor) -> Tensor:
        lengths = (ids != DELETED).sum(dim=1)
        scores: Tensor | None = None
        for length in torch.unique(lengths).tolist():
            rows = torch.nonzero(lengths == length).squeeze(1)
            part = ids[rows]
            found = predict(part[part != DELETED].reshape(len(rows), length))
            if scores is None:
                scores = found.new_empty(len(ids), found.shape[1])
            scores[rows.to(found.device)] = found
        assert scores is not None
        return scores

    return score


def other_words(ids: Tensor, special: Iterable[int], pool: Tensor, count: int, seed: int) -> Tensor:
    """Texts with every word replaced by one drawn from a pool, (count, length); special tokens stay.

    Args:
        ids: (length,) of one text.
        special: ids that carry no words.
        pool: (m,) ids to draw from, each as often as it is used.
        count: texts to make.
        seed: of the draws, which depend on it and on the text alone.

    Raises:
        ValueError: the pool holds no words.
    """
    special = sorted(special)
    words = pool[~torch.isin(pool, torch.tensor(special, dtype=pool.dtype, device=pool.device))]
    if len(words) == 0:
        raise ValueError("pool: Expected words to draw from, found none; try more background texts.")
    rng = np.random.default_rng([seed, *ids.tolist()])
    drawn = words[torch.from_numpy(rng.integers(len(words), size=(count, len(ids)))).to(words.device)]
    return torch.where(token_players(ids, special) >= 0, drawn.to(ids), ids)
