"""Inputs as named columns: a table's features, a picture's cells, a text's words. Imports torch and scikit-learn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from audit.datasets import Dataset

#: cells along each side of a picture, and words of a vocabulary
CELLS, WORDS = 7, 1000


@dataclass(frozen=True)
class Readable:
    """Inputs for people to name.

    Attributes:
        matrix: (n, columns).
        names: of the inputs.
        columns: of each input, its columns.
    """

    matrix: NDArray[np.float64]
    names: tuple[str, ...]
    columns: tuple[tuple[int, ...], ...]


def readable(data: Dataset, without: str = "") -> Readable:
    """The inputs, a feature of a table left out by its name."""
    if isinstance(data.inputs, list):
        return _words(data.inputs)
    if data.inputs.ndim == 4:
        return _cells(data)
    matrix = data.inputs.double().flatten(1).numpy()
    if not data.features:
        width = range(matrix.shape[1])
        return Readable(matrix, tuple(f"input {i + 1}" for i in width), tuple((i,) for i in width))
    kept = [feature for feature in data.features if feature.name != without]
    place = {column: i for i, column in enumerate(column for feature in kept for column in feature.columns)}
    return Readable(
        matrix[:, list(place)],
        tuple(feature.name for feature in kept),
        tuple(tuple(place[column] for column in feature.columns) for feature in kept),
    )


def _words(texts: list[str]) -> Readable:
    from sklearn.feature_extraction.text import CountVectorizer

    counter = CountVectorizer(binary=True, max_features=WORDS, dtype=np.float64)
    try:
        matrix = counter.fit_transform(texts).toarray()
    except ValueError:  # no text holds a word
        return Readable(np.zeros((len(texts), 0)), (), ())
    names = tuple(str(word) for word in counter.get_feature_names_out())
    return Readable(matrix, names, tuple((i,) for i in range(len(names))))


def _cells(data: Dataset) -> Readable:
    import torch

    assert isinstance(data.inputs, torch.Tensor)
    side = min(CELLS, *data.inputs.shape[-2:])
    cells = torch.nn.functional.adaptive_avg_pool2d(data.inputs.double(), side).flatten(2)
    channels = cells.shape[1]
    names = tuple(f"row {r + 1} of {side}, column {c + 1}" for r in range(side) for c in range(side))
    columns = tuple(tuple(channel * side**2 + i for channel in range(channels)) for i in range(side**2))
    return Readable(cells.flatten(1).numpy(), names, columns)
