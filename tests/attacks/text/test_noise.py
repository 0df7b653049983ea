"""Noise in texts: determinism, rates, and how far a text may move."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attacks.text import case_noise, punctuation_noise, typos, word_noise
from attacks.text.letters import KEYBOARD
from attacks.text.words import is_word, join, split

TEXTS = ["The movie wasn't good, it was terrible; I left early!", "Wonderful.", "", "été à la plage — ça va ?"] * 5
NOISES = [typos, word_noise, case_noise, punctuation_noise]


def distance(a: str, b: str) -> int:
    """Damerau-Levenshtein distance (optimal string alignment)."""
    rows = [[i + j if i * j == 0 else 0 for j in range(len(b) + 1)] for i in range(len(a) + 1)]
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            rows[i][j] = min(rows[i - 1][j] + 1, rows[i][j - 1] + 1, rows[i - 1][j - 1] + (a[i - 1] != b[j - 1]))
            if i > 1 and j > 1 and a[i - 1] == b[j - 2] and a[i - 2] == b[j - 1]:
                rows[i][j] = min(rows[i][j], rows[i - 2][j - 2] + 1)
    return rows[-1][-1]


@pytest.mark.parametrize("noise", NOISES)
def test_deterministic_by_seed_and_row(noise: Callable[..., list[str]]) -> None:
    whole = noise(TEXTS, 0.5, seed=3)
    assert whole == noise(TEXTS, 0.5, seed=3)
    assert whole != noise(TEXTS, 0.5, seed=4)
    assert noise([TEXTS[8], TEXTS[0]], 0.5, seed=3, rows=[8, 0]) == [whole[8], whole[0]]
    assert noise(TEXTS, 0.0, seed=3) == TEXTS
    assert whole != TEXTS


def test_typos_change_each_word_by_one_slip_at_the_rate() -> None:
    texts = [" ".join(["keyboard"] * 200)] * 5
    for rate in (0.1, 0.5, 1.0):
        changed = 0
        for before, after in zip(texts, typos(texts, rate), strict=True):
            words = after.split(" ")
            assert len(words) == 200  # no word goes
            for was, now in zip(before.split(" "), words, strict=True):
                assert distance(was, now) <= 1
                changed += was != now
        assert changed / 1000 == pytest.approx(rate, abs=0.05)


@pytest.mark.parametrize("noise", [typos, case_noise])
def test_a_word_spoilt_stays_spoilt_at_higher_rates(noise: Callable[..., list[str]]) -> None:
    text = ["several words of some length that may be mistyped by a tired hand"]
    words = text[0].split(" ")
    light, heavy = (noise(text, rate, seed=1)[0].split(" ") for rate in (0.3, 0.6))
    touched = [i for i, (a, b) in enumerate(zip(words, light, strict=True)) if a != b]
    assert touched
    assert all(light[i] == heavy[i] for i in touched)


def test_word_noise_uses_the_texts_own_words_and_leaves_one() -> None:
    text = "one two three four five six"
    for seed in range(30):
        words = word_noise([text], 1.0, seed=seed)[0].split()
        assert words
        assert set(words) <= set(text.split())
    assert word_noise(["alone"], 1.0)[0].split()[0] == "alone"


def test_case_and_punctuation_leave_the_letters() -> None:
    for before, after in zip(TEXTS, case_noise(TEXTS, 1.0), strict=True):
        assert before.lower() == after.lower()
    letters = [[c for c in text if c.isalnum()] for text in TEXTS]
    noisy = punctuation_noise(TEXTS, 1.0)
    assert [[c for c in text if c.isalnum()] for text in noisy] == letters


@given(st.text(max_size=60))
@settings(max_examples=100, deadline=None)
def test_any_text(text: str) -> None:
    assert join(split(text)) == text
    for noise in NOISES:
        assert isinstance(noise([text], 1.0)[0], str)


def test_keyboard_neighbours_are_mutual() -> None:
    assert set(KEYBOARD["g"]) == set("fhtyvb")
    assert all(letter in KEYBOARD[other] for letter, near in KEYBOARD.items() for other in near)


def test_words_keep_apostrophes() -> None:
    assert [piece for piece in split("It wasn't (that) bad.") if is_word(piece)] == ["It", "wasn't", "that", "bad"]


@pytest.mark.parametrize("noise", NOISES)
def test_refusals(noise: Callable[..., list[str]]) -> None:
    with pytest.raises(ValueError, match="sequence of strings"):
        noise("one text", 0.1)
    with pytest.raises(ValueError, match="Expected rate"):
        noise(["a"], 1.5)
    with pytest.raises(ValueError, match="Expected rows"):
        noise(["a"], 0.5, rows=[1, 2])
