"""Explanations that never saw the model: a test that they pass is no test. Imports torch."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import conv2d, pad

from audit.explaining.attributions import Values
from audit.explaining.examples import Examples
from audit.explaining.players import groups_of, names_of
from audit.subject import Modality

#: what a row of a table calls each
TITLES = {"edges": "edges, no model", "input": "the input, no model", "length": "word length, no model"}


def controls(chosen: Examples) -> dict[str, Values]:
    """Fakes for these examples: a picture's edges and lightness, a table's values, the length of a text's words."""
    groups = groups_of(chosen.subject, chosen.rows, chosen.background)
    if chosen.subject.modality is Modality.TEXT:
        names = names_of(groups, len(chosen.rows))
        return {"length": tuple(np.array([float(len(word)) for word in of_row]) for of_row in names)}
    (group,) = groups
    member = np.eye(len(group.names))[group.features.numpy().ravel()]
    member = member / member.sum(0)
    inputs = group.inputs.double()
    found = {"input": _by_player(inputs, member)}
    if chosen.subject.modality is Modality.IMAGE:
        found["edges"] = _by_player(edges(inputs), member)
    return found


def edges(images: Tensor) -> Tensor:
    """Magnitude of Sobel's gradient, shaped like the images (n, channels, height, width)."""
    across = images.new_tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
    kernels = torch.stack([across, across.T]).unsqueeze(1)
    flat = pad(images.reshape(-1, 1, *images.shape[2:]), (1, 1, 1, 1), mode="replicate")
    return conv2d(flat, kernels).square().sum(1).sqrt().reshape(images.shape)


def _by_player(elements: Tensor, member: NDArray[np.float64]) -> Values:
    return tuple(elements.flatten(1).numpy() @ member)
