"""What the search for word changes needs from a subject, and how its findings are shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from audit.errors import ModelError
from audit.subject import Capability
from reports.record import TokenLine, Tokens

if TYPE_CHECKING:
    from torch import Tensor

    from attacks.text import Closeness, TextSearch, TokenGradient
    from audit.checks.robustness.text_evasion import TextEvasion
    from audit.datasets import Dataset
    from audit.subject import Subject, TextAdapter

#: kinds of change in words
NAMES = {
    "swap": "two letters swapped",
    "delete": "a letter left out",
    "insert": "a neighbouring key hit as well",
    "key": "a neighbouring key hit instead",
    "double": "a letter doubled",
    "homoglyph": "a letter of another script that looks the same",
    "invisible": "a character without width",
    "substitute": "a word of like use",
    "distract": "a word that says nothing added",
}


class Below:
    """A text model's embeddings and gradients, as `attacks.text` asks for them."""

    def __init__(self, adapter: TextAdapter) -> None:
        self._adapter = adapter

    def embed(self, words: list[str]) -> Tensor:
        """Mean embedding of the tokens of each word as it stands inside a text, (m, width)."""
        import torch

        encoded = self._adapter.encode([f" {word}" for word in words])
        special = torch.tensor(sorted(self._adapter.special_ids), dtype=encoded.ids.dtype)
        kept = (encoded.mask.bool() & ~torch.isin(encoded.ids, special)).to(torch.float32)[..., None]
        vectors = self._adapter.embed(encoded.ids).float().cpu()
        return (vectors * kept).sum(1) / kept.sum(1).clamp_min(1)

    def differentiate(self, texts: list[str], loss: Callable[[Tensor], Tensor]) -> TokenGradient:
        """See `attacks.text.reader.Differentiate`."""
        import torch

        from attacks.text import TokenGradient

        encoded = self._adapter.encode(texts)
        with torch.enable_grad():
            leaf = self._adapter.embed(encoded.ids).requires_grad_()
            scores = self._adapter.from_embeddings(leaf, encoded.mask)
            (gradient,) = torch.autograd.grad(loss(scores).sum(), leaf)
        return TokenGradient(self._adapter.spans(texts), leaf.detach(), gradient)


def below(subject: Subject) -> Below | None:
    """The way below the strings; None where the format does not allow it, or the tokenizer keeps no places."""
    if subject.text is None or not {Capability.INPUT_GRADIENT, Capability.EMBEDDINGS} <= subject.capabilities:
        return None
    try:
        subject.text.spans(["a"])
    except ModelError:
        return None
    return Below(subject.text)


@dataclass(eq=False)
class Found:
    """The best of one or more searches.

    Attributes:
        texts: n strings, changed where the model was fooled.
        words: (n,) fewest words changed; 0 where the model was wrong as it was, inf where the text stands.
        kinds: what was done to each.
        closeness: how near each success is; None elsewhere.
    """

    texts: list[str]
    words: NDArray[np.float64]
    kinds: list[tuple[str, ...]]
    closeness: list[Closeness | None]

    def add(self, rows: Sequence[int], other: TextSearch | Found) -> None:
        """Take over what is better, `other` being about some rows."""
        words = other.words if isinstance(other, Found) else other.words_changed.numpy()
        for j, i in enumerate(rows):
            if words[j] < self.words[i]:
                self.words[i], self.texts[i] = words[j], other.texts[j]
                self.kinds[i], self.closeness[i] = other.kinds[j], other.closeness[j]


@dataclass(eq=False)
class Hunt:
    """Searches on one sample, as a `TextEvasion` asks for them.

    Attributes:
        queries: forward and backward passes of single texts so far.
        source: where substitutes come from, in words.
    """

    check: TextEvasion
    subject: Subject
    data: Dataset
    sample: Dataset
    way: Below | None
    seed: int
    queries: int = 0
    source: str = field(init=False)
    _settings: dict[str, Any] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        from attacks.text import Lexicon, Limits

        check, train = self.check, self.data.train
        corpus = train or self.data
        assert isinstance(corpus.inputs, list)
        texts = corpus.inputs[: check.read]
        embed = self.way.embed if self.way else None
        self.source = f"{len(texts):,} {'training' if train else 'test'} texts" + ", and from a list" * bool(
            check.synonyms
        )
        self._settings = {
            "embed": embed,
            "lexicon": Lexicon.learn(texts, corpus.labels[: check.read], embed),
            "synonyms": {w.lower(): [v for v in group if v != w] for group in check.synonyms for w in group},
            "protect": check.protect,
            "limits": Limits(share=check.share, characters=check.characters, meaning=check.meaning),
            "candidates": check.candidates,
            "beam": check.beam,
            "tries": check.tries,
            "seed": self.seed,
        }

    def search(self, families: Sequence[str], known: Iterable[Found] = ()) -> Found:
        """Search with the kinds of some families; `known` holds what other searches found, which counts too."""
        from attacks import text

        kinds = {
            "typos": text.TYPOS,
            "lookalikes": text.LOOKALIKES,
            "substitutions": text.SUBSTITUTIONS,
            "insertions": text.INSERTIONS,
        }
        allowed = tuple(kind for family in families for kind in kinds[family])
        texts = self.sample.inputs
        assert isinstance(texts, list)
        n = len(texts)
        found = Found(list(texts), np.full(n, np.inf), [()] * n, [None] * n)
        for other in known:
            found.add(range(n), other)
        if self.way is not None:
            self._improve(found, allowed, "gradient")
        if self.way is None or self.check.scores_as_well:
            self._improve(found, allowed, "scores")
        return found

    def _improve(self, found: Found, kinds: tuple[str, ...], search: str) -> None:
        """Search the texts of which more than one word must change as far as is known."""
        from attacks.text import text_search

        rows = np.flatnonzero(found.words > 1).tolist()
        texts = self.sample.inputs
        assert isinstance(texts, list)
        better = text_search(
            lambda texts: self.subject.predict(texts),
            [texts[i] for i in rows],
            self.sample.labels[rows],
            max(self.check.words),
            kinds=kinds,
            search="gradient" if search == "gradient" else "scores",
            differentiate=self.way.differentiate if self.way else None,
            **self._settings,
        )
        self.queries += better.forwards + better.backwards
        found.add(rows, better)


def examples(subject: Subject, sample: Dataset, found: Found, shown: int) -> Tokens:
    """The texts that fell to the fewest changes, before and after, one of each kind first."""
    texts = sample.inputs
    assert isinstance(texts, list)
    order = np.argsort(found.words, kind="stable")
    fallen = [int(i) for i in order if 0 < found.words[i] < np.inf]
    seen: set[str] = set()
    first = []
    for i in fallen:
        if not set(found.kinds[i]) <= seen:
            first.append(i)
            seen |= set(found.kinds[i])
    chosen = [*first, *(i for i in fallen if i not in set(first))][:shown]
    lines: list[TokenLine] = []
    if chosen:
        answers = subject.predict([*(texts[i] for i in chosen), *(found.texts[i] for i in chosen)]).argmax(1).tolist()
        for i, was, now in zip(chosen, answers, answers[len(chosen) :], strict=False):
            done = ", ".join(dict.fromkeys(NAMES[kind] for kind in found.kinds[i]))
            lines.append(_marked(f"as given: {sample.classes[was]}", texts[i], found.texts[i], -1.0))
            lines.append(
                _marked(f"changed: {sample.classes[now]} ({done}{_likeness(found, i)})", found.texts[i], texts[i], 1.0)
            )
    return Tokens(
        title="Texts that fell to the fewest changes",
        lines=tuple(lines),
        note="Each text twice: as given, and as changed; the words that differ are shaded. Disguises look the same.",
        colours=("put in", "taken out"),
    )


def _likeness(found: Found, i: int) -> str:
    near = found.closeness[i]
    if near is None:
        return ""
    meaning = "" if near.meaning is None else f", of meaning {near.meaning:.2f}"
    return f"; likeness of characters {near.characters:.2f}{meaning}"


def _marked(caption: str, text: str, other: str, weight: float) -> TokenLine:
    """A text whose words that `other` does not share carry `weight`."""
    from difflib import SequenceMatcher

    from attacks.text.words import is_word, split

    mine, theirs = split(text), split(other)
    weights = [weight if is_word(piece) else 0.0 for piece in mine]
    for block in SequenceMatcher(None, mine, theirs, autojunk=False).get_matching_blocks():
        weights[block.a : block.a + block.size] = [0.0] * block.size
    return TokenLine(caption=caption, tokens=tuple(mine), weights=tuple(weights))
