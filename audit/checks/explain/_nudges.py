"""The same examples a little moved, in other units, or under the same function written differently. Imports torch."""

from __future__ import annotations

from dataclasses import replace
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from audit.datasets import Dataset, FeatureKind, Inputs
from audit.explaining.copies import Copy
from audit.explaining.examples import Examples
from audit.subject import Capability, Modality

#: largest change of an input: in standard deviations of a table's columns, in shares of a picture's range
NOISE = {Modality.TABULAR: 0.1, Modality.IMAGE: 0.02}
#: inputs times the one plus the other are "in other units"; powers of two, so that little is lost to rounding
SCALE, SHIFT = 2.0, 0.5


def moved(chosen: Examples, rng: np.random.Generator) -> Examples | None:
    """The examples with a little noise on numbers and pixels; None for texts, whose words have no small change."""
    data = chosen.rows
    if isinstance(data.inputs, list):
        return None
    noise = torch.from_numpy(rng.uniform(-1, 1, data.inputs.shape)).to(data.inputs)
    if chosen.subject.modality is Modality.IMAGE:
        low, high = data.bounds or (float(data.inputs.min()), float(data.inputs.max()))
        inputs = (data.inputs + noise * NOISE[Modality.IMAGE] * (high - low)).clamp(low, high)
    else:
        spread = chosen.background.inputs
        assert isinstance(spread, Tensor)
        noise = noise * NOISE[Modality.TABULAR] * spread.std(0, correction=0)
        for feature in data.features:
            if feature.kind is FeatureKind.CATEGORICAL:
                noise[:, list(feature.columns)] = 0
        inputs = data.inputs + noise
    return replace(chosen, rows=replace(data, inputs=inputs))


class _Units(nn.Module):
    """A model that takes its inputs in other units."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> Tensor:
        scores: Tensor = self.model((inputs - SHIFT) / SCALE)
        return scores


def in_other_units(chosen: Examples) -> Examples | None:
    """The same function and examples with inputs measured in other units (Kindermans et al. 2019); None for texts."""
    subject = chosen.subject
    if subject.modality is Modality.TEXT:
        return None

    def predict(inputs: Inputs) -> Tensor:
        assert isinstance(inputs, Tensor)
        return subject.predict((inputs - SHIFT) / SCALE)

    model = _Units(subject.model).eval()
    other = replace(subject, model=model, predict=predict, _scores=WeakKeyDictionary())
    return replace(chosen, subject=other, rows=_scaled(chosen.rows), background=_scaled(chosen.background))


def _scaled(data: Dataset) -> Dataset:
    assert isinstance(data.inputs, Tensor)
    low_high = None if data.bounds is None else (data.bounds[0] * SCALE + SHIFT, data.bounds[1] * SCALE + SHIFT)
    return replace(data, inputs=data.inputs * SCALE + SHIFT, bounds=low_high)


def rewritten(chosen: Examples, rng: np.random.Generator) -> tuple[Examples | None, str]:
    """The examples under a copy of the model that is written differently, and a sentence on what was done.

    None where the checkpoint's weights cannot be changed, or no rewrite left the scores as they were.
    """
    if Capability.TRAIN not in chosen.subject.capabilities:
        return None, "The weights of this checkpoint cannot be changed, so it could not be written differently."
    other, done = Copy(chosen.subject).rewrite(chosen.rows, rng)
    words = {
        "permute": "units reordered",
        "rescale": "units rescaled",
        "split": "units split",
        "shift": "logits shifted",
    }
    said = ", ".join(f"{words[r.kind]} in {r.done} of {r.tried} places" for r in done)
    if not any(r.done for r in done):
        return None, f"No way of writing the model differently left its scores as they were ({said})."
    return replace(chosen, subject=other), f"The model written differently, its scores the same: {said}."
