"""Search for a few word changes that alter a text classifier's answer.

A beam of the most promising changes grows by one word a round, so that the first success changes the fewest words this
search can do with. All candidates of all texts of a round go through the model together; a text leaves when it is
broken. What is worth trying is told by scores alone or by one gradient, see `attacks.text.promise`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from attacks.text.letters import TYPOS
from attacks.text.lexicon import Embed, Lexicon
from attacks.text.moves import DISTRACTORS, Move, Moves
from attacks.text.promise import HotFlip, Measured
from attacks.text.reader import Differentiate, Reader
from attacks.text.similarity import Closeness, Limits, Similarity
from attacks.text.states import Case, Node
from attacks.text.words import PROTECT, is_word, split

Search = Literal["scores", "gradient"]


@dataclass(frozen=True, eq=False)
class TextSearch:
    """What the search found.

    Attributes:
        texts: n strings; the text that fools the model where one was found, otherwise the text as given.
        words_changed: (n,) float; how many words differ; 0 where the model was wrong to begin with, inf where nothing
            was found.
        changed: positions of the changed words among the words of each text, in the order they were changed.
        kinds: what was done to them, one of `attacks.text.KINDS` each.
        closeness: how near the found text is to the text as given; None where there is none.
        clean_correct: (n,) bool; whether the text as given was classified rightly.
        robust: (n,) bool; right as given, and nothing found.
        forwards: texts pushed through the model, verification included.
        backwards: texts a gradient was taken of.
    """

    texts: list[str]
    words_changed: Tensor
    changed: list[tuple[int, ...]]
    kinds: list[tuple[str, ...]]
    closeness: list[Closeness | None]
    clean_correct: Tensor
    robust: Tensor
    forwards: int
    backwards: int

    def robust_within(self, words: int) -> Tensor:
        """(n,) bool: right, and nothing found with at most this many words changed."""
        return self.words_changed > words


def text_search(
    predict: Callable[[list[str]], Tensor],
    texts: Sequence[str],
    labels: Tensor | Sequence[int],
    budget_words: int = 4,
    *,
    kinds: Sequence[str] = TYPOS,
    search: Search = "scores",
    differentiate: Differentiate | None = None,
    embed: Embed | None = None,
    lexicon: Lexicon | None = None,
    synonyms: Mapping[str, Sequence[str]] | None = None,
    distractors: Sequence[str] = DISTRACTORS,
    protect: Collection[str] = PROTECT,
    limits: Limits | None = None,
    candidates: int = 8,
    width: int | None = 12,
    tries: int = 24,
    beam: int = 4,
    batch_size: int | None = 1024,
    seed: int = 0,
) -> TextSearch:
    """Change at most `budget_words` words of each text so that the model errs.

    What is found for a text depends on the text, its label and the seed, not on its neighbours. Negations are never
    touched, put in or taken out; markup, links and addresses are never touched.

    Args:
        predict: strings to (n, classes) scores.
        texts: n strings.
        labels: (n,) class indices.
        budget_words: most words changed in one text.
        kinds: what may be done to a word, any of `attacks.text.KINDS`. "drop" may change what the text says.
        search: "scores" needs `predict` alone; "gradient" (HotFlip) needs `differentiate` and `embed`, and far fewer
            forward passes.
        differentiate: the way below the strings.
        embed: strings to the mean embedding of their tokens; with it, likeness of meaning is measured and limited.
        lexicon: source of substitutes; its words are also what no misspelling may produce.
        synonyms: further substitutes of words in small letters.
        distractors: words that "distract" may put in.
        protect: words left alone: "stop" words, words with a "number", and "name"s.
        limits: how far a text may move; None for `Limits()`.
        candidates: most candidates of a word, of each family of kinds.
        width: most words of a text that "scores" looks at, the most important ones; None for all.
        tries: most candidates of a text tried in a round; from scores alone, the first round tries all.
        beam: changes kept from round to round; 1 is greedy search.
        batch_size: most texts in one call of `predict`.
        seed: equal seeds give equal misspellings.

    Raises:
        ValueError: an argument is not as described; the message names it.
    """
    truth = [int(label) for label in labels]
    numbers = {"width": 1 if width is None else width, "tries": tries, "beam": beam}
    _refuse(texts, truth, budget_words, numbers, search)
    if search == "gradient" and (differentiate is None or embed is None):
        raise ValueError("Expected differentiate and embed for search='gradient', found None; try search='scores'.")
    offers = Moves(kinds, candidates, lexicon, synonyms or {}, distractors, protect, seed)
    limits = limits or Limits()
    similarity = Similarity(embed)
    with Reader(predict, differentiate, batch_size, seed) as reader:
        clean = reader.margins(texts, truth)
        cases: dict[int, Case] = {}
        for i, (text, label, margin) in enumerate(zip(texts, truth, clean, strict=True)):
            if margin >= 0:
                pieces = split(text)
                cases[i] = Case(text, label, pieces, offers.of(pieces), margin)
        able = [case for case in cases.values() if case.moves and budget_words]
        promise = Measured(reader, width) if search == "scores" or embed is None else HotFlip(reader, embed)
        promise.prepare(able)
        for words in range(1, budget_words + 1):
            able = [c for c in able if c.found is None and c.nodes and words <= limits.words(c.words)]
            if not able:
                break
            _round(reader, promise, able, similarity, limits, tries, beam)
        return _result(texts, clean, cases, reader)


def _refuse(texts: Sequence[str], truth: list[int], budget: int, numbers: Mapping[str, int], search: str) -> None:
    if isinstance(texts, str) or len(truth) != len(texts):
        raise ValueError(f"Expected texts to be strings and one label a text, found {len(texts)} and {len(truth)}.")
    if any(label < 0 for label in truth):
        raise ValueError(f"Expected labels of at least 0, found {min(truth)}.")
    if budget < 0:
        raise ValueError(f"Expected budget_words to be at least 0, found {budget!r}.")
    for name, number in numbers.items():
        if number < 1:
            raise ValueError(f"Expected {name} to be at least 1, found {number!r}.")
    if search not in ("scores", "gradient"):
        raise ValueError(f"Expected search to be 'scores' or 'gradient', found {search!r}.")


def _round(
    reader: Reader,
    promise: Measured | HotFlip,
    cases: list[Case],
    similarity: Similarity,
    limits: Limits,
    tries: int,
    beam: int,
) -> None:
    """Change one more word of every text."""
    known = [_known(case) for case in cases]
    open_ = [case for case, children in zip(cases, known, strict=True) if not children]
    options = [_options(c, p, tries) for c, p in zip(open_, promise.promises(open_), strict=True)]
    asked = [(case, moves) for case, own in zip(open_, options, strict=True) for moves in own]
    margins = iter(reader.margins([case.after(moves) for case, moves in asked], [case.label for case, _ in asked]))
    tried = iter([[Node(moves, next(margins)) for moves in own] for own in options])
    hits: list[tuple[Case, Node, Closeness]] = []
    for case, children in zip(cases, known, strict=True):
        ranked = sorted(children or next(tried), key=lambda node: round(node.margin, 5))
        hit = _select(case, ranked, similarity, limits, beam)
        if hit is not None:
            hits.append((case, *hit))
    # the first success counts once it has stood alone, in a pass of its own
    fresh = reader.margins([case.after(node.moves) for case, node, _ in hits], [case.label for case, _, _ in hits])
    for (case, node, closeness), margin in zip(hits, fresh, strict=True):
        if margin < 0:
            case.found = (node, closeness)
        else:
            case.nodes = [Node(node.moves, margin)]


def _known(case: Case) -> list[Node]:
    """In the first round, what single moves do may have been measured already."""
    if not case.singles or case.nodes[0].moves:
        return []
    return [Node((move,), case.singles[move]) for move in case.moves if case.after((move,))]


def _options(case: Case, promised: list[list[float]], tries: int) -> list[tuple[Move, ...]]:
    """The `tries` most promising ways to change one more word."""
    ranked = sorted((round(margin, 5), i, j) for i, own in enumerate(promised) for j, margin in enumerate(own))
    found: dict[frozenset[Move], tuple[Move, ...]] = {}
    for _, i, j in ranked:
        before, move = case.nodes[i].moves, case.moves[j]
        if len(found) == tries:
            break
        if all(move.place != other.place for other in before):
            moves = (*before, move)
            if case.after(moves):
                found.setdefault(frozenset(moves), moves)
    return list(found.values())


def _select(
    case: Case, ranked: list[Node], similarity: Similarity, limits: Limits, beam: int
) -> tuple[Node, Closeness] | None:
    """Keep the best `beam` that are near enough; the best of all if it fools the model."""
    case.nodes = []
    for node in ranked:
        closeness = similarity.measure(case.text, case.after(node.moves))
        if not limits.admit(closeness, case.words):
            continue
        if node.margin < 0:
            return node, closeness
        case.nodes.append(node)
        if len(case.nodes) == beam:
            break
    return None


def _result(texts: Sequence[str], clean: list[float], cases: Mapping[int, Case], reader: Reader) -> TextSearch:
    found = {i: case for i, case in cases.items() if case.found is not None}
    moves = {i: case.found[0].moves for i, case in found.items() if case.found}
    correct = torch.tensor([margin >= 0 for margin in clean], dtype=torch.bool)
    words = [
        float(case.found[1].words) if (case := found.get(i)) and case.found else torch.inf for i in range(len(texts))
    ]
    return TextSearch(
        texts=[found[i].after(moves[i]) if i in found else text for i, text in enumerate(texts)],
        words_changed=torch.where(correct, torch.tensor(words), 0.0),
        changed=[_positions(found[i].pieces, moves[i]) if i in found else () for i in range(len(texts))],
        kinds=[tuple(move.kind for move in moves.get(i, ())) for i in range(len(texts))],
        closeness=[case.found[1] if (case := found.get(i)) and case.found else None for i in range(len(texts))],
        clean_correct=correct,
        robust=correct & torch.tensor([i not in found for i in range(len(texts))], dtype=torch.bool),
        forwards=reader.forwards,
        backwards=reader.backwards,
    )


def _positions(pieces: list[str], moves: Sequence[Move]) -> tuple[int, ...]:
    """Which of the text's words the moves touch."""
    number = {place: i for i, place in enumerate(p for p, piece in enumerate(pieces) if is_word(piece))}
    return tuple(number[move.place] for move in moves)
