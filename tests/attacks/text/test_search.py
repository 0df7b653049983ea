"""The search for word changes, on classifiers whose answer is a count of keywords."""

import pytest
import torch
from torch import Tensor

from attacks.text import text_search

WEIGHTS = {"terrible": 1.0, "boring": 0.6, "awful": 0.3}


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


@pytest.mark.parametrize("edits", [("typo",), ("drop",), ("typo", "drop")])
def test_finds_the_keywords_and_no_more(edits: tuple[str, ...]) -> None:
    model = Counter()
    found = text_search(model, TEXTS, LABELS, 4, edits=edits)
    assert found.clean_correct.tolist() == [True, True, False, True]
    assert found.words_changed.tolist() == [1, 2, 0, 3]
    assert found.changed == [(1,), (1, 3), (), (1, 5, 2)] or set(found.changed[3]) == {1, 5, 2}
    assert found.changed[:3] == [(1,), (1, 3), ()]
    assert not found.robust.any()
    assert found.forwards == model.seen
    wrong = Counter()(found.texts).argmax(1)
    assert wrong.tolist() == [0, 0, 0, 0]
    assert found.texts[2] == TEXTS[2]


def test_the_budget_holds_and_is_nested() -> None:
    found = text_search(Counter(), TEXTS, LABELS, 4, edits=("typo",))
    for budget in (0, 1, 2, 3):
        small = text_search(Counter(), TEXTS, LABELS, budget, edits=("typo",))
        assert torch.equal(small.robust, found.robust_within(budget))
        assert [t == given for t, given in zip(small.texts, TEXTS, strict=True)][2]
        differing = [
            sum(a != b for a, b in zip(new.split(" "), old.split(" "), strict=True))
            for new, old in zip(small.texts, TEXTS, strict=True)
        ]
        assert max(differing) <= budget


def test_a_model_that_sees_no_words_is_robust() -> None:
    def constant(texts: list[str]) -> Tensor:
        return torch.tensor([[0.0, 1.0]]).expand(len(texts), 2)

    found = text_search(constant, [*TEXTS, "", "?!"], torch.ones(6, dtype=torch.int64), 3)
    assert found.robust.all()
    assert found.texts == [*TEXTS, "", "?!"]
    assert found.words_changed.isinf().all()


def test_neighbours_batches_and_order_change_nothing() -> None:
    whole = text_search(Counter(), TEXTS, LABELS, 4, seed=2)
    rows = [3, 1]
    part = text_search(Counter(), [TEXTS[i] for i in rows], LABELS[:2], 4, seed=2, rows=rows, batch_size=5)
    assert part.texts == [whole.texts[i] for i in rows]
    assert part.words_changed.tolist() == [whole.words_changed[i] for i in rows]


def test_ties_follow_argmax() -> None:
    def tie(texts: list[str]) -> Tensor:
        return torch.zeros(len(texts), 2)

    found = text_search(tie, ["words here", "words there"], [0, 1], 1)
    assert found.clean_correct.tolist() == [True, False]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"labels": [1]}, "one label"),
        ({"texts": "one"}, "one label"),
        ({"budget_words": -1}, "budget_words"),
        ({"edits": ("shout",)}, "edits"),
        ({"predict": lambda texts: torch.full((len(texts), 2), float("nan"))}, "without NaN"),
        ({"predict": lambda texts: torch.zeros(len(texts))}, "classes"),
    ],
)
def test_refusals(change: dict[str, object], says: str) -> None:
    given = {"predict": Counter(), "texts": TEXTS, "labels": LABELS} | change
    with pytest.raises(ValueError, match=says):
        text_search(**given)  # type: ignore[arg-type]
