"""Likeness of texts against plain definitions, and the limits that every success must keep."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from attacks.text import KINDS, Limits, Similarity, text_search
from attacks.text.letters import as_read, variants
from attacks.text.similarity import edit_distance
from attacks.text.words import split, words_of
from tests.attacks.text.models import Embedded, curved
from tests.attacks.text.test_known_optimum import VOCABULARY, synonyms_of, texts_of


def plain_distance(a: list[str] | str, b: list[str] | str) -> int:
    """Levenshtein by the whole table."""
    table = [[i + j if i * j == 0 else 0 for j in range(len(b) + 1)] for i in range(len(a) + 1)]
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            swap = table[i - 1][j - 1] + (a[i - 1] != b[j - 1])
            table[i][j] = min(table[i - 1][j] + 1, table[i][j - 1] + 1, swap)
    return table[-1][-1]


def plain_cosine(a: str, b: str) -> float:
    """Cosine of trigram counts, text by text and gram by gram."""
    grams = [[f"  {t.lower()}  "[i : i + 3] for i in range(len(t) + 2)] for t in (a, b)]
    axes = sorted(set(grams[0]) | set(grams[1]))
    x, y = ([own.count(gram) for gram in axes] for own in grams)
    return sum(p * q for p, q in zip(x, y, strict=True)) / math.sqrt(sum(p * p for p in x) * sum(q * q for q in y))


@given(st.text("abc", max_size=30), st.text("abc", max_size=30))
@settings(max_examples=200, deadline=None)
def test_edit_distance_is_levenshteins(a: str, b: str) -> None:
    assert edit_distance(a, b) == plain_distance(a, b)


def test_a_long_text_with_few_changes_is_measured_fast() -> None:
    a = "word " * 4000
    b = a[:3] + "x" + a[3:9000] + a[9001:] + "end"
    assert edit_distance(a, b) == 5


@pytest.mark.parametrize(
    ("before", "after", "words", "edits"),
    [
        ("one two three", "one two three", 0, 0),
        ("one two three", "one tow three", 1, 2),
        ("one two three", "one three", 1, 4),
        ("one two three", "one two today three", 1, 6),
        ("good film", "g\u200bood film", 1, 0),
        ("good film", "gооd film", 1, 0),
        ("", "", 0, 0),
        ("!", "?", 0, 1),
    ],
)
def test_counts(before: str, after: str, words: int, edits: int) -> None:
    found = Similarity().measure(before, after)
    assert (found.words, found.edits) == (words, edits)
    assert found.meaning is None
    assert found.characters == pytest.approx(plain_cosine(as_read(before), as_read(after)))


def test_meaning_is_the_cosine_of_mean_embeddings() -> None:
    model = Embedded(["good", "fine", "film"], 3, lambda x: x.sum(1))
    found = Similarity(model.embed).measure("good film", "fine film!")
    good, fine, film = model.table
    expected = torch.cosine_similarity((good + film) / 2, (fine + film) / 2, dim=0)
    assert found.meaning == pytest.approx(float(expected))


@pytest.mark.parametrize(
    "limits",
    [
        Limits(share=0.2, characters=0.0, meaning=-1.0),
        Limits(share=1.0, characters=0.9, meaning=-1.0),
        Limits(share=1.0, characters=0.0, meaning=0.85),
        Limits(share=1.0, characters=0.0, meaning=-1.0, edits=1.0),
    ],
)
def test_every_success_keeps_the_limits(limits: Limits) -> None:
    model = Embedded(VOCABULARY, 5, curved(5, 2, seed=5))
    texts, synonyms = texts_of(40, 10, seed=6), synonyms_of(4, seed=7)
    labels = model(texts).argmax(1).tolist()
    found = text_search(
        model, texts, labels, 3, kinds=KINDS, synonyms=synonyms, embed=model.embed, limits=limits, candidates=4
    )
    loose = text_search(
        model, texts, labels, 3, kinds=KINDS, synonyms=synonyms, embed=model.embed, candidates=4,
        limits=Limits(share=1.0, characters=0.0, meaning=-1.0),
    )  # fmt: skip
    assert found.texts != loose.texts  # the limit binds
    assert int(found.robust.sum()) >= int(loose.robust.sum())
    broken = [i for i in range(40) if not found.robust[i]]
    assert broken
    for i in broken:
        before, after = texts[i], found.texts[i]
        old, new = words_of(before), words_of(after)
        words = plain_distance(old, new)
        assert words == found.words_changed[i] <= max(1, int(limits.share * len(old)))
        assert plain_cosine(as_read(before), as_read(after)) >= limits.characters - 1e-9
        a, b = (model.embed(own).mean(0) for own in (old, new))
        assert float(torch.cosine_similarity(a, b, dim=0)) >= limits.meaning - 1e-9
        if limits.edits is not None:
            assert plain_distance(as_read(before), as_read(after)) <= limits.edits * words
        near = found.closeness[i]
        assert near is not None
        assert near.words == words
        assert near.characters == pytest.approx(plain_cosine(as_read(before), as_read(after)))
        assert int(model([after]).argmax(1)) != labels[i]


@pytest.mark.parametrize("name", ["share", "characters", "meaning"])
def test_limits_are_refused_outside_their_range(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        Limits(**{name: 1.5})


def test_variants_are_of_their_kind() -> None:
    word = "terrible"
    for kind in ("swap", "delete", "insert", "key", "double"):
        found = variants(word, kind)
        assert len(found) == len(set(found)) >= 3
        for variant in found:
            assert (variant[0], variant[-1]) == ("t", "e")
            assert len(variant) - len(word) == {"delete": -1, "insert": 1, "double": 1}.get(kind, 0)
            assert edit_distance(word, variant) == (2 if kind == "swap" else 1)
        assert variants("bad", kind) == []
    for kind in ("homoglyph", "invisible"):
        for variant in variants(word, kind):
            assert variant != word
            assert as_read(variant) == word
            assert len(split(variant)) == 1  # still one word
    # a mark stays with its letter: no e loses its accent
    assert all("e\u0301" in v or "\u0301" not in v for v in variants("te\u0301le\u0301phone", "swap"))
    assert variants("слово", "key") == []
