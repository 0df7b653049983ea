"""Words of a text, and which of them an attacker must leave alone."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator

#: what `free` can leave alone besides negations and markup, which it always does
PROTECT = ("stop", "number", "name")

#: words that turn a sentence round; never dropped, misspelt, put in or put in another's place
NEGATIONS = frozenset(
    """
    aint arent barely cannot cant couldnt didnt doesnt dont fail failed fails few hadnt hardly hasnt havent isnt
    lack lacked lacking lacks little mustnt neednt neither never no nobody none nor not nothing nowhere rarely
    scarcely seldom shouldnt wasnt werent without wont wouldnt
    """.split()  # noqa: SIM905 - a list of 150 quoted words is harder to read
)
#: words that carry grammar rather than meaning
STOP_WORDS = frozenset(
    """
    a about across after again against all almost along also although am among an and another any are as at be
    because been before behind being below beside besides between beyond both but by can could despite did do
    does doing down during each either else enough even ever every first for from had has have having he he's
    her here hers him his how i i'm i've if in into is it it's its itself just last like many may me might more
    most much must my next of off on once one only onto or other our ours out over own per quite rather really
    same second several shall she she's should since so some still such than that that's the their theirs them
    then there there's these they they're they've this those though three through throughout to too toward
    towards two under unlike until up upon us very via was we we're we've well were what what's whatever when
    whenever where wherever whether which while who who's whom why will with within would yet you you're you've
    your yours
    """.split()  # noqa: SIM905 - a list of 150 quoted words is harder to read
)
# a hyperlink, an address, a mention, an entity or a tag says what it says letter by letter
_MARKUP = re.compile(r"</?[A-Za-z!][^<>]*>|&#?\w+;|\bhttps?://\S+|\bwww\.\S+|\S+@\S+|(?<!\w)[@#]\w+")
_ASCII_PIECES = re.compile(r"[\w']+|[^\w']+")
_SENTENCE_END = re.compile(r"[.!?…。！？:\n]|--")


def split(text: str) -> list[str]:
    """Cut into runs of letters, digits and apostrophes and what stands between them; joined again they are the text.

    Marks and joiners stay with the letter they belong to; an ideograph is a word of its own.
    """
    return _ASCII_PIECES.findall(text) if text.isascii() else list(_pieces(text))


def _pieces(text: str) -> Iterator[str]:
    piece, inside = "", False
    for c in text:
        ideograph = "\u3400" <= c <= "\u9fff" or "\uf900" <= c <= "\ufaff" or "\U00020000" <= c <= "\U0003ffff"
        # marks (M) and invisible format characters (Cf) have no side of their own
        attached = bool(piece) and (unicodedata.category(c)[0] == "M" or unicodedata.category(c) == "Cf")
        word = inside if attached else c.isalnum() or c in "_'’"
        if piece and (word != inside or (ideograph and not attached)):
            yield piece
            piece = ""
        piece, inside = piece + c, word
        if ideograph:
            yield piece
            piece = ""
    if piece:
        yield piece


def closed(pieces: Iterable[str]) -> list[str]:
    """The pieces with the gap closed where one was emptied: a dropped word takes one of its two spaces along."""
    out: list[str] = []
    after_space, dropped = True, False  # the beginning of a text is as good as a space
    for piece in pieces:
        out.append(piece[1:] if dropped and after_space and piece.startswith(" ") else piece)
        dropped = piece == ""
        after_space = out[-1].endswith(" ") if out[-1] else after_space
    return out


def join(pieces: Iterable[str]) -> str:
    """Undo `split`, closing the gaps of dropped words."""
    return "".join(closed(pieces))


def is_word(piece: str) -> bool:
    """Whether a piece of `split` holds a letter."""
    return any(c.isalpha() for c in piece)


def words_of(text: str) -> list[str]:
    """Its words, in order."""
    return [piece for piece in split(text) if is_word(piece)]


def is_negation(word: str) -> bool:
    """Whether a word turns a sentence round."""
    bare = word.lower().replace("’", "'")
    return bare in NEGATIONS or bare.endswith("n't") or bare.replace("'", "") in NEGATIONS


def free(pieces: list[str], protect: Collection[str] = PROTECT, names: Collection[str] = ()) -> list[int]:
    """Places among `pieces` of the words that may be changed.

    Args:
        pieces: a text as `split` cuts it.
        protect: which of `PROTECT` to leave alone: stop words, words with a digit, names (a capital inside a sentence).
        names: further words, in small letters, to take for names where they have a capital, at the start of a sentence
            too.
    """
    text = "".join(pieces)
    markup = [match.span() for match in _MARKUP.finditer(text)]
    shouted = text.upper() == text
    places, at, begins = [], 0, True
    for i, piece in enumerate(pieces):
        start, at = at, at + len(piece)
        if not is_word(piece):
            begins = begins or bool(_SENTENCE_END.search(piece))
            continue
        capital = piece[0].isupper() and not shouted
        kept = (
            is_negation(piece)
            or any(a < at and start < b for a, b in markup)
            or ("stop" in protect and piece.lower().replace("’", "'") in STOP_WORDS)
            or ("number" in protect and any(c.isdigit() for c in piece))
            or ("name" in protect and capital and (not begins or piece.lower() in names))
        )
        if not kept:
            places.append(i)
        begins = False
    return places


def in_the_case_of(word: str, other: str) -> str:
    """`other` written as `word` is: in capitals, with a capital, or as it stands."""
    if len(word) > 1 and word.isupper():
        return other.upper()
    return other[:1].upper() + other[1:] if word[:1].isupper() else other
