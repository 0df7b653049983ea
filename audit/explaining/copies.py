"""A copy of a subject whose weights may be drawn anew, trained on nonsense, or written down differently. Imports torch."""

from __future__ import annotations

import copy
import dataclasses
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from audit.datasets import Dataset
from audit.explainers.quality import Rewrite, redraw, relearn, rewrites, weighted_layers
from audit.explainers.quality.rewrites import KINDS
from audit.subject import Subject

#: rows of one forward pass
BATCH = 256


class Copy:
    """A subject on a copy of the model, and the layers of that copy that have weights, the last first.

    Args:
        subject: left as it is.
    """

    def __init__(self, subject: Subject) -> None:
        memo: dict[int, object] = {}
        self._subject = subject
        self._model: nn.Module = copy.deepcopy(subject.model, memo)
        self._text = copy.deepcopy(subject.text, memo)  # the memo hands it the copied model
        self.layers = weighted_layers(self._model)

    def subject(self) -> Subject:
        """The copy as it is now, with no score remembered."""
        predict = self._predict if self._text is None else self._predict_texts
        return dataclasses.replace(
            self._subject, model=self._model, text=self._text, predict=predict, _scores=WeakKeyDictionary()
        )

    def randomise(self, layers: int, rng: np.random.Generator) -> Subject:
        """Draw the weights of the last `layers` layers anew, and return a subject on the result.

        Args:
            layers: how many, from the head.
            rng: source of the weights.
        """
        redraw(self.layers[:layers], _generator(rng))
        return self.subject()

    def relearn(self, data: Dataset, epochs: int, rng: np.random.Generator) -> tuple[Subject, float]:
        """Draw all weights anew, train on the data with their labels in random order, and say what share was learned.

        Args:
            data: few rows; nothing true can be learned from them.
            epochs: passes over them.
            rng: source of the weights, the labels and the order.
        """
        generator = _generator(rng)
        redraw(self.layers, generator)
        labels = data.labels[torch.from_numpy(rng.permutation(len(data)))]
        device, text = self._subject.device, self._text
        if text is None:
            assert isinstance(data.inputs, Tensor)
            inputs = data.inputs.to(device)
            learned = relearn(self._model, lambda rows: self._model(inputs[rows.to(device)]), labels, epochs, generator)
        else:
            assert isinstance(data.inputs, list)
            encoded = text.encode(data.inputs)
            ids, mask = encoded.ids.to(device), encoded.mask.to(device)

            def scores(rows: Tensor) -> Tensor:
                rows = rows.to(device)
                used = mask[rows].any(0)  # padding that all rows share, on whichever side
                return text.from_embeddings(text.embed(ids[rows][:, used]), mask[rows][:, used])

            learned = relearn(self._model, scores, labels, epochs, generator)
        return self.subject(), learned

    def rewrite(self, data: Dataset, rng: np.random.Generator) -> tuple[Subject, list[Rewrite]]:
        """Write the copy down differently in every way its layers allow; the function stays what it is.

        Args:
            data: rows on which the scores must stay.
            rng: source of orders and scales.
        """

        def scores() -> Tensor:
            return self.subject().predict(data.inputs)

        done = [rewrites(self._model, scores, kind, rng) for kind in KINDS]
        return self.subject(), done

    def _predict(self, inputs: Tensor | list[str]) -> Tensor:
        assert isinstance(inputs, Tensor)
        with torch.no_grad():
            parts = [inputs[start : start + BATCH].to(self._subject.device) for start in range(0, len(inputs), BATCH)]
            return torch.cat([self._model(part).float().cpu() for part in parts])

    def _predict_texts(self, inputs: Tensor | list[str]) -> Tensor:
        assert self._text is not None and isinstance(inputs, list)
        return self._text.from_ids(self._text.encode(inputs))


def _generator(rng: np.random.Generator) -> torch.Generator:
    return torch.Generator().manual_seed(int(rng.integers(2**63 - 1)))
