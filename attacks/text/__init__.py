"""Attacks and noise for texts."""

from attacks.text.noise import case_noise, punctuation_noise, typos, word_noise
from attacks.text.search import TextSearch, text_search

__all__ = ["TextSearch", "case_noise", "punctuation_noise", "text_search", "typos", "word_noise"]
