"""Words that may stand in for each other, learnt from texts at hand and the model's own embeddings; nothing is fetched.

Several witnesses must agree. Words stand in like contexts: rows of positive pointwise mutual information between a word
and its neighbours to the left and to the right, smoothed by a truncated singular value decomposition (Levy, Goldberg and
Dagan 2015). They lie near each other in the model's table of embeddings, where there is one, or their contexts are very
like. And, since opposites stand in like contexts too (the fault that counter-fitting mends, Mrksic et al. 2016), they
must be used alike in the classes where labels are known, share their ending, and not be opposites by their prefix.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Self

import torch
from torch import Tensor
from torch.nn.functional import normalize

from attacks.text.words import STOP_WORDS, is_negation, is_word, split

#: mean embedding of the pieces of each string, (m, width)
Embed = Callable[[list[str]], Tensor]

_ENDINGS = ("ingly", "edly", "ness", "less", "ment", "tion", "able", "ing", "est", "ful", "ed", "ly", "er", "'s", "s")
_OPPOSITES = ("un", "in", "im", "ir", "il", "dis", "non", "mis", "anti")
_REACH, _CONTEXTS, _WIDTH = 2, 1000, 64
# words that are near to everything are near to none: each must be among the likest of the other
_MUTUAL = 16


class Lexicon:
    """Words of a corpus and what may take their place.

    Args:
        counts: how often each word (in small letters) occurs.
        names: words that are mostly written with a capital inside a sentence.
        vocabulary: m words that substitutes are taken from.
        contexts: (m, k) unit vectors of the contexts they stand in.
        embeddings: (m, width) unit vectors of the model's table, or None.
        classes: (m, classes) log-probability of each class given the word, or None.
    """

    def __init__(
        self,
        counts: Mapping[str, int],
        names: frozenset[str],
        vocabulary: Sequence[str],
        contexts: Tensor,
        embeddings: Tensor | None = None,
        classes: Tensor | None = None,
    ) -> None:
        self.counts, self.names, self.vocabulary = counts, names, list(vocabulary)
        self._contexts, self._embeddings, self._classes = contexts, embeddings, classes
        self._at = {word: i for i, word in enumerate(self.vocabulary)}
        self._endings = [_ending(word) for word in self.vocabulary]
        self._near = self._nearest()

    @classmethod
    def learn(
        cls,
        corpus: Sequence[str],
        labels: Tensor | Sequence[int] | None = None,
        embed: Embed | None = None,
        *,
        least: int = 5,
        most: int = 8000,
        seed: int = 0,
    ) -> Self:
        """Learn from texts, best those the model was trained on.

        Args:
            corpus: n strings.
            labels: (n,) class indices; with them, words that speak for different classes never stand in for each other.
            embed: strings to the mean embedding of their pieces in the model's own table, (m, width).
            least: how often a word must occur; the contexts of rarer ones say little.
            most: largest vocabulary, by frequency.
            seed: of the projection that the decomposition starts from.

        Raises:
            ValueError: corpus is one string, or labels are not one a text.
        """
        if isinstance(corpus, str):
            raise ValueError(f"Expected corpus to be a sequence of strings, found one string; try [{corpus[:20]!r}].")
        if labels is not None and len(labels) != len(corpus):
            raise ValueError(f"Expected one label a text of the corpus, found {len(labels)} and {len(corpus)}.")
        cut = [[piece for piece in split(text) if is_word(piece)] for text in corpus]
        low = [[word.lower() for word in words] for words in cut]
        counts = Counter(word for words in low for word in words)
        # the first word of a text has a capital whatever it is
        capital = Counter(word.lower() for words in cut for word in words[1:] if word[0].isupper())
        names = frozenset(word for word, n in capital.items() if n > counts[word] / 2)
        ranked = sorted(counts, key=lambda word: (-counts[word], word))
        vocabulary = [w for w in ranked if counts[w] >= least and _ordinary(w, names)][:most]
        return cls(
            counts,
            names,
            vocabulary,
            _contexts(low, vocabulary, ranked[:_CONTEXTS], seed),
            None if embed is None or not vocabulary else normalize(_centred(embed(vocabulary).double().cpu()), dim=1),
            None if labels is None else _class_odds(low, [int(label) for label in labels], vocabulary),
        )

    def substitutes(self, word: str, count: int) -> list[str]:
        """At most `count` words, in small letters, that may take the place of `word`, the likest first; often none."""
        i = self._at.get(word.lower())
        if i is None:
            return []
        me, ending = self.vocabulary[i], self._endings[i]
        found = [j for j in self._near[i] if i in self._near[j] and self._endings[j] == ending]
        return [self.vocabulary[j] for j in found if not _opposite(me, self.vocabulary[j])][:count]

    def _nearest(self) -> list[list[int]]:
        """Of each word the likest others that fit it, the likest first."""
        near: list[list[int]] = []
        for start in range(0, len(self.vocabulary), 512):
            rows = torch.arange(start, min(start + 512, len(self.vocabulary)))
            likeness = self._contexts[rows] @ self._contexts.T
            fit = likeness >= 0.45
            if self._embeddings is not None:
                table = self._embeddings[rows] @ self._embeddings.T
                fit |= (likeness >= 0.25) & (table >= 0.5)
                likeness = likeness + table.clamp_min(0) / 2
            if self._classes is not None:
                fit &= (self._classes[rows, None] - self._classes).abs().amax(2) <= 0.5
            fit[torch.arange(len(rows)), rows] = False
            likeness = likeness.masked_fill(~fit, -torch.inf)
            best = likeness.topk(min(_MUTUAL, likeness.shape[1]), dim=1)
            near += [
                [j for value, j in zip(*pair, strict=True) if value > -torch.inf]
                for pair in zip(best.values.tolist(), best.indices.tolist(), strict=True)
            ]
        return near


def _ordinary(word: str, names: frozenset[str]) -> bool:
    return len(word) > 2 and word.isalpha() and word not in STOP_WORDS and word not in names and not is_negation(word)


def _ending(word: str) -> str:
    return next((end for end in _ENDINGS if word.endswith(end) and len(word) > len(end) + 2), "")


def _opposite(a: str, b: str) -> bool:
    short, long = sorted((a, b), key=len)
    pair = {_ending(a), _ending(b)} == {"ful", "less"}
    return pair or any(long == prefix + short for prefix in _OPPOSITES)


def _centred(vectors: Tensor) -> Tensor:
    return vectors - vectors.mean(0)


def _contexts(low: list[list[str]], vocabulary: list[str], around: list[str], seed: int) -> Tensor:
    """Unit vectors (m, k) of the contexts of each word."""
    rows, columns = {w: i for i, w in enumerate(vocabulary)}, {w: i for i, w in enumerate(around)}
    cells: list[int] = []
    width = 2 * len(around)
    for words in low:
        row, column = [rows.get(w, -1) for w in words], [columns.get(w, -1) for w in words]
        for i, r in enumerate(row):
            if r >= 0:
                before, after = column[max(i - _REACH, 0) : i], column[i + 1 : i + 1 + _REACH]
                cells += [r * width + c for c in before if c >= 0]
                cells += [r * width + len(around) + c for c in after if c >= 0]
    shape = (len(vocabulary), width)
    counts = torch.bincount(torch.tensor(cells, dtype=torch.int64), minlength=shape[0] * shape[1]).float().view(shape)
    # contexts raised to 3/4 take weight from rare ones (Levy, Goldberg and Dagan 2015, section 3.2)
    common = counts.sum(0) ** 0.75
    expected = counts.sum(1, keepdim=True) * (common / common.sum().clamp_min(1e-12))
    pmi = (counts / expected.clamp_min(1e-12)).log().where(counts > 0, 0).clamp_min(0)
    if min(shape) <= _WIDTH:
        return normalize(pmi.double(), dim=1)
    # subspace iteration (Halko, Martinsson and Tropp 2011, algorithm 4.4)
    start = torch.randn(shape[1], _WIDTH, generator=torch.Generator().manual_seed(seed))
    basis = torch.linalg.qr(pmi @ start).Q
    for _ in range(3):
        basis = torch.linalg.qr(pmi @ (pmi.T @ basis)).Q
    left, sizes, _ = torch.linalg.svd(basis.T @ pmi, full_matrices=False)
    return normalize(((basis @ left) * sizes.sqrt()).double(), dim=1)


def _class_odds(low: list[list[str]], labels: list[int], vocabulary: list[str]) -> Tensor:
    """Log-probability (m, classes) of the classes given a word, two imagined occurrences a class smoothing it."""
    rows = {w: i for i, w in enumerate(vocabulary)}
    counts = torch.full((len(vocabulary), max(labels, default=0) + 1), 2.0, dtype=torch.float64)
    for words, label in zip(low, labels, strict=True):
        for word in set(words):
            if word in rows:
                counts[rows[word], label] += 1
    return (counts / counts.sum(1, keepdim=True)).log()
