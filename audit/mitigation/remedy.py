"""What every method of mitigation is given, and what it hands back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from audit.errors import PlanError, nearest

if TYPE_CHECKING:
    from audit.datasets import Inputs
    from audit.mitigation.processors import Reader
    from audit.subject import Subject


class Definition(StrEnum):
    """Whose difference between groups a method is to bring down; `favourable` stands for the predicted class."""

    #: P(favourable)
    DEMOGRAPHIC_PARITY = "demographic_parity"
    #: P(favourable | it is the truth)
    EQUAL_OPPORTUNITY = "equal_opportunity"
    #: that, and P(favourable | it is not the truth)
    EQUALISED_ODDS = "equalised_odds"


@dataclass(frozen=True)
class Aim:
    """What a mitigation is for.

    Attributes:
        attribute: protected attribute, or an intersection such as "sex x race"; a name for people.
        definition: whose difference is to fall.
        favourable: index of the favourable class; for more than two classes it stands against the rest.
        strength: how far to go, in (0, 1]; 1 is all the way. What it scales is said by each method.
        margin: difference that is no fault, in [0, 1); where a method can stop there, it does.
    """

    attribute: str
    definition: Definition
    favourable: int
    strength: float = 1.0
    margin: float = 0.01

    def __post_init__(self) -> None:
        if self.definition not in list(Definition):
            raise PlanError(
                f"Expected a definition of fairness, found {self.definition!r}{nearest(self.definition, Definition)}"
            )
        object.__setattr__(self, "definition", Definition(self.definition))
        if not 0 < self.strength <= 1:
            raise PlanError(f"Expected a strength above 0 and at most 1, found {self.strength}; try 1.")
        if not 0 <= self.margin < 1:
            raise PlanError(f"Expected a margin of at least 0 and below 1, found {self.margin}; try 0.01.")


@dataclass(frozen=True, eq=False)
class Part:
    """Some rows: `inputs` as the remedied model is given them, `labels` (n,) int64, `groups` (n,) int64.

    A group is an index into `Bench.groups`; -1 stands for a row that no group counts.
    """

    inputs: Inputs
    labels: NDArray[np.int64]
    groups: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: NDArray[np.int64]) -> Part:
        """The part of these rows, in this order."""
        import torch

        inputs = self.inputs
        chosen = [inputs[i] for i in rows] if isinstance(inputs, list) else inputs[torch.from_numpy(rows)]
        return Part(chosen, self.labels[rows], self.groups[rows])


@dataclass(frozen=True)
class Step:
    """Where a method stands: `done` of `steps`, and what it is at."""

    method: str
    done: int
    steps: int
    words: str


@dataclass(frozen=True, eq=False)
class Bench:
    """What a method works on.

    Attributes:
        subject: the audited model. Its own modules are never changed; a method works on copies.
        train: rows to learn from.
        held: rows held out of those, on which thresholds are set and epochs are chosen; see `held_out`.
        groups: their names, in the order of the codes.
        classes: class names, in the order of the scores.
        aim: what for.
        reader: tells a person's group from one input row, and which of its columns are the audited model's own; None
            where the input does not show the group (pictures, texts): methods that must know it then refuse.
        seed: of every random draw.
        epochs: passes over the training rows, for methods that train the network.
        batch_size: most rows in one step of the optimiser, and at a time in prediction, at first.
        learning_rate: highest one, for methods that train the network.
        scratch: whether those forget the audited weights first.
        tell: told how it goes.
    """

    subject: Subject
    train: Part
    held: Part
    groups: tuple[str, ...]
    classes: tuple[str, ...]
    aim: Aim
    reader: Reader | None = None
    seed: int = 0
    epochs: int = 10
    batch_size: int = 256
    learning_rate: float = 1e-3
    scratch: bool = False
    tell: Callable[[Step], object] = field(default=lambda _: None)


@dataclass(frozen=True, eq=False)
class Processor:
    """What is put around or into the audited model, as plain data; `processors.attach` builds it.

    Attributes:
        kind: "grouped", "mixture" or "decorrelated".
        settings: what JSON can hold.
        tensors: what it cannot, by name; on the CPU.
    """

    kind: str
    settings: Mapping[str, Any]
    tensors: Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class Remedy:
    """What a method hands back; `model` is exactly `attach(processor, model with the new weights)`.

    Attributes:
        method: its name.
        model: from the input (n, ...) to (n, classes) scores whose softmax are the probabilities, in eval mode, frozen.
            For text the `transformers` network itself, as `Subject.model`.
        network: the audited network with new weights, of the same state_dict keys as before; None: they stay.
        processor: what stands around it; None: nothing.
        group_at_prediction: whether the model reads a person's group from the input.
        figures: what it learnt, for the report, such as {"shift": {"Female": 0.4, "Male": -0.1}}; JSON can hold it.
        notes: what a reader must know: groups too small to fit, what derandomising changed ...; sentences.
    """

    method: str
    model: nn.Module
    network: nn.Module | None
    processor: Processor | None
    group_at_prediction: bool
    figures: Mapping[str, Any]
    notes: tuple[str, ...] = ()


class Method(Protocol):
    """One file in `audit.mitigation.methods`, one function of the same name."""

    def __call__(self, bench: Bench) -> Remedy:
        """Learn.

        Raises:
            AssayError: the model or the data do not allow it; one sentence says why.
        """
        ...


def held_out(
    labels: NDArray[np.int64], groups: NDArray[np.int64], share: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows to learn from and rows held out, each sorted; every (group, label) cell is split in the same proportion.

    A cell of one row is learnt from; a larger one leaves at least one row on each side.

    Args:
        labels: (n,).
        groups: (n,) codes.
        share: of the rows held out, in (0, 1).
        seed: of the draw.
    """
    rng = np.random.default_rng([seed, 0x5411D])
    held = np.zeros(len(labels), dtype=np.bool_)
    cells = np.unique(np.stack([groups, labels], 1), axis=0, return_inverse=True)[1].ravel()
    order = rng.permutation(len(labels))
    order = order[np.argsort(cells[order], kind="stable")]
    starts = np.flatnonzero(np.diff(cells[order], prepend=-1))
    for rows in np.split(order, starts[1:]):
        if len(rows) > 1:
            held[rows[: min(max(1, round(share * len(rows))), len(rows) - 1)]] = True
    return np.flatnonzero(~held), np.flatnonzero(held)
