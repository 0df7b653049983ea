"""Attacks and noise for texts."""

from attacks.text.letters import LOOKALIKES, TYPOS
from attacks.text.lexicon import Lexicon
from attacks.text.moves import DROPS, INSERTIONS, KINDS, SUBSTITUTIONS
from attacks.text.noise import case_noise, punctuation_noise, typos, word_noise
from attacks.text.reader import TokenGradient
from attacks.text.search import TextSearch, text_search
from attacks.text.similarity import Closeness, Limits, Similarity

__all__ = [
    "DROPS",
    "INSERTIONS",
    "KINDS",
    "LOOKALIKES",
    "SUBSTITUTIONS",
    "TYPOS",
    "Closeness",
    "Lexicon",
    "Limits",
    "Similarity",
    "TextSearch",
    "TokenGradient",
    "case_noise",
    "punctuation_noise",
    "text_search",
    "typos",
    "word_noise",
]
