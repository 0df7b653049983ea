"""Methods that read attention maps. Imports torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from audit import explainers
from audit.datasets import Dataset
from audit.explainers.attention_gradient import ClassScore
from audit.explaining.attributions import Attributions, Request, Values
from audit.explaining.players import groups_of, log_odds, names_of
from audit.loading.wrapping import Head, Output
from audit.subject import Subject

#: texts of one pass
TEXTS = 16


@dataclass(frozen=True)
class Portion:
    """Some texts, encoded and padded to the longest of them.

    Attributes:
        rows: which of the data's texts these are.
        inputs: what the model is called with.
        targets: (n,) int64, the class explained for each.
        score: log-odds of a class, from the model's raw output.
        words: for each text the positions of its words, which are its players.
        real: (n, length) bool, what is no padding.
    """

    rows: range
    inputs: dict[str, Tensor]
    targets: Tensor
    score: ClassScore
    words: tuple[NDArray[np.int64], ...]
    real: NDArray[np.bool_]


def portions(subject: Subject, data: Dataset, targets: Tensor) -> Iterator[Portion]:
    """The texts, a few at a time."""
    text = subject.text
    assert text is not None and isinstance(data.inputs, list)
    head = Head(Output(subject.settings.get("output", "logits")), len(subject.classes))

    def score(raw: Tensor, wanted: Tensor) -> Tensor:
        return log_odds(head(raw), wanted)

    special = sorted(text.special_ids)
    for start in range(0, len(data), TEXTS):
        rows = range(start, min(start + TEXTS, len(data)))
        encoded = text.encode(data.inputs[rows.start : rows.stop])
        ids, real = encoded.ids.cpu().numpy(), encoded.mask.bool().cpu().numpy()
        words = tuple(np.flatnonzero(mask & ~np.isin(row, special)) for row, mask in zip(ids, real, strict=True))
        inputs = {"input_ids": encoded.ids.to(subject.device), "attention_mask": encoded.mask.to(subject.device)}
        yield Portion(rows, inputs, targets[rows.start : rows.stop].to(subject.device), score, words, real)


def from_attention(name: str, request: Request) -> Attributions:
    """Attributions by a method of attention; it has neither sign nor base."""
    subject, data = request.subject, request.data
    names = names_of(groups_of(subject, data, request.background), len(data))
    values: list[NDArray[np.float64]] = []
    for portion in portions(subject, data, request.targets):
        values += words_of(looks(subject, portion)[name], portion)
    nothing = np.full(len(data), np.nan)
    full = log_odds(subject.scores(data), request.targets).double().numpy()
    return Attributions(name, tuple(values), tuple(values), tuple(values), names, nothing, full, 0)


def looks(subject: Subject, portion: Portion) -> dict[str, NDArray[np.float64]]:
    """How much of each token reaches what the score reads, (n, length) for each method, and the share of each token there.

    Where the score reads, it says itself: by its gradient at the last layer's output. That is the first token for
    models with [CLS], the last one for decoders, all of them where they are averaged.
    """
    weighted = explainers.gradient_rollout(subject.model, portion.inputs, portion.targets, portion.score)
    joint = explainers.attention_rollout(subject.model, portion.inputs)
    return {
        "attention_rollout": (weighted.readout.unsqueeze(1) @ joint).squeeze(1).numpy(),
        "gradient_rollout": weighted.values.numpy(),
        "readout": weighted.readout.numpy(),
    }


def words_of(values: NDArray[np.float64], portion: Portion) -> Values:
    """(n, length) values of tokens, cut to the words of each text."""
    return tuple(row[words] for row, words in zip(values, portion.words, strict=True))
