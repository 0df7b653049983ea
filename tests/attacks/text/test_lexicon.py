"""Substitutes from a corpus whose synonyms and opposites were planted."""

import random

import pytest
import torch

from attacks.text import Lexicon, text_search
from attacks.text.words import free, is_negation, join, split


def corpus(seed: int = 0) -> tuple[list[str], list[int]]:
    """Films and movies, good and great, bad and poor; a dog barks elsewhere. Class 1 praises."""
    rng = random.Random(seed)
    texts, labels = [], []
    for _ in range(600):
        label = rng.randrange(2)
        noun = rng.choice(["film", "movie", "picture"])
        praise = rng.choice(["good", "great"] if label else ["bad", "poor"])
        place = rng.choice(["Paris", "London"])
        hall = rng.choice(["cinema", "theatre", "hall"])
        texts.append(f"Seen: a {praise} {noun} about a dog, shown in {place} at the old {hall}.")
        labels.append(label)
    return texts, labels


def test_likes_are_found_and_opposites_are_not() -> None:
    texts, labels = corpus()
    lexicon = Lexicon.learn(texts, labels)
    assert set(lexicon.substitutes("film", 8)) == {"movie", "picture"}
    assert lexicon.substitutes("good", 8) == ["great"]  # bad stands where good stands, but not in the same class
    assert lexicon.substitutes("Bad", 8) == ["poor"]
    assert set(Lexicon.learn(texts).substitutes("good", 8)) == {"great", "bad", "poor"}
    assert lexicon.substitutes("paris", 8) == []
    assert lexicon.names == {"paris", "london"}
    assert lexicon.substitutes("unseen", 8) == []


def test_embeddings_have_a_say() -> None:
    texts, labels = corpus()
    far = {"movie": 1.0, "picture": -1.0, "film": 1.0}

    def embed(words: list[str]) -> torch.Tensor:
        return torch.tensor([[far.get(word, 0.0), 0.01] for word in words])

    assert Lexicon.learn(texts, labels, embed).substitutes("film", 8) == ["movie", "picture"]  # the nearer first


def test_opposites_by_prefix_or_ending_are_no_substitutes() -> None:
    texts = [
        f"a {word} plot about {n} people who talk"
        for n in range(40)
        for word in ("happy", "unhappy", "careful", "careless", "sunny")
    ]
    lexicon = Lexicon.learn(texts)
    assert lexicon.substitutes("happy", 8) == ["sunny"]
    assert lexicon.substitutes("careful", 8) == []


def test_the_order_of_the_corpus_and_the_global_generator_do_not_matter() -> None:
    texts, labels = corpus()
    state = torch.get_rng_state()
    one = Lexicon.learn(texts, labels)
    assert torch.equal(state, torch.get_rng_state())
    two = Lexicon.learn(texts[::-1], labels[::-1])
    for word in ("film", "good", "cinema", "dog"):
        assert one.substitutes(word, 8) == two.substitutes(word, 8)


def test_an_empty_corpus_offers_nothing_and_bad_ones_are_refused() -> None:
    assert Lexicon.learn([]).substitutes("film", 8) == []
    with pytest.raises(ValueError, match="sequence of strings"):
        Lexicon.learn("one text")
    with pytest.raises(ValueError, match="one label"):
        Lexicon.learn(["one"], [0, 1])


def test_the_search_puts_them_in_with_the_right_article() -> None:
    texts, labels = corpus()
    lexicon = Lexicon.learn(texts, labels)
    seen: list[str] = []

    def watch(batch: list[str]) -> torch.Tensor:
        seen.extend(batch)
        return torch.tensor([[0.0, 1.0]]).expand(len(batch), 2)

    text_search(watch, ["A film, the movie."], [1], 2, kinds=("substitute",), lexicon=lexicon)
    assert any("A picture" in text for text in seen)
    seen.clear()
    text_search(
        watch, ["an idle film"], [1], 1, kinds=("substitute",), synonyms={"idle": ["lazy", "inert"]}, lexicon=lexicon
    )
    assert any("an inert" in text for text in seen)
    assert not any("an lazy" in text for text in seen)


def test_a_slip_is_never_another_word() -> None:
    lexicon = Lexicon.learn(["form from farm firm word wild trail trial"] * 6)
    seen: list[str] = []

    def watch(batch: list[str]) -> torch.Tensor:
        seen.extend(batch)
        return torch.tensor([[0.0, 1.0]]).expand(len(batch), 2)

    text_search(watch, ["trail"], [1], 1, lexicon=lexicon, candidates=100)
    assert len(seen) > 20
    assert "trial" not in seen
    text_search(watch, ["trail"], [1], 1, candidates=100)
    assert "trial" in seen


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A dull film by Ann Lee. Bad film!", ["dull", "film", "Bad", "film"]),
        ("It isn't good, cannot be, never was", ["good"]),
        ("LOUD TEXT HERE", ["LOUD", "TEXT"]),
        ("<br />nice<br /> 3D &amp; mail me@x.org", ["nice", "mail"]),
        ("see www.film.com or #film @film", ["see"]),
        ("", []),
        ("12 !", []),
    ],
)
def test_what_may_be_changed(text: str, words: list[str]) -> None:
    pieces = split(text)
    assert [pieces[i] for i in free(pieces)] == words
    assert join(pieces) == text


def test_negations() -> None:
    assert all(is_negation(w) for w in ("not", "No", "DON'T", "wasn’t", "dont", "hardly", "n't", "can't"))
    assert not any(is_negation(w) for w in ("note", "now", "knot", "good"))


def test_ideographs_and_joined_letters_are_cut_rightly() -> None:
    assert split("很好 ok") == ["很", "好", " ", "ok"]
    assert split("नहीं है") == ["नहीं", " ", "है"]
    assert split("co\u00adop été") == ["co\u00adop", " ", "été"]
    assert "".join(split("👩‍👩‍👧 e\u0301 ")) == "👩‍👩‍👧 e\u0301 "
