"""Texts about one group rewritten to be about another, word by word, from a lexicon of identity terms.

A rewriting exchanges two groups of one family: "he told her" becomes "she told him". Where the terms of the two groups
stand one to one, doing it twice gives the text back.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from typing import Any, Literal, TypeAlias

from audit.errors import DataError

#: what must stand around a term; see `Grammar.holds`
When: TypeAlias = Literal["before_noun", "alone", "noun", "adjective", "before_person"]
_BESIDE = re.compile(r"[ \t]+(\w+)")
_BEFORE = re.compile(r"(\w+)[ \t]+$")
_ARTICLE = re.compile(r"\b(an?)[ \t]+$", re.IGNORECASE)


@dataclass(frozen=True)
class Grammar:
    """The little grammar that tells uses of one word apart.

    Attributes:
        contexts: name -> words; see the lexicon.
        an_before: beginnings of words with a silent consonant.
        a_before: beginnings of words whose first vowel sounds as a consonant.
    """

    contexts: Mapping[str, frozenset[str]]
    an_before: tuple[str, ...]
    a_before: tuple[str, ...]

    def holds(self, when: When, text: str, start: int, end: int) -> bool:
        """Whether a term at `text[start:end]` is used as said.

        Args:
            when: "before_noun" (a noun phrase goes on behind it: *her* mother), "alone" (none does: told *her* to),
                "noun" (an article before, no noun behind: a *Christian*), "adjective" (the opposite), "before_person"
                (a word for people behind it: a *black* woman, not a black dress).
            text: the whole text.
            start: where the term begins.
            end: where it ends.
        """
        behind = _BESIDE.match(text, end)
        before = _BEFORE.search(text, 0, start)
        if when == "before_person":
            return behind is not None and behind[1].casefold() in self.contexts["people"]
        goes_on = self._goes_on(text, end) and not self._is(before, "takes_object")
        if when in ("noun", "adjective"):
            return (self._is(before, "determiners") and not goes_on) == (when == "noun")
        return goes_on == (when == "before_noun")

    def _goes_on(self, text: str, end: int) -> bool:
        behind = _BESIDE.match(text, end)
        if behind is None:
            return False
        word = behind[1].casefold()
        if word.endswith("ly") and word not in self.contexts["ly_nouns"]:
            return self._goes_on(text, behind.end())
        return word not in self.contexts["not_nouns"]

    def _is(self, found: re.Match[str] | None, context: str) -> bool:
        return found is not None and found[1].casefold() in self.contexts[context]

    def article(self, word: str) -> str:
        """The indefinite article that `word` takes, by its first letters."""
        plain = word.casefold()
        vowel = plain[0] in "aeiou" and not plain.startswith(self.a_before)
        return "an" if vowel or plain.startswith(self.an_before) else "a"


@dataclass(frozen=True)
class Slot:
    """One meaning in the words of every group; the first word is the one written, empty where a group has none."""

    terms: tuple[tuple[str, ...], ...]
    when: When | None = None


@dataclass(frozen=True)
class Mention:
    """A term in a text: its place, its slot in the family, its group, and the form it is written in."""

    start: int
    end: int
    slot: Slot
    group: int
    case: Literal["lower", "capital", "upper"]


@dataclass(frozen=True)
class Versions:
    """A text in the version of every group of a family.

    Attributes:
        own: the group that the text speaks of most; -1 where several are named as often.
        texts: a version for each group, the text itself among them; None where a term has no counterpart.
    """

    own: int
    texts: tuple[str | None, ...]


@dataclass(frozen=True, eq=False)
class Family:
    """Groups that are told apart by words.

    Attributes:
        name: e.g. "gender".
        groups: e.g. ("men", "women").
        slots: the meanings that have a word for each group.
        grammar: what tells the uses of an ambiguous word apart.
    """

    name: str
    groups: tuple[str, ...]
    slots: tuple[Slot, ...]
    grammar: Grammar

    @cached_property
    def _forms(self) -> dict[str, list[tuple[Slot, int, str]]]:
        """Folded form -> the slots and groups it may stand for."""
        found: dict[str, list[tuple[Slot, int, str]]] = {}
        for slot in self.slots:
            for group, forms in enumerate(slot.terms):
                for form in forms:
                    found.setdefault(form.casefold(), []).append((slot, group, form))
        return found

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        words = sorted(self._forms, key=lambda form: (-len(form), form))
        return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, words))})(?!\w)", re.IGNORECASE)

    def find(self, text: str) -> list[Mention]:
        """The family's terms in a text, whole words in one of three cases: as in the lexicon or small, Capital, ALL."""
        return [mention for found in self._pattern.finditer(text) if (mention := self._mention(text, found))]

    def _mention(self, text: str, found: re.Match[str]) -> Mention | None:
        meant = self._forms[found[0].casefold()]
        for slot, group, form in meant:
            needed = slot.when if len(meant) > 1 or slot.when == "before_person" else None
            if needed and not self.grammar.holds(needed, text, found.start(), found.end()):
                continue
            cases = {form.upper(): "upper", form[0].upper() + form[1:]: "capital", form.lower(): "lower"}
            case: Any = cases.get(found[0])
            return Mention(found.start(), found.end(), slot, group, case) if case else None
        return None

    def swap(self, text: str, a: int, b: int) -> str | None:
        """The text with groups `a` and `b` exchanged in every term; None where a term has no counterpart."""
        return self._swap(text, self.find(text), a, b)

    def _swap(self, text: str, mentions: Sequence[Mention], a: int, b: int) -> str | None:
        parts, last = [], 0
        for mention in mentions:
            if mention.group not in (a, b):
                continue
            other = mention.slot.terms[b if mention.group == a else a]
            if not other:
                return None
            old, new = text[mention.start : mention.end], _cased(other[0], mention.case)
            gap = text[last : mention.start]
            parts += [self._agreeing(gap, old, new, mention.case), new]
            last = mention.end
        return "".join([*parts, text[last:]])

    def _agreeing(self, gap: str, old: str, new: str, case: str) -> str:
        """What stands before a term, its article changed where it agreed with the old term and not with the new."""
        found = _ARTICLE.search(gap)
        article = self.grammar.article(new)
        if found is None or found[1].casefold() != self.grammar.article(old) or found[1].casefold() == article:
            return gap
        word = article.upper() if case == "upper" else article.capitalize() if found[1][0] == "A" else article
        return gap[: found.start(1)] + word + gap[found.end(1) :]

    def versions(self, text: str) -> Versions | None:
        """The text in the version of every group; None where it has no term of the family."""
        mentions = self.find(text)
        if not mentions:
            return None
        named = Counter(mention.group for mention in mentions).most_common(2)  # ties in the order of the text
        base = named[0][0]
        tie = len(named) > 1 and named[1][1] == named[0][1]
        groups = range(len(self.groups))
        texts = tuple(text if other == base else self._swap(text, mentions, base, other) for other in groups)
        return Versions(-1 if tie else base, texts)


@dataclass(frozen=True, eq=False)
class Lexicon:
    """Families of identity terms, and the version they were published under."""

    version: int
    families: Mapping[str, Family]


@cache
def _document() -> dict[str, Any]:
    text = files("audit.fairness.individuals").joinpath("identity_terms.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


def lexicon(terms: Mapping[str, Sequence[Sequence[str]]] | None = None) -> Lexicon:
    """The lexicon of the package (English), with terms of one's own.

    Args:
        terms: family -> rows of terms, one a group in the order of the groups. A new family takes its first row as the
            names of its groups; rows of a family that is known are added to it.

    Raises:
        DataError: a row has fewer than two terms or another number than the family's groups, or a term stands twice.
    """
    document = _document()
    contexts = {name: frozenset(map(str.casefold, words)) for name, words in document["contexts"].items()}
    articles = document["articles"]
    grammar = Grammar(contexts, tuple(articles["an_before"]), tuple(articles["a_before"]))
    families = {
        name: Family(name, tuple(family["groups"]), tuple(_slot(**slot) for slot in family["slots"]), grammar)
        for name, family in document["families"].items()
    }
    for name, rows in (terms or {}).items():
        known = families.get(name)
        groups = known.groups if known else tuple(rows[0]) if rows else ()
        slots = known.slots if known else ()
        families[name] = Family(name, groups, slots + _own(name, groups, slots, rows), grammar)
    return Lexicon(document["version"], families)


def _slot(terms: Sequence[str | Sequence[str] | None], when: When | None = None) -> Slot:
    forms = tuple(() if cell is None else (cell,) if isinstance(cell, str) else tuple(cell) for cell in terms)
    return Slot(forms, when)


def _own(
    name: str, groups: tuple[str, ...], slots: tuple[Slot, ...], rows: Sequence[Sequence[str]]
) -> tuple[Slot, ...]:
    """A user's rows as slots.

    Raises:
        DataError: see `lexicon`.
    """
    if len(groups) < 2:
        raise DataError(f"Expected two terms or more in terms[{name!r}], found {len(groups)}; try one for each group.")
    seen = {form.casefold() for slot in slots for forms in slot.terms for form in forms}
    for row in rows:
        if len(row) != len(groups) or not all(word.strip() for word in row):
            raise DataError(
                f"Expected {len(groups)} terms in a row of terms[{name!r}], one for each of {', '.join(groups)}, found "
                f"{list(row)}; try completing it."
            )
        for word in row:
            if word.casefold() in seen:
                raise DataError(f"Expected every term of terms[{name!r}] once, found {word!r} twice; try removing one.")
            seen.add(word.casefold())
    return tuple(_slot(row) for row in rows)


def _cased(word: str, case: str) -> str:
    if case == "upper":
        return word.upper()
    return word[0].upper() + word[1:] if case == "capital" else word.lower()
