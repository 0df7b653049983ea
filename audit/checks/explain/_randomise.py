"""A copy of a subject whose weights are drawn anew, layer by layer from the head. Imports torch."""

from __future__ import annotations

import copy
import dataclasses
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

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
        self.layers = [m for m in self._model.modules() if any(_is_drawn(p) for p in m.parameters(recurse=False))]
        self.layers.reverse()

    def randomise(self, layers: int, rng: np.random.Generator) -> Subject:
        """Draw the weights of the last `layers` layers anew, and return a subject on the result.

        Each tensor is drawn from a normal distribution with the mean and deviation that it has: the scale of
        activations stays, and what was learned goes.

        Args:
            layers: how many, from the head.
            rng: source of the weights.
        """
        generator = torch.Generator().manual_seed(int(rng.integers(2**63 - 1)))
        with torch.no_grad():
            for module in self.layers[:layers]:
                for weight in filter(_is_drawn, module.parameters(recurse=False)):
                    drawn = torch.randn(weight.shape, generator=generator)
                    weight.copy_(drawn * weight.float().std(correction=0).cpu() + weight.float().mean().cpu())
        predict = self._predict if self._text is None else self._predict_texts
        return dataclasses.replace(
            self._subject, model=self._model, text=self._text, predict=predict, _scores=WeakKeyDictionary()
        )

    def _predict(self, inputs: Tensor | list[str]) -> Tensor:
        assert isinstance(inputs, Tensor)
        with torch.no_grad():
            parts = [inputs[start : start + BATCH].to(self._subject.device) for start in range(0, len(inputs), BATCH)]
            return torch.cat([self._model(part).float().cpu() for part in parts])

    def _predict_texts(self, inputs: Tensor | list[str]) -> Tensor:
        assert self._text is not None and isinstance(inputs, list)
        return self._text.from_ids(self._text.encode(inputs))


def _is_drawn(weight: nn.Parameter) -> bool:
    return weight.is_floating_point() and weight.numel() > 1
