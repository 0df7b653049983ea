"""Everyday noise in texts (after Belinkov and Bisk 2018, "Synthetic and Natural Noise Both Break Neural MT").

Every text draws from its own generator, made of the seed and the row's number, and every word draws the same
numbers at every rate: a word spoilt at one rate is spoilt at all higher ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from attacks.text.letters import SLIPS, mistype
from attacks.text.words import is_word, join, split


def typos(texts: Sequence[str], rate: float, seed: int = 0, rows: Sequence[int] | None = None) -> list[str]:
    """Mistype words of two letters or more, one slip each: swap, delete, insert or hit a neighbouring key.

    Args:
        texts: n strings.
        rate: share of the words to mistype, 0 to 1.
        seed: equal seeds give equal noise.
        rows: n numbers of the rows, by default 0 to n - 1: a text's noise depends on its number and not on the batch.

    Returns:
        n strings; every word's length changes by at most one character, and no word goes.

    Raises:
        ValueError: an argument is not as described; the message names it.
    """

    def spoil(pieces: list[str], rng: Random) -> str:
        out = []
        for piece in pieces:
            hit, edit, at, own = rng.random() < rate, rng.choice(SLIPS), rng.randrange(1 << 16), Random(rng.random())  # noqa: S311
            out.append(mistype(piece, edit, at, own) if hit and is_word(piece) and len(piece) > 1 else piece)
        return "".join(out)

    return _each(texts, rate, seed, rows, "typos", spoil)


def word_noise(texts: Sequence[str], rate: float, seed: int = 0, rows: Sequence[int] | None = None) -> list[str]:
    """Drop words, write them twice, or swap them with the next; a text keeps at least one word.

    Arguments, result and errors as for `typos`; `rate` is the share of the words touched.
    """

    def spoil(pieces: list[str], rng: Random) -> str:
        words = [i for i, piece in enumerate(pieces) if is_word(piece)]
        plan = [(rng.random() < rate, rng.choice(("drop", "double", "swap"))) for _ in words]
        out = list(pieces)
        for j, (hit, edit) in enumerate(plan):
            i = words[j]
            if not hit:
                continue
            if edit == "double":
                out[i] = f"{out[i]} {out[i]}"
            elif edit == "swap" and j + 1 < len(words):
                following = words[j + 1]
                out[i], out[following] = out[following], out[i]
            elif edit == "drop" and sum(is_word(out[k]) for k in words) > 1:
                out[i] = ""
        return join(out)

    return _each(texts, rate, seed, rows, "words", spoil)


def case_noise(texts: Sequence[str], rate: float, seed: int = 0, rows: Sequence[int] | None = None) -> list[str]:
    """Write words in capitals, or in small letters where they are in capitals already.

    Arguments, result and errors as for `typos`.
    """

    def spoil(pieces: list[str], rng: Random) -> str:
        out = []
        for piece in pieces:
            hit = rng.random() < rate
            out.append((piece.lower() if piece.isupper() else piece.upper()) if hit and is_word(piece) else piece)
        return "".join(out)

    return _each(texts, rate, seed, rows, "case", spoil)


def punctuation_noise(texts: Sequence[str], rate: float, seed: int = 0, rows: Sequence[int] | None = None) -> list[str]:
    """Drop punctuation, or put a mark behind a word that has none.

    Arguments, result and errors as for `typos`; `rate` is the share of the words and of the marks touched.
    """

    def spoil(pieces: list[str], rng: Random) -> str:
        out = []
        for piece in pieces:
            hit, mark = rng.random() < rate, rng.choice(".,;:!?-")
            if not hit:
                out.append(piece)
            elif is_word(piece):
                out.append(piece + mark)
            else:
                out.append("".join(c for c in piece if c.isspace()) or " ")
        return "".join(out)

    return _each(texts, rate, seed, rows, "punctuation", spoil)


def _each(
    texts: Sequence[str],
    rate: float,
    seed: int,
    rows: Sequence[int] | None,
    stream: str,
    spoil: Callable[[list[str], Random], str],
) -> list[str]:
    if isinstance(texts, str):
        raise ValueError(f"Expected texts to be a sequence of strings, found one string; try [{texts[:20]!r}].")
    if not 0 <= rate <= 1:
        raise ValueError(f"Expected rate between 0 and 1, found {rate!r}.")
    numbers = range(len(texts)) if rows is None else rows
    if len(numbers) != len(texts):
        raise ValueError(f"Expected rows to hold {len(texts)} numbers, one a text, found {len(numbers)}.")
    return [
        # a string seed is hashed by SHA-512: the same on every machine and in every process
        spoil(split(text), Random(f"{stream} {seed} {int(row)}"))  # noqa: S311
        for text, row in zip(texts, numbers, strict=True)
    ]
