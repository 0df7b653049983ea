"""Words of a text, and the ways a word is mistyped."""

from __future__ import annotations

import re
from random import Random

# neighbours on a QWERTY keyboard, in the row and in the rows above and below
_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")


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
EDITS = ("swap", "delete", "insert", "keyboard")


def split(text: str) -> list[str]:
    """Cut into runs of letters, digits and apostrophes and what stands between them; joined again they are the text."""
    return re.findall(r"[\w'’]+|[^\w'’]+", text)


def join(pieces: list[str]) -> str:
    """Undo `split`; a dropped word takes one of its two spaces along."""
    text = ""
    for i, piece in enumerate(pieces):
        dropped = i > 0 and pieces[i - 1] == ""
        text += piece[1:] if dropped and piece.startswith(" ") and (not text or text.endswith(" ")) else piece
    return text


def is_word(piece: str) -> bool:
    """Whether a piece of `split` holds a letter."""
    return any(c.isalpha() for c in piece)


def mistype(word: str, edit: str, at: int, rng: Random) -> str:
    """One slip of the hand at character `at` of a word; never the word itself unless no such slip exists.

    Args:
        word: at least one character.
        edit: one of `EDITS`: swap with the next character, delete, insert a neighbouring key, hit a neighbouring key.
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


def slips(word: str, count: int, rng: Random) -> list[str]:
    """At most `count` different one-slip misspellings that people still read as the word.

    First and last letter stay, as Rawlinson's readers need them (Pruthi, Dhingra and Lipton 2019, section 3); words of
    fewer than four characters have none.
    """
    if len(word) < 4:
        return []
    inner = word[1:-1]
    found: dict[str, None] = {}
    for edit in EDITS * -(-count // len(EDITS)):
        slip = word[0] + mistype(inner, edit, rng.randrange(1 << 16), rng) + word[-1]
        if slip != word:
            found[slip] = None
    return list(found)[:count]
