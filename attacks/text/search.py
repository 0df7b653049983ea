"""Search for a few word changes that alter a text classifier's answer, from its scores alone.

Greedy search by word importance: words are ranked by how much the margin falls without them (Gao, Lanchantin, Soffa and
Qi 2018, DeepWordBug; Jin, Jin, Zhou and Szolovits 2020, TextFooler), and changed by slips of the hand a reader does not
stumble over (Pruthi, Dhingra and Lipton 2019), or dropped. All texts take a step together, in one call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

import torch
from torch import Tensor

from attacks.text.words import is_word, join, slips, split

EDITS = ("typo", "drop")


@dataclass(frozen=True, eq=False)
class TextSearch:
    """What the search found.

    Attributes:
        texts: n strings; the text that fools the model where one was found, otherwise the text as given.
        words_changed: (n,) float; how many words differ; 0 where the model was wrong to begin with, inf where nothing
            was found.
        changed: positions of the changed words among the words of each text, most effective first.
        clean_correct: (n,) bool; whether the text as given was classified rightly.
        robust: (n,) bool; right as given, and nothing found.
        forwards: texts pushed through the model, verification included.
    """

    texts: list[str]
    words_changed: Tensor
    changed: list[tuple[int, ...]]
    clean_correct: Tensor
    robust: Tensor
    forwards: int

    def robust_within(self, words: int) -> Tensor:
        """(n,) bool: right, and nothing found with at most this many words changed."""
        return self.words_changed > words


@dataclass
class _State:
    """One text on its way: `pieces` as changed so far, `places` of its words, the `order` in which they are tried."""

    row: int
    label: int
    pieces: list[str]
    places: list[int]
    margin: float
    order: list[int] = field(default_factory=list)
    changed: list[int] = field(default_factory=list)


class _Counted:
    """`predict` in batches, counting what enters and refusing what is no score."""

    def __init__(self, predict: Callable[[list[str]], Tensor], batch_size: int) -> None:
        self.forwards, self._predict, self._size = 0, predict, batch_size

    def margins(self, texts: list[str], labels: list[int]) -> list[float]:
        """Score of the label minus the best other score, one a text; below 0 means fooled, 0 is a tie."""
        out: list[float] = []
        for start in range(0, len(texts), self._size):
            part = texts[start : start + self._size]
            scores = self._predict(part).detach().double().cpu()
            self.forwards += len(part)
            if scores.ndim != 2 or len(scores) != len(part) or scores.shape[1] < 2 or bool(scores.isnan().any()):
                raise ValueError(
                    f"Expected predict to return ({len(part)}, classes) scores without NaN, found {tuple(scores.shape)}."
                )
            at = torch.tensor(labels[start : start + self._size])[:, None]
            own = scores.gather(1, at)[:, 0]
            best = scores.scatter(1, at, -torch.inf).amax(1)
            # the label wins a tie only where argmax says so
            wrong = (scores.argmax(1) != at[:, 0]) & (own == best)
            out += torch.where(wrong, -torch.finfo(torch.float64).tiny, own - best).tolist()
        return out


def text_search(
    predict: Callable[[list[str]], Tensor],
    texts: Sequence[str],
    labels: Tensor | Sequence[int],
    budget_words: int = 4,
    *,
    edits: Sequence[str] = EDITS,
    candidates: int = 8,
    width: int = 4,
    batch_size: int = 1024,
    seed: int = 0,
    rows: Sequence[int] | None = None,
) -> TextSearch:
    """Change at most `budget_words` words of each text so that the model errs.

    Args:
        predict: strings to (n, classes) scores.
        texts: n strings.
        labels: (n,) class indices.
        budget_words: most words changed in one text.
        edits: what may be done to a word: "typo", "drop" or both. Dropping a word may change what the text says.
        candidates: misspellings tried for a word.
        width: most important words tried in one step; the best change of all is kept.
        batch_size: most texts in one call of `predict`.
        seed: equal seeds give equal misspellings.
        rows: n numbers of the rows, by default 0 to n - 1, so that a text's result does not depend on its neighbours.

    Raises:
        ValueError: an argument is not as described; the message names it.
    """
    truth = [int(label) for label in labels]
    numbers = list(range(len(texts))) if rows is None else [int(row) for row in rows]
    _refuse(texts, truth, numbers, budget_words, edits)
    model = _Counted(predict, batch_size)
    clean = model.margins(list(texts), truth)
    states = []
    for row, (text, label, margin) in enumerate(zip(texts, truth, clean, strict=True)):
        pieces = split(text)
        states.append(_State(row, label, pieces, [i for i, p in enumerate(pieces) if is_word(p)], margin))
    attacked = [state for state in states if state.margin >= 0]
    _rank(model, attacked)
    active = attacked
    for _ in range(max((len(state.places) for state in attacked), default=0)):
        active = [s for s in active if s.margin >= 0 and s.order and len(s.changed) < budget_words]
        _step(model, active, edits, candidates, width, seed, numbers)
    fooled = [state for state in attacked if state.margin < 0]
    again = model.margins([join(s.pieces) for s in fooled], [s.label for s in fooled])
    broken = {state.row: state for state, margin in zip(fooled, again, strict=True) if margin < 0}
    correct = torch.tensor([margin >= 0 for margin in clean], dtype=torch.bool)
    words = [float(len(broken[i].changed)) if i in broken else torch.inf for i in range(len(texts))]
    return TextSearch(
        texts=[join(broken[i].pieces) if i in broken else text for i, text in enumerate(texts)],
        words_changed=torch.where(correct, torch.tensor(words), 0.0),
        changed=[tuple(broken[i].changed) if i in broken else () for i in range(len(texts))],
        clean_correct=correct,
        robust=torch.tensor([right and i not in broken for i, right in enumerate(correct.tolist())], dtype=torch.bool),
        forwards=model.forwards,
    )


def _refuse(texts: Sequence[str], truth: list[int], numbers: list[int], budget: int, edits: Sequence[str]) -> None:
    if isinstance(texts, str) or len(truth) != len(texts) or len(numbers) != len(texts):
        raise ValueError(f"Expected one label and one row a text, found {len(truth)}, {len(numbers)} and {len(texts)}.")
    if budget < 0:
        raise ValueError(f"Expected budget_words to be at least 0, found {budget!r}.")
    if not edits or any(edit not in EDITS for edit in edits):
        raise ValueError(f"Expected edits from {', '.join(EDITS)}, found {tuple(edits)!r}.")


def _rank(model: _Counted, states: list[_State]) -> None:
    """Order every text's words by the margin without them, smallest first."""
    without = [join(_replaced(s.pieces, s.places[j], "")) for s in states for j in range(len(s.places))]
    margins = iter(model.margins(without, [s.label for s in states for _ in s.places]))
    for state in states:
        left = [next(margins) for _ in state.places]
        state.order = sorted(range(len(left)), key=left.__getitem__)


def _step(
    model: _Counted,
    states: list[_State],
    edits: Sequence[str],
    candidates: int,
    width: int,
    seed: int,
    numbers: list[int],
) -> None:
    """Change one word of every text, the best of `width`; where nothing helps, those words are given up."""
    tried: list[list[tuple[int, list[str]]]] = []
    for state in states:
        options = []
        for j in state.order[:width]:
            place = state.places[j]
            word = state.pieces[place]
            rng = Random(f"search {seed} {numbers[state.row]} {j}")  # noqa: S311 - not for secrets
            changes = slips(word, candidates, rng) if "typo" in edits else []
            if "drop" in edits and sum(is_word(state.pieces[i]) for i in state.places) > 1:
                changes.append("")
            options += [(j, _replaced(state.pieces, place, change)) for change in changes]
        tried.append(options)
    variants = [join(pieces) for options in tried for _, pieces in options]
    labels = [state.label for state, options in zip(states, tried, strict=True) for _ in options]
    margins = iter(model.margins(variants, labels))
    for state, options in zip(states, tried, strict=True):
        scored = [(next(margins), j, pieces) for j, pieces in options]
        best = min(scored, key=lambda s: s[0], default=None)
        if best is not None and best[0] < state.margin:
            state.margin, j, state.pieces = best
            state.changed.append(j)
            state.order.remove(j)
        else:
            del state.order[:width]


def _replaced(pieces: list[str], place: int, word: str) -> list[str]:
    return [*pieces[:place], word, *pieces[place + 1 :]]
