"""A text classifier under attack: its margins, and how they change with the embeddings of its tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

import torch
from torch import Tensor

from attacks.guard import Guard


@dataclass(frozen=True, eq=False)
class TokenGradient:
    """How a loss of some texts changes with their tokens.

    Attributes:
        spans: (n, length, 2) first character of each token and the one behind its last; (0, 0) where it has none.
        embeddings: (n, length, width) what stands in the model's table for each token.
        gradients: (n, length, width) gradient of each text's own loss with respect to them; anything at padding.
    """

    spans: Tensor
    embeddings: Tensor
    gradients: Tensor


class Differentiate(Protocol):
    """The way below the strings: one forward and one backward pass."""

    def __call__(self, texts: list[str], loss: Callable[[Tensor], Tensor]) -> TokenGradient:
        """Differentiate `loss`, from scores (n, classes) to (n,), with respect to the embeddings of n texts."""
        ...


class Reader:
    """Calls a text model in batches under the guard that all attacks share, and counts.

    Args:
        predict: strings to (n, classes) scores.
        differentiate: the way below the strings, or None.
        batch_size: most texts in one call; halved where memory runs out.
        seed: of the global generators inside, for models that draw from them.
    """

    def __init__(
        self,
        predict: Callable[[list[str]], Tensor],
        differentiate: Differentiate | None,
        batch_size: int | None,
        seed: int,
    ) -> None:
        self._predict, self._differentiate = predict, differentiate
        self._texts: list[str] = []
        # the guard's rows are numbers of texts
        self._guard = Guard(self._call, (1,), torch.float64, batch_size, seed)
        self._size = batch_size or 128
        self._extra = self.backwards = 0

    def __enter__(self) -> Self:
        self._guard.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._guard.__exit__(kind, error, trace)

    @property
    def forwards(self) -> int:
        """Texts that entered the model."""
        return self._guard.forwards + self._extra

    @property
    def differentiable(self) -> bool:
        """Whether there is a way below the strings."""
        return self._differentiate is not None

    def _call(self, rows: Tensor) -> Tensor:
        return self._predict([self._texts[int(i)] for i in rows[:, 0].tolist()]).detach().double().cpu()

    def margins(self, texts: Sequence[str], labels: Sequence[int]) -> list[float]:
        """Score of the label minus the best other score, one a text; below 0 means fooled.

        Raises:
            ValueError: the scores are not (n, classes), hold NaN, or have no column for a label.
        """
        if not texts:
            return []
        # texts of like length pad each other little
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        self._texts = [texts[i] for i in order]
        scores = self._guard.scores(torch.arange(len(texts), dtype=torch.float64)[:, None])
        return _margins(scores, torch.tensor([labels[i] for i in order]))[torch.tensor(order).argsort()].tolist()

    def gradients(self, texts: Sequence[str], labels: Sequence[int]) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Of each text: spans (length, 2), embeddings and gradients of its margin, each (length, width)."""
        assert self._differentiate is not None
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        found: dict[int, tuple[Tensor, Tensor, Tensor]] = {}
        for start in range(0, len(order), self._size):
            rows = order[start : start + self._size]
            at = torch.tensor([labels[i] for i in rows])
            part = self._differentiate([texts[i] for i in rows], lambda scores, at=at: _margins(scores, at))  # type: ignore[misc]
            self._extra += len(rows)
            self.backwards += len(rows)
            columns = (part.spans, part.embeddings, part.gradients)
            for i, spans, embeddings, gradients in zip(rows, *(c.detach().cpu() for c in columns), strict=True):
                found[i] = (spans, embeddings.double(), gradients.double().nan_to_num(0, 0, 0))
        return [found[i] for i in range(len(texts))]


def _margins(scores: Tensor, labels: Tensor) -> Tensor:
    if bool(scores.detach().isnan().any()):
        raise ValueError(f"Expected predict to return ({len(scores)}, classes) scores without NaN, found NaN.")
    at = labels.to(scores.device)[:, None]
    if int(at.max()) >= scores.shape[1]:
        raise ValueError(f"Expected labels below the number of classes, {scores.shape[1]}, found {int(at.max())}.")
    own = scores.gather(1, at)[:, 0]
    best = scores.scatter(1, at, -torch.inf).amax(1)
    # the label wins a tie only where argmax says so
    lost = (scores.argmax(1) != at[:, 0]) & (own == best)
    return torch.where(lost, own - best - torch.finfo(scores.dtype).tiny, own - best)
