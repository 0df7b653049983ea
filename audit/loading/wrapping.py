"""From any network to one that takes inputs in their own units and returns scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audit.errors import ModelError


class Output(StrEnum):
    """What the network's outputs are."""

    LOGITS = "logits"
    PROBABILITIES = "probabilities"
    LOG_PROBABILITIES = "log_probabilities"


class Normalise(nn.Module):
    """(x - mean) / std along dimension 1: the channels of images, the columns of tables.

    Args:
        mean: one number, or one a channel.
        std: as many, positive.

    Raises:
        ModelError: they are not.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if len(mean) != len(std) or not mean:
            raise ModelError(
                f"Expected mean and std of equal length, found {len(mean)} and {len(std)} numbers; try one a channel."
            )
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32), persistent=False)
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32), persistent=False)
        if not (self.mean.isfinite().all() and self.std.isfinite().all() and (self.std > 0).all()):
            raise ModelError(
                f"Expected a finite mean and a positive std, found {list(mean)} and {list(std)}; try 0 and 1 for none."
            )

    def forward(self, inputs: Tensor) -> Tensor:
        """(n, channels, ...) -> the same shape.

        Raises:
            ModelError: there are not as many channels as numbers.
        """
        channels, numbers = inputs.shape[1] if inputs.ndim > 1 else 0, len(self.mean)
        if numbers not in (1, channels):
            raise ModelError(
                f"Expected inputs with {numbers} channels, as mean and std have, found shape {tuple(inputs.shape)}; try "
                "one number a channel."
            )
        shape = (1, numbers) + (1,) * (inputs.ndim - 2)
        return (inputs - self.mean.view(shape)) / self.std.view(shape)


class Head(nn.Module):
    """Raw outputs -> scores (n, classes) whose softmax are the probabilities.

    Logits and log-probabilities stay, probabilities become their logarithms. One output z for two classes becomes
    (0, z), for softmax((0, z))[1] = sigmoid(z); one probability p becomes (log(1 - p), log p).

    Args:
        output: what the raw outputs are.
        classes: how many classes there are.
    """

    def __init__(self, output: Output, classes: int) -> None:
        super().__init__()
        self.output = output
        self.classes = classes

    def forward(self, raw: Tensor) -> Tensor:
        """(n, outputs) or (n,) -> (n, classes).

        Raises:
            ModelError: the number of outputs is not the number of classes (or one for two classes).
        """
        raw = as_rows(raw, self.classes)
        tiny = torch.finfo(raw.dtype).tiny
        if self.output is Output.LOGITS:
            return raw if raw.shape[1] > 1 else F.pad(raw, (1, 0))
        if self.output is Output.LOG_PROBABILITIES:
            if raw.shape[1] > 1:
                return raw.clamp_min(math.log(tiny))  # -inf would make differences of scores undefined
            raw = raw.exp()
        if raw.shape[1] > 1:
            return raw.clamp_min(tiny).log()
        return torch.cat([(1 - raw).clamp_min(tiny).log(), raw.clamp_min(tiny).log()], dim=1)


class Wrapped(nn.Module):
    """Inputs in their own units -> normalisation -> network -> head -> scores (n, classes).

    Args:
        network: the loaded checkpoint.
        head: what turns its outputs into scores.
        normalise: what it expects to have been done to the inputs; None for nothing.
    """

    def __init__(self, network: nn.Module, head: Head, normalise: Normalise | None = None) -> None:
        super().__init__()
        self.normalise = normalise
        self.network = network
        self.head = head

    def raw(self, inputs: Tensor) -> Tensor:
        """(n, ...) -> what the network returns, before the head."""
        return self.network(inputs if self.normalise is None else self.normalise(inputs))  # type: ignore[no-any-return]

    def forward(self, inputs: Tensor) -> Tensor:
        """(n, ...) -> (n, classes)."""
        return self.head(self.raw(inputs))  # type: ignore[no-any-return]


def as_rows(raw: object, classes: int) -> Tensor:
    """Return raw outputs as (n, outputs); (n,) is one output a row.

    Raises:
        ModelError: they are no such tensor, or not as many as the classes (or one for two classes).
    """
    if not isinstance(raw, Tensor):
        raise ModelError(
            f"Expected the network to return one tensor (n, classes), found {type(raw).__name__}; try a factory that "
            "returns its scores alone."
        )
    if raw.ndim < 2:
        raw = raw.reshape(-1, 1)
    if raw.ndim != 2 or not raw.is_floating_point():
        raise ModelError(
            f"Expected outputs of shape (n, classes), found {tuple(raw.shape)} of {raw.dtype}; try a model that gives "
            "one score a class."
        )
    if raw.shape[1] != classes and (raw.shape[1], classes) != (1, 2):
        raise ModelError(
            f"Expected as many outputs as classes, found {raw.shape[1]} outputs for {classes} classes; try naming the "
            "classes in the order of the model's outputs."
        )
    return raw


def check_output(raw: Tensor, declared: Output, classes: int) -> None:
    """Refuse outputs that are plainly not what the plan declares.

    Args:
        raw: outputs of the first batch, (n, outputs) or (n,), finite.
        declared: what they should be.
        classes: how many classes there are.

    Raises:
        ModelError: they are something else.
    """
    raw = as_rows(raw, classes)
    looks = _looks_like(raw)
    if declared is Output.LOGITS:
        if looks is not Output.LOGITS:
            raise ModelError(
                f"Expected logits, found outputs that are {looks.replace('_', '-')} in every row; try output: {looks}."
            )
    elif declared is not looks and not _could_be(raw, declared):
        low, high = raw.min().item(), raw.max().item()
        sums = (raw.exp() if declared is Output.LOG_PROBABILITIES else raw).sum(1)
        raise ModelError(
            f"Expected {declared.replace('_', '-')}, found outputs from {low:.4g} to {high:.4g} with row sums from "
            f"{sums.min().item():.4g} to {sums.max().item():.4g}; try output: {looks}."
        )


def _looks_like(raw: Tensor) -> Output:
    if raw.shape[1] > 1:
        for kind in (Output.PROBABILITIES, Output.LOG_PROBABILITIES):
            if _could_be(raw, kind):
                return kind
    # logits of one output may all lie within [0, 1] by chance; not when they fill it
    elif _could_be(raw, Output.PROBABILITIES) and len(raw) >= 8 and raw.min() < 0.1 and raw.max() > 0.9:
        return Output.PROBABILITIES
    return Output.LOGITS


def _could_be(raw: Tensor, kind: Output) -> bool:
    slack = 1e-3 if raw.dtype in (torch.float32, torch.float64) else 2e-2
    values = raw.double().exp() if kind is Output.LOG_PROBABILITIES else raw.double()
    inside = bool((values >= -slack).all() and (values <= 1 + slack).all())
    return inside and (values.shape[1] == 1 or bool(((values.sum(1) - 1).abs() <= slack).all()))
