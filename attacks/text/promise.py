"""What each move promises before it is tried: measured one by one, or estimated from one gradient (HotFlip)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from attacks.text.lexicon import Embed
from attacks.text.moves import Move, changed
from attacks.text.reader import Reader
from attacks.text.states import Case, Node
from attacks.text.words import closed, join

# texts of more words than this are searched for the passages that matter first
_LONG = 128


class Measured:
    """Promises from scores alone: what each move did to the text as given, added up.

    Where a text has more words than are to be looked at, those count whose absence lowers the margin most (Gao,
    Lanchantin, Soffa and Qi 2018, DeepWordBug; Jin, Jin, Zhou and Szolovits 2020, TextFooler).

    Args:
        reader: the model.
        width: most words of a text looked at; None for all.
    """

    def __init__(self, reader: Reader, width: int | None) -> None:
        self._reader, self._width = reader, width

    def prepare(self, cases: Sequence[Case]) -> None:
        """Measure every move of the words that matter."""
        if self._width is not None:
            self._narrow([case for case in cases if len(case.places) > self._width], self._width)
        asked = [(case, move) for case in cases for move in case.moves]
        texts = [join(changed(case.pieces, (move,))) for case, move in asked]
        margins = self._reader.margins(texts, [case.label for case, _ in asked])
        for (case, move), margin in zip(asked, margins, strict=True):
            case.singles[move] = margin

    def promises(self, cases: Sequence[Case]) -> list[list[list[float]]]:
        """Estimated margin after each move, by case, node and move."""
        return [
            [[node.margin + case.singles[move] - case.margin for move in case.moves] for node in case.nodes]
            for case in cases
        ]

    def _narrow(self, cases: list[Case], width: int) -> None:
        self._keep([case for case in cases if len(case.places) > _LONG], _LONG // 2, _LONG)
        self._keep(cases, None, width)

    def _keep(self, cases: list[Case], parts: int | None, most: int) -> None:
        """Keep the places that matter, cut into so many runs (None: one by one), dropping one run at a time."""
        runs: list[list[list[int]]] = []
        for case in cases:
            step = 1 if parts is None else -(-len(case.places) // parts)
            runs.append([case.places[i : i + step] for i in range(0, len(case.places), step)])
        texts = [
            join(changed(case.pieces, [Move(place, "", "drop") for place in run]))
            for case, own in zip(cases, runs, strict=True)
            for run in own
        ]
        labels = [case.label for case, own in zip(cases, runs, strict=True) for _ in own]
        margins = iter(self._reader.margins(texts, labels))
        for case, own in zip(cases, runs, strict=True):
            ranked = sorted((round(next(margins), 5), i) for i in range(len(own)))
            kept = [place for _, i in ranked for place in own[i]][:most]
            case.keep(set(kept))


class HotFlip:
    """Promises from one gradient of the margin with respect to the embeddings, to first order (Ebrahimi et al. 2018).

    Equation 2 of the paper, with words of several tokens: every token of the old word moves to the mean of the new
    word's tokens, which is the paper's flip where both have one.

    Args:
        reader: a differentiable model.
        embed: strings to the mean embedding of their tokens, (m, width).
    """

    def __init__(self, reader: Reader, embed: Embed) -> None:
        self._reader, self._embed, self._vectors = reader, embed, dict[str, Tensor]()

    def prepare(self, cases: Sequence[Case]) -> None:
        """Look up the words that all moves lead to."""
        new = list(
            dict.fromkeys(m.text for case in cases for m in case.moves if m.text and m.text not in self._vectors)
        )
        if new:
            self._vectors |= dict(zip(new, self._embed(new).detach().double().cpu(), strict=True))
        width = next(iter(self._vectors.values())).shape if self._vectors else (1,)
        self._vectors[""] = torch.zeros(width, dtype=torch.float64)

    def promises(self, cases: Sequence[Case]) -> list[list[list[float]]]:
        """Estimated margin after each move, by case, node and move."""
        asked = [(case, node) for case in cases for node in case.nodes]
        texts = [join(changed(case.pieces, node.moves)) for case, node in asked]
        found = iter(self._reader.gradients(texts, [case.label for case, _ in asked]))
        return [[self._estimate(case, node, *next(found)) for node in case.nodes] for case in cases]

    def _estimate(self, case: Case, node: Node, spans: Tensor, embeddings: Tensor, gradients: Tensor) -> list[float]:
        if not case.moves:
            return []
        ends, at = [], 0
        for piece in closed(changed(case.pieces, node.moves)):
            at += len(piece)
            ends.append(at)
        # a token belongs where it ends, for some tokens take the space before along; those without characters fall
        # behind the last piece
        real = spans[:, 1] > spans[:, 0]
        piece_of = torch.bucketize(spans[:, 1] - 1, torch.tensor(ends), right=True).where(real, len(ends))
        slope = torch.zeros(len(ends) + 1, gradients.shape[1], dtype=torch.float64).index_add(0, piece_of, gradients)
        base = torch.zeros(len(ends) + 1, dtype=torch.float64).index_add(0, piece_of, (gradients * embeddings).sum(1))
        places = torch.tensor([move.place for move in case.moves])
        goals = torch.stack([self._vectors[move.text] for move in case.moves])
        return (node.margin + (slope[places] * goals).sum(1) - base[places]).tolist()
