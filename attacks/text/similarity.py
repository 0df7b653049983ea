"""How like a changed text is to the text as given, measured from the two strings alone, on this machine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor

from attacks.text.letters import as_read
from attacks.text.lexicon import Embed
from attacks.text.words import words_of


@dataclass(frozen=True)
class Closeness:
    """How like two texts are.

    Attributes:
        words: how many words to put in, take out or replace to come from one to the other.
        share: the same as a share of the words of the text as given.
        edits: how many characters to put in, take out or replace, as the eye takes the texts.
        characters: cosine of their counts of character trigrams, as the eye takes them, 0 to 1.
        meaning: cosine of the means of their words' embeddings in the model's own table; None without one.
    """

    words: int
    share: float
    edits: int
    characters: float
    meaning: float | None


@dataclass(frozen=True)
class Limits:
    """How far a text may move. One word may always be changed, however short the text.

    Attributes:
        share: most words changed, as a share of the words.
        edits: most characters changed in one word changed, on average; None for any number.
        characters: least `Closeness.characters`.
        meaning: least `Closeness.meaning`, where there are embeddings.
    """

    share: float = 0.5
    edits: float | None = None
    characters: float = 0.3
    meaning: float = 0.6

    def __post_init__(self) -> None:
        for name in ("share", "characters", "meaning"):
            if not -1 <= getattr(self, name) <= 1:
                raise ValueError(f"Expected limits.{name} between -1 and 1, found {getattr(self, name)!r}.")

    def words(self, of: int) -> int:
        """Most words changed in a text of so many."""
        return max(1, int(self.share * of + 1e-9))

    def admit(self, found: Closeness, of: int) -> bool:
        """Whether a changed text is near enough to one of so many words."""
        return (
            found.words <= self.words(of)
            and (self.edits is None or found.edits <= self.edits * max(found.words, 1))
            and found.characters >= self.characters
            and (found.meaning is None or found.meaning >= self.meaning)
        )


class Similarity:
    """Measures texts against nothing but each other and a fixed table, so that no other text attacked matters.

    Args:
        embed: strings to the mean embedding of their pieces, (m, width); None leaves `meaning` undefined.
    """

    def __init__(self, embed: Embed | None = None) -> None:
        self._embed, self._vectors = embed, dict[str, Tensor]()

    def measure(self, before: str, after: str) -> Closeness:
        """How like `after` is to `before`."""
        old, new = words_of(before), words_of(after)
        words = edit_distance(old, new)
        return Closeness(
            words=words,
            share=words / max(len(old), 1),
            edits=edit_distance(as_read(before), as_read(after)),
            characters=_trigram_cosine(before, after),
            meaning=self._meaning(old, new),
        )

    def _meaning(self, old: list[str], new: list[str]) -> float | None:
        if self._embed is None:
            return None
        if not old or not new:
            return 1.0 if old == new else 0.0
        unseen = list(dict.fromkeys(word for word in (*old, *new) if word not in self._vectors))
        if unseen:
            self._vectors |= dict(zip(unseen, self._embed(unseen).double().cpu(), strict=True))
        a, b = (torch.stack([self._vectors[word] for word in words]).mean(0) for words in (old, new))
        return float((a @ b / (a.norm() * b.norm()).clamp_min(1e-12)).clamp(-1, 1))


def _trigram_cosine(before: str, after: str) -> float:
    a, b = _trigrams(before), _trigrams(after)
    inner = sum(n * b[gram] for gram, n in a.items())
    return min(inner / sqrt(sum(n * n for n in a.values()) * sum(n * n for n in b.values())), 1.0)


def _trigrams(text: str) -> Counter[str]:
    seen = f"  {as_read(text).lower()}  "
    return Counter(seen[i : i + 3] for i in range(len(seen) - 2))


def edit_distance(a: Sequence[str], b: Sequence[str]) -> int:
    """Fewest items to put in, take out or replace (Levenshtein 1966), within a band that grows (Ukkonen 1985)."""
    start = 0
    while start < min(len(a), len(b)) and a[start] == b[start]:
        start += 1
    end = 0
    while end < min(len(a), len(b)) - start and a[-1 - end] == b[-1 - end]:
        end += 1
    a, b = a[start : len(a) - end], b[start : len(b) - end]
    band = max(4, abs(len(a) - len(b)))
    # a path that leaves the band costs more than the band is wide
    while (found := _banded(a, b, band)) > band:
        band *= 2
    return found


def _banded(a: Sequence[str], b: Sequence[str], band: int) -> int:
    far = len(a) + len(b)
    row = {j: j for j in range(min(len(b), band) + 1)}
    for i, x in enumerate(a, 1):
        above, row = row, {}
        for j in range(max(0, i - band), min(len(b), i + band) + 1):
            best = min(above.get(j, far), row.get(j - 1, far)) + 1
            row[j] = min(best, above.get(j - 1, far) + (x != b[j - 1])) if j else i
    return row.get(len(b), far)
