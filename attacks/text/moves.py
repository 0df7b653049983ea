"""What may be done to a text: one word misspelt, disguised, replaced, dropped, or joined by another."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

from attacks.text.letters import LOOKALIKES, TYPOS, variants
from attacks.text.lexicon import Lexicon
from attacks.text.words import PROTECT, free, in_the_case_of, is_negation

#: a word of like meaning in its place
SUBSTITUTIONS = ("substitute",)
#: a word beside it that says nothing
INSERTIONS = ("distract",)
#: leave a word out, which may change what the text says
DROPS = ("drop",)
KINDS = (*TYPOS, *LOOKALIKES, *SUBSTITUTIONS, *INSERTIONS, *DROPS)
#: words that a reader passes over at the end of a clause
DISTRACTORS = ("today", "here", "overall", "indeed", "somehow", "anyway", "then", "now", "there", "again")


@dataclass(frozen=True, slots=True)
class Move:
    """One word changed.

    Attributes:
        place: which piece of the text, as `split` cuts it.
        text: what stands there afterwards.
        kind: one of `KINDS`.
    """

    place: int
    text: str
    kind: str


@dataclass(frozen=True, eq=False)
class Moves:
    """Lists what may be done to texts; what is offered for a word depends on the word and the seed alone.

    Args:
        kinds: which of `KINDS` are allowed.
        candidates: most misspellings, disguises, substitutes and distractors offered for a word, of each.
        lexicon: where substitutes come from; its words are also what no misspelling may produce.
        synonyms: further substitutes of a word (in small letters), preferred to the lexicon's.
        distractors: words that may be put in.
        protect: what to leave alone besides negations and markup, see `free`.
        seed: picks among misspellings.

    Raises:
        ValueError: an argument is not as described; the message names it.
    """

    kinds: Sequence[str] = TYPOS
    candidates: int = 8
    lexicon: Lexicon | None = None
    synonyms: Mapping[str, Sequence[str]] = field(default_factory=dict)
    distractors: Sequence[str] = DISTRACTORS
    protect: Collection[str] = PROTECT
    seed: int = 0
    _offers: dict[str, tuple[Move, ...]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if isinstance(self.kinds, str) or not self.kinds or not set(self.kinds) <= set(KINDS):
            raise ValueError(f"Expected kinds among {', '.join(KINDS)}, found {self.kinds!r}.")
        if isinstance(self.protect, str) or not set(self.protect) <= set(PROTECT):
            raise ValueError(f"Expected protect among {', '.join(PROTECT)}, found {self.protect!r}.")
        if not isinstance(self.candidates, int) or self.candidates < 1:
            raise ValueError(f"Expected candidates to be an integer of at least 1, found {self.candidates!r}.")
        if "substitute" in self.kinds and self.lexicon is None and not self.synonyms:
            raise ValueError(
                "Expected a source of substitutes, found none; try lexicon=Lexicon.learn(texts) or synonyms={...}."
            )
        turned = [word for word in self.distractors if is_negation(word)]
        if turned:
            raise ValueError(f"Expected distractors that turn no sentence round, found {', '.join(turned)}.")

    def of(self, pieces: list[str]) -> list[Move]:
        """All moves of a text as `split` cuts it, in the order of its words."""
        names = self.lexicon.names if self.lexicon is not None else ()
        out: list[Move] = []
        for place in free(pieces, self.protect, names):
            article = _article_before(pieces, place)
            out += [
                Move(place, move.text, move.kind)
                for move in self._offered(pieces[place])
                if move.kind != "substitute" or article is None or (move.text[0].lower() in "aeiou") == article
            ]
        if "distract" in self.kinds:
            # beside a stop word or a name there is room, beside a negation or inside an address there is none
            out += [
                Move(place, f"{pieces[place]} {word}", "distract")
                for place in free(pieces, ())
                if _ends_clause(pieces, place)
                for word in list(self.distractors)[: self.candidates]
            ]
        return sorted(out, key=lambda move: move.place)

    def _offered(self, word: str) -> tuple[Move, ...]:
        """Moves of a word anywhere."""
        if word not in self._offers:
            # a slip must not turn one word into another: that is no slip to a reader
            real = self.lexicon.counts if self.lexicon is not None else {}
            found = {**self._spelt(word, TYPOS, real), **self._spelt(word, LOOKALIKES, {}), **self._substitutes(word)}
            if "drop" in self.kinds:
                found[""] = "drop"
            found.pop(word, None)
            self._offers[word] = tuple(Move(0, text, kind) for text, kind in found.items())
        return self._offers[word]

    def _spelt(self, word: str, family: Sequence[str], real: Mapping[str, int]) -> dict[str, str]:
        """Misspellings or disguises -> kind, the kinds taking turns."""
        decks: list[tuple[str, list[str]]] = []
        for kind in family:
            if kind in self.kinds:
                deck = [v for v in variants(word, kind) if v.lower() not in real and not is_negation(v)]
                Random(f"{self.seed} {kind} {word}").shuffle(deck)  # noqa: S311 - not for secrets
                decks.append((kind, deck))
        found: dict[str, str] = {}
        while any(deck for _, deck in decks):
            for kind, deck in decks:
                if deck:
                    found.setdefault(deck.pop(), kind)
        return dict(list(found.items())[: self.candidates])

    def _substitutes(self, word: str) -> dict[str, str]:
        if "substitute" not in self.kinds:
            return {}
        given = [other for other in self.synonyms.get(word.lower(), ()) if not is_negation(other)]
        learnt = self.lexicon.substitutes(word, self.candidates) if self.lexicon is not None else []
        found = dict.fromkeys(in_the_case_of(word, other) for other in (*given, *learnt))
        return dict.fromkeys(list(found)[: self.candidates], "substitute")


def _ends_clause(pieces: list[str], place: int) -> bool:
    """Whether a mark that ends a clause, or nothing more, follows the word."""
    following = "".join(pieces[place + 1 : place + 2])
    if place + 2 >= len(pieces) and not following.strip():
        return True
    # a full stop inside "e.g." or an address ends nothing
    alone = place + 2 >= len(pieces) or any(c.isspace() for c in following)
    return following[:1] in tuple("…。！？，") or (alone and following[:1] in tuple(",.;:!?"))


def _article_before(pieces: list[str], place: int) -> bool | None:
    """Whether "an" stands before the word (True) or "a" (False); None for neither."""
    before = "".join(pieces[max(place - 2, 0) : max(place - 1, 0)]).lower()
    return {"an": True, "a": False}.get(before)


def changed(pieces: list[str], moves: Sequence[Move]) -> list[str]:
    """The pieces of a text after some moves."""
    out = list(pieces)
    for move in moves:
        out[move.place] = move.text
    return out
