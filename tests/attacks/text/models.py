"""Text models small enough to know the best attack on, and a plain search to compare with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate, combinations, pairwise, product

import torch
from torch import Tensor, nn

from attacks.text import TokenGradient
from attacks.text.words import join, split

Combine = Callable[[Tensor], Tensor]


class Embedded:
    """A model of the words' embeddings, which counts the texts it is shown and those it differentiates.

    Args:
        words: the vocabulary; other words have the embedding 0.
        width: of an embedding.
        head: from embeddings (n, length, width), zero at padding, to scores (n, classes).
        seed: of the embeddings.
    """

    def __init__(self, words: Sequence[str], width: int, head: Combine, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.table = torch.randn(len(words), width, generator=generator, dtype=torch.float64)
        self.at = {word: i for i, word in enumerate(words)}
        self.head, self.width = head, width
        self.seen = self.differentiated = 0

    def embed(self, words: list[str]) -> Tensor:
        """(m, width): the mean over the words of each string."""
        rows = [[self.table[self.at[w]] for w in word.split() if w in self.at] for word in words]
        zero = torch.zeros(self.width, dtype=torch.float64)
        return torch.stack([torch.stack(own).mean(0) if own else zero for own in rows])

    def _read(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        cut = [text.split(" ") for text in texts]
        length = max((len(words) for words in cut), default=0)
        none = len(self.table)
        ids = [[self.at.get(w, none) for w in words] + [none] * (length - len(words)) for words in cut]
        ends = [list(accumulate((len(w) + 1 for w in words), initial=0)) for words in cut]
        pairs = [[(a, b - 1) for a, b in pairwise(own)] + [(0, 0)] * (length - len(own) + 1) for own in ends]
        spans = torch.tensor(pairs, dtype=torch.int64).view(len(texts), length, 2)
        inputs = torch.cat([self.table, torch.zeros(1, self.width, dtype=torch.float64)])[torch.tensor(ids)]
        return inputs, spans

    def __call__(self, texts: list[str]) -> Tensor:
        """Scores (n, classes)."""
        self.seen += len(texts)
        with torch.no_grad():
            return self.head(self._read(texts)[0])

    def differentiate(self, texts: list[str], loss: Callable[[Tensor], Tensor]) -> TokenGradient:
        """See `attacks.text.reader.Differentiate`."""
        self.seen += len(texts)
        self.differentiated += len(texts)
        inputs, spans = self._read(texts)
        leaf = inputs.requires_grad_()
        (gradient,) = torch.autograd.grad(loss(self.head(leaf)).sum(), leaf)
        return TokenGradient(spans, inputs, gradient)


def linear(width: int, classes: int, seed: int) -> Combine:
    """Scores linear in the sum of the embeddings."""
    weight = torch.randn(width, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return lambda inputs: inputs.sum(1) @ weight


def curved(width: int, classes: int, seed: int) -> Combine:
    """A net in which neighbouring words act together."""
    generator = torch.Generator().manual_seed(seed)
    first = torch.randn(2 * width, 24, generator=generator, dtype=torch.float64) / width**0.5
    last = torch.randn(24, classes, generator=generator, dtype=torch.float64)

    def head(inputs: Tensor) -> Tensor:
        padded = nn.functional.pad(inputs, (0, 0, 1, 1))
        pairs = torch.cat([padded[:, :-1], padded[:, 1:]], 2)
        return torch.tanh(pairs @ first).sum(1) @ last

    return head


def margin(scores: Tensor, label: int) -> Tensor:
    """Score of the label minus the best other, (n,)."""
    others = scores.clone()
    others[:, label] = -torch.inf
    return scores[:, label] - others.amax(1)


def fewest_changes(model: Embedded, text: str, label: int, synonyms: Mapping[str, Sequence[str]], most: int) -> float:
    """Fewest words to replace so that the model errs, by trying everything; inf beyond `most`."""
    words = text.split(" ")
    for count in range(most + 1):
        tried = []
        for places in combinations(range(len(words)), count):
            for new in product(*(synonyms[words[i]] for i in places)):
                changed = list(words)
                for i, word in zip(places, new, strict=True):
                    changed[i] = word
                tried.append(" ".join(changed))
        if tried and bool((margin(model(tried), label) < 0).any()):
            return count
    return float("inf")


def one_at_a_time(
    predict: Callable[[list[str]], Tensor],
    texts: Sequence[str],
    labels: Sequence[int],
    offers: Callable[[str], Mapping[int, Sequence[str]]],
    budget: int,
) -> tuple[list[float], int]:
    """Greedy search by word importance as TextAttack's recipes do it, one text and one forward pass at a time.

    Args:
        predict: strings to scores.
        texts: n strings.
        labels: their classes.
        offers: a text to the replacements of its words, by place among the pieces that `split` cuts.
        budget: most words changed.

    Returns:
        Words changed in each text, inf where nothing was found, and the number of forward passes.
    """
    passes = 0

    def ask(text: str, label: int) -> float:
        nonlocal passes
        passes += 1
        return float(margin(predict([text]).double(), label)[0])

    out: list[float] = []
    for text, label in zip(texts, labels, strict=True):
        best, pieces, done = ask(text, label), split(text), 0
        if best < 0:
            out.append(0.0)
            continue
        offered = offers(text)
        ranked = sorted(offered, key=lambda i: ask(join([*pieces[:i], "", *pieces[i + 1 :]]), label))
        for i in ranked:
            if best < 0 or done == budget:
                break
            tried = [(ask(join([*pieces[:i], new, *pieces[i + 1 :]]), label), new) for new in offered[i]]
            low, new = min(tried, default=(best, ""))
            if low < best:
                best, pieces[i], done = low, new, done + 1
        out.append(float(done) if best < 0 else float("inf"))
    return out, passes


def greedy_one_at_a_time(
    predict: Callable[[list[str]], Tensor],
    texts: Sequence[str],
    labels: Sequence[int],
    offers: Callable[[str], Mapping[int, Sequence[str]]],
    budget: int,
) -> tuple[list[float], int]:
    """Greedy search over all candidates of all words, one forward pass at a time; see `one_at_a_time`."""
    passes, out = 0, []
    for text, label in zip(texts, labels, strict=True):
        pieces, left = split(text), dict(offers(text))
        best, done = float(margin(predict([text]).double(), label)[0]), 0
        passes += 1
        while best >= 0 and done < budget and left:
            tried: list[tuple[float, int, int, str]] = []
            for i, new in ((i, new) for i, own in left.items() for new in own):
                scores = predict([join([*pieces[:i], new, *pieces[i + 1 :]])]).double()
                tried.append((round(float(margin(scores, label)[0]), 5), len(tried), i, new))
            passes += len(tried)
            best, _, i, new = min(tried)
            pieces[i] = new
            del left[i]
            done += 1
        out.append(0.0 if not done and best < 0 else float(done) if best < 0 else float("inf"))
    return out, passes
