"""The audited model: one face for every checkpoint format.

Torch-free to import, so that checks can name these types without loading torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from audit.datasets import Dataset, Inputs


class Task(StrEnum):
    """What the model is for."""

    CLASSIFICATION = "classification"


class Modality(StrEnum):
    """What one input is."""

    TABULAR = "tabular"
    IMAGE = "image"
    TEXT = "text"


class Capability(StrEnum):
    """What the loaded format allows; loaders declare, checks require, the runner skips with a stated reason."""

    #: scores are differentiable with respect to the input (for text: to the token embeddings)
    INPUT_GRADIENT = "input_gradient"
    #: module hooks fire
    HOOKS = "hooks"
    #: attention maps can be read
    ATTENTION = "attention"
    #: inputs can be replaced by embeddings
    EMBEDDINGS = "embeddings"
    #: parameters can be changed: training, weight randomisation
    TRAIN = "train"


@dataclass(frozen=True)
class Encoded:
    """Tokenised texts: `ids` and `mask` (1 = a token, 0 = padding), each (n, length) int64."""

    ids: Tensor
    mask: Tensor


class TextAdapter(Protocol):
    """How a text model is reached below its strings."""

    #: id of [MASK], or of the unknown token where there is none
    mask_id: int
    #: ids that carry no words ([CLS], [SEP], [PAD] ...)
    special_ids: frozenset[int]

    def encode(self, texts: Sequence[str]) -> Encoded:
        """Tokenise and pad to the longest."""
        ...

    def spans(self, texts: Sequence[str]) -> Tensor:
        """First character of each token of `encode`, and the one behind its last, (n, length, 2); zeros for none."""
        ...

    def tokens(self, ids: Sequence[int]) -> tuple[str, ...]:
        """Readable pieces, one an id."""
        ...

    def embed(self, ids: Tensor) -> Tensor:
        """Word embeddings, (n, length) -> (n, length, width); positions are added inside the model."""
        ...

    def from_ids(self, encoded: Encoded) -> Tensor:
        """Scores (n, classes), batched as `Subject.predict` is; no gradient."""
        ...

    def from_embeddings(self, embeddings: Tensor, mask: Tensor) -> Tensor:
        """Scores (n, classes) in one differentiable pass."""
        ...


@dataclass(eq=False)
class Subject:
    """A model under audit.

    Attributes:
        model: module from a float batch **in input units** (normalisation is inside) to (n, classes) scores, in eval
            mode, parameters frozen. For text it is the `transformers` model itself; go through `text` instead.
        predict: inputs of any number, in batches, without gradient, to (n, classes) float32 scores on the CPU. Takes
            what `Dataset.inputs` holds: a float tensor, or a list of strings. Out of memory halves the batch.
        task: what the model is for.
        modality: what one input is.
        classes: class names, in the order of the scores.
        capabilities: what the format allows.
        digest: SHA-256 of the checkpoint, hexadecimal.
        name: a short name for people.
        source: where it was loaded from.
        format: checkpoint format, e.g. "safetensors", "torch.export".
        device: where it runs.
        text: the way below the strings; None for other modalities.
        settings: what was declared about the checkpoint (output, mean, std, precision, factory); part of a unit's key.

    Scores are such that `softmax(scores)` are the probabilities, whatever the checkpoint returned: logits stay, a
    single logit z becomes (0, z), probabilities become their logarithms.
    """

    model: nn.Module
    predict: Callable[[Inputs], Tensor]
    task: Task
    modality: Modality
    classes: tuple[str, ...]
    capabilities: frozenset[Capability]
    digest: str
    name: str
    source: str
    format: str
    device: torch.device
    text: TextAdapter | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    _scores: WeakKeyDictionary[Dataset, Tensor] = field(default_factory=WeakKeyDictionary, repr=False)

    def scores(self, data: Dataset) -> Tensor:
        """`predict(data.inputs)`, computed once for each data set."""
        if data not in self._scores:
            self._scores[data] = self.predict(data.inputs)
        return self._scores[data]
