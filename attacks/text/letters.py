"""The ways a word is mistyped or disguised, letter by letter."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from random import Random

#: slips of the hand: two letters swapped, one left out, a neighbouring key hit as well or instead, one written twice
TYPOS = ("swap", "delete", "insert", "key", "double")
#: what the eye does not see: a letter of another script that looks the same, a character without width
LOOKALIKES = ("homoglyph", "invisible")
#: slips that chance makes in `typos`
SLIPS = ("swap", "delete", "insert", "keyboard")

# neighbours on a QWERTY keyboard, in the row and in the rows above and below
_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_TWIN = dict(zip("acdeghijkopsxyABCEHIJKMOPSTX", "асԁеɡһіјκорѕхуАВСЕНІЈКМОРЅТХ", strict=True))
_SEEN_AS = str.maketrans({twin: latin for latin, twin in _TWIN.items()})
_INVISIBLE = ("\u200b", "\u2060", "\u00ad")


def _neighbours() -> dict[str, str]:
    place = {letter: (row, column + row * 0.5) for row, keys in enumerate(_ROWS) for column, letter in enumerate(keys)}
    near: dict[str, str] = {}
    for letter, (row, column) in place.items():
        near[letter] = "".join(
            other
            for other, (r, c) in sorted(place.items())
            if other != letter and abs(r - row) <= 1 and abs(c - column) <= 1
        )
    return near


KEYBOARD = _neighbours()


def mistype(word: str, edit: str, at: int, rng: Random) -> str:
    """One slip of the hand at character `at` of a word; never the word itself unless no such slip exists.

    Args:
        word: at least one character.
        edit: one of `SLIPS`: swap with the next character, delete, insert a neighbouring key, hit a neighbouring key.
        at: where; taken modulo the places there are.
        rng: picks the neighbouring key.
    """
    if edit == "swap":
        places = [i for i in range(len(word) - 1) if word[i] != word[i + 1]]
        if not places:
            return word
        i = places[at % len(places)]
        return word[:i] + word[i + 1] + word[i] + word[i + 2 :]
    i = at % len(word)
    if edit == "delete":
        return word[:i] + word[i + 1 :] if len(word) > 1 else word
    key = _near(word[i], rng)
    return word[: i + 1] + key + word[i + 1 :] if edit == "insert" else word[:i] + key + word[i + 1 :]


def _near(character: str, rng: Random) -> str:
    lower = character.lower()
    # a key off the plan (an accent, another script) is hit twice or becomes any letter's neighbour
    keys = KEYBOARD.get(lower) or "".join(k for k in sorted(KEYBOARD) if k != lower)
    key = rng.choice(keys)
    return key.upper() if character.isupper() else key


def letters(word: str) -> list[str]:
    """Characters of a word, each with its marks and joiners."""
    found: list[str] = []
    for c in word:
        category = unicodedata.category(c)
        if found and (category[0] == "M" or category == "Cf"):
            found[-1] += c
        else:
            found.append(c)
    return found


def variants(word: str, kind: str) -> list[str]:
    """All ways of one kind to misspell or disguise a word, in the order of the letters.

    First and last letter stay under `TYPOS`, as readers need them (Rawlinson 1976; Pruthi, Dhingra and Lipton 2019,
    section 3), so that words of fewer than four letters have none. Keys are hit only next to keys that are known.

    Args:
        word: at least one character.
        kind: one of `TYPOS` or `LOOKALIKES`.
    """
    cut = letters(word)
    inner = range(1, len(cut) - 1) if kind in TYPOS else range(len(cut))
    if kind in TYPOS and len(cut) < 4:
        return []
    out: dict[str, None] = {}
    for i in inner:
        for changed in _AT[kind](cut, i):
            out[changed] = None
    out.pop(word, None)
    return list(out)


def _swap(cut: Sequence[str], i: int) -> list[str]:
    return ["".join([*cut[:i], cut[i + 1], cut[i], *cut[i + 2 :]])] if i + 2 < len(cut) else []


def _keys(letter: str) -> list[str]:
    near = KEYBOARD.get(letter.lower(), "")
    return list(near.upper() if letter.isupper() else near)


def _put(cut: Sequence[str], i: int, new: Sequence[str]) -> list[str]:
    return ["".join([*cut[:i], letter, *cut[i + 1 :]]) for letter in new]


_AT: dict[str, Callable[[Sequence[str], int], list[str]]] = {
    "swap": _swap,
    "delete": lambda cut, i: _put(cut, i, [""]),
    "insert": lambda cut, i: _put(cut, i, [cut[i] + key for key in _keys(cut[i])]),
    "key": lambda cut, i: _put(cut, i, _keys(cut[i])),
    "double": lambda cut, i: _put(cut, i, [cut[i] * 2]),
    "homoglyph": lambda cut, i: _put(cut, i, [_TWIN[cut[i]]] if cut[i] in _TWIN else []),
    "invisible": lambda cut, i: _put(cut, i, [cut[i] + c for c in _INVISIBLE]) if i + 1 < len(cut) else [],
}


def as_read(text: str) -> str:
    """A text as the eye takes it: without characters that have no width, lookalikes as the letters they look like."""
    if text.isascii():
        return text
    return "".join(c for c in text.translate(_SEEN_AS) if c not in _INVISIBLE)
