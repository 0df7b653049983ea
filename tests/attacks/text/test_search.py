"""The search for word changes, on classifiers whose answer is a count of keywords."""

import random
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from attacks.text import DROPS, INSERTIONS, KINDS, LOOKALIKES, TYPOS, Lexicon, Limits, text_search
from attacks.text.words import is_negation, words_of

WEIGHTS = {"terrible": 1.0, "boring": 0.6, "awful": 0.3}
WIDE = Limits(share=1.0, characters=0.0)


class Counter:
    """Class 1 where the weights of the words present reach 0.5; counts the texts it is shown."""

    def __init__(self) -> None:
        self.seen = 0

    def __call__(self, texts: list[str]) -> Tensor:
        self.seen += len(texts)
        words = [t.replace(",", " ").replace(".", " ").split() for t in texts]
        score = torch.tensor([sum(WEIGHTS.get(w, 0.0) for w in ws) for ws in words])
        return torch.stack([torch.full_like(score, 0.5), score], 1)


TEXTS = [
    "A terrible film about trains.",  # one keyword
    "Long, terrible and boring, mostly.",  # two needed
    "awful trains",  # below the threshold: wrong as it is
    "a terrible, boring, awful and terrible affair",  # the three heaviest of four
]
LABELS = torch.ones(4, dtype=torch.int64)


@pytest.mark.parametrize("kinds", [TYPOS, LOOKALIKES, DROPS, ("swap",), ("key", "drop")])
def test_finds_the_keywords_and_no_more(kinds: tuple[str, ...]) -> None:
    model = Counter()
    found = text_search(model, TEXTS, LABELS, 4, kinds=kinds, limits=WIDE)
    assert found.clean_correct.tolist() == [True, True, False, True]
    assert found.words_changed.tolist() == [1, 2, 0, 3]
    assert [set(places) for places in found.changed] == [{1}, {1, 3}, set(), {1, 2, 5}]
    assert all(kind in kinds for own in found.kinds for kind in own)
    assert not found.robust.any()
    assert found.forwards == model.seen
    assert found.backwards == 0
    assert Counter()(found.texts).argmax(1).tolist() == [0, 0, 0, 0]
    assert found.texts[2] == TEXTS[2]
    assert found.closeness[2] is None


def test_the_budget_holds_and_is_nested() -> None:
    found = text_search(Counter(), TEXTS, LABELS, 4, limits=WIDE)
    for budget in (0, 1, 2, 3):
        small = text_search(Counter(), TEXTS, LABELS, budget, limits=WIDE)
        assert torch.equal(small.robust, found.robust_within(budget))
        assert small.texts[2] == TEXTS[2]
        differing = [
            sum(a != b for a, b in zip(new.split(" "), old.split(" "), strict=True))
            for new, old in zip(small.texts, TEXTS, strict=True)
        ]
        assert max(differing) <= budget


def test_a_share_of_the_words_is_a_budget_too_but_one_word_is_always_free() -> None:
    texts = ["terrible", "terrible boring", *TEXTS[:2]]
    found = text_search(Counter(), texts, [1] * 4, 4, limits=Limits(share=0.3, characters=0.0))
    assert found.robust.tolist() == [False, True, False, True]
    assert text_search(Counter(), texts, [1] * 4, 4, limits=WIDE).robust.tolist() == [False] * 4


def test_a_model_that_sees_no_words_is_robust() -> None:
    def constant(texts: list[str]) -> Tensor:
        return torch.tensor([[0.0, 1.0]]).expand(len(texts), 2)

    texts = [*TEXTS, "", "?!", "🙂🙂", "   ", "not", "<b></b>"]
    found = text_search(constant, texts, torch.ones(10, dtype=torch.int64), 3, kinds=(*TYPOS, *LOOKALIKES, *DROPS))
    assert found.robust.all()
    assert found.texts == texts
    assert found.words_changed.isinf().all()


def test_neighbours_batches_and_order_change_nothing() -> None:
    texts = [*TEXTS, "a boring, terrible, terrible train with many a carriage, and no awful smell"]
    labels = [1] * 5
    kinds = (*TYPOS, *LOOKALIKES, *INSERTIONS)
    whole = text_search(Counter(), texts, labels, 4, kinds=kinds, limits=WIDE, seed=2)
    rows = [4, 3, 1]
    part = text_search(Counter(), [texts[i] for i in rows], [1] * 3, 4, kinds=kinds, limits=WIDE, seed=2, batch_size=5)
    assert part.texts == [whole.texts[i] for i in rows]
    assert part.words_changed.tolist() == [whole.words_changed[i] for i in rows]
    assert part.closeness == [whole.closeness[i] for i in rows]
    other = text_search(Counter(), texts, labels, 4, kinds=kinds, limits=WIDE, seed=3)
    assert other.texts != whole.texts


def test_global_generators_and_hash_seeds_do_not_matter() -> None:
    states = random.getstate(), str(np.random.get_state()), torch.get_rng_state()  # noqa: NPY002
    text_search(Counter(), TEXTS, LABELS, 2)
    assert states[0] == random.getstate()
    assert states[1] == str(np.random.get_state())  # noqa: NPY002
    assert torch.equal(states[2], torch.get_rng_state())
    script = (
        "from tests.attacks.text.test_search import *;"
        "print(ascii(text_search(Counter(), TEXTS, LABELS, 4, kinds=TYPOS + LOOKALIKES, limits=WIDE).texts))"
    )
    there = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONHASHSEED": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        check=True,
    ).stdout.decode()
    here = text_search(Counter(), TEXTS, LABELS, 4, kinds=TYPOS + LOOKALIKES, limits=WIDE).texts
    assert there.strip() == ascii(here)


def test_ties_follow_argmax() -> None:
    def tie(texts: list[str]) -> Tensor:
        return torch.zeros(len(texts), 2)

    found = text_search(tie, ["words here", "words there"], [0, 1], 1)
    assert found.clean_correct.tolist() == [True, False]


def test_a_success_that_does_not_stand_alone_is_none() -> None:
    calls = 0

    def moody(texts: list[str]) -> Tensor:
        """Fooled by every misspelling, but only until the success is looked at again."""
        nonlocal calls
        calls += 1
        fooled = torch.tensor([float("terrible" not in text and calls == 2) for text in texts])
        return torch.stack([fooled, torch.full_like(fooled, 0.5)], 1)

    found = text_search(moody, ["a terrible film"], [1], 1)
    assert calls == 3
    assert found.robust.tolist() == [True]
    assert found.texts == ["a terrible film"]


def test_negations_names_numbers_and_markup_are_left_alone() -> None:
    text = 'Not bad: <a href="terrible">It wasn’t terrible</a>, said Terrible Tim in 1st place @terrible http://terrible.com'

    def every(texts: list[str]) -> Tensor:
        """Fooled by any change of a word that is protected."""
        kept = ["Not", 'href="terrible"', "wasn’t", "Terrible", "Tim", "1st", "@terrible", "http://terrible.com", "It"]
        broken = torch.tensor([float(any(word not in t for word in kept)) for t in texts])
        return torch.stack([broken, torch.full_like(broken, 0.5)], 1)

    lexicon = Lexicon.learn(["nothing like terrible here, never"] * 9)
    kinds = tuple(k for k in KINDS if k != "substitute")
    found = text_search(every, [text], [1], 4, kinds=kinds, limits=WIDE, lexicon=lexicon)
    assert found.robust.all()
    # with names free, the name is found
    free = text_search(every, [text], [1], 4, kinds=TYPOS, limits=WIDE, protect=("stop", "number"))
    assert free.words_changed.tolist() == [1]


def test_negations_are_never_put_in() -> None:
    seen: list[str] = []

    def note(texts: list[str]) -> Tensor:
        seen.extend(texts)
        return torch.tensor([[0.0, 1.0]]).expand(len(texts), 2)

    synonyms = {"good": ["not", "never", "fine"], "nots": ["not"], "noot": ["not"]}
    text_search(note, ["good noot nots nevver"], [1], 2, kinds=(*TYPOS, "substitute"), synonyms=synonyms)
    assert any("fine" in text for text in seen)
    assert not any(is_negation(word) for text in seen for word in words_of(text))


def test_whitespace_punctuation_and_case_stay() -> None:
    text = "  TERRIBLE!!\tfilm\n\n…and  “boring”, too ;) "

    def lower(texts: list[str]) -> Tensor:
        return Counter()([t.lower().replace("!", " ").replace("“", " ").replace("”", " ") for t in texts])

    for kinds in (TYPOS, ("substitute",)):
        found = text_search(
            lower, [text], [1], 2, kinds=kinds, limits=WIDE, synonyms={"terrible": ["dire"], "boring": ["dull"]}
        )
        assert found.words_changed.tolist() == [2]
        words = words_of(found.texts[0])
        assert [w for w in words if w.isupper()] == words[:1]
        rest = found.texts[0]
        for new, old in zip(words, words_of(text), strict=True):
            rest = rest.replace(new, old, 1)
        assert rest == text
    assert found.texts[0] == "  DIRE!!\tfilm\n\n…and  “dull”, too ;) "


@pytest.mark.parametrize(
    "text",
    [
        "这部电影很好看",
        "फिल्म बहुत अच्छी है",
        "фильм хороший, терпение",
        "👩‍👩‍👧 wonderful 👩‍👩‍👧",
        "e\u0301te\u0301s formidable",
        "word",
    ],
)
def test_other_scripts(text: str) -> None:
    def exact(texts: list[str]) -> Tensor:
        changed = torch.tensor([float(t != text) for t in texts])
        return torch.stack([changed, torch.full_like(changed, 0.5)], 1)

    found = text_search(exact, [text], [1], 1, kinds=(*TYPOS, *LOOKALIKES, *DROPS), limits=WIDE)
    if len(words_of(text)) > 1 or len(text) > 3:
        assert found.words_changed.tolist() == [1]
    assert words_of(found.texts[0]) or not words_of(text)


def test_a_very_long_text_is_searched_for_its_passage_first() -> None:
    text = " ".join(["filler"] * 1500 + ["terrible"] + ["padding"] * 1500)
    model = Counter()
    found = text_search(model, [text], [1], 1)
    assert found.words_changed.tolist() == [1]
    assert found.changed == [(1500,)]
    assert model.seen < 600


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"labels": [1]}, "one label"),
        ({"labels": [-1] * 4}, "labels"),
        ({"labels": [2] * 4}, "labels below"),
        ({"texts": "one"}, "one label"),
        ({"budget_words": -1}, "budget_words"),
        ({"kinds": ("shout",)}, "kinds"),
        ({"kinds": ()}, "kinds"),
        ({"kinds": ("substitute",)}, "source of substitutes"),
        ({"protect": ("everything",)}, "protect"),
        ({"distractors": ("never",)}, "never"),
        ({"candidates": 0}, "candidates"),
        ({"beam": 0}, "beam"),
        ({"tries": 0}, "tries"),
        ({"width": 0}, "width"),
        ({"batch_size": 0}, "batch_size"),
        ({"search": "luck"}, "search"),
        ({"search": "gradient"}, "differentiate"),
        ({"predict": lambda texts: torch.full((len(texts), 2), float("nan"))}, "without NaN"),
        ({"predict": lambda texts: torch.zeros(len(texts))}, "classes"),
    ],
)
def test_refusals(change: dict[str, Any], says: str) -> None:
    given: dict[str, Any] = {"predict": Counter(), "texts": TEXTS, "labels": LABELS} | change
    search: Callable[..., object] = text_search
    with pytest.raises(ValueError, match=says):
        search(**given)
