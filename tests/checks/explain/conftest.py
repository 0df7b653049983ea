"""The subjects whose explanations are known, for the tests of checks."""

from tests.explaining.subjects import attentive, picture, table, words

__all__ = ["attentive", "picture", "table", "words"]
