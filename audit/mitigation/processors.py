"""What stands around or inside a remedied model, rebuilt from settings and tensors."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audit.errors import ModelError, nearest
from audit.loading.wrapping import Head, Output, Wrapped
from audit.mitigation.reading import Place, Reader
from audit.mitigation.remedy import Processor

__all__ = ["Decorrelated", "Grouped", "Mixture", "Place", "Reader", "attach"]


class Grouped(nn.Module):
    """Scores whose favourable class is moved, and all of which are stretched, by the group of the row.

    Scores s become scale * (s - mean(s)), and `shift` is added to that of the favourable class: its log-odds against each
    other class move by that much. A shift moves the group's threshold and keeps the order within the group; both
    together are Platt's calibration for two classes, and temperature with a bias for more.

    Args:
        model: from own inputs (n, width) to scores (n, classes).
        reader: tells the group.
        favourable: index of the favourable class.
        scale: (groups + 1,) positive, the last for rows of no known group.
        shift: (groups + 1,) log-odds, likewise.
    """

    lines: Tensor

    def __init__(self, model: nn.Module, reader: Reader, favourable: int, scale: Tensor, shift: Tensor) -> None:
        super().__init__()
        self.model = model
        self.reader = reader
        self.favourable = favourable
        self.register_buffer("lines", torch.stack([scale, shift], 1), persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """(n, columns) -> (n, classes)."""
        scores = self.model(self.reader.own(inputs))
        lines = self.reader.look_up(inputs, self.lines)
        # centred, so that log-probabilities are not taken for what they no longer are
        scores = (scores - scores.mean(1, keepdim=True)) * lines[:, :1]
        moved = F.one_hot(torch.tensor(self.favourable, device=scores.device), scores.shape[1]).to(scores.dtype)
        return scores + lines[:, 1:] * moved  # type: ignore[no-any-return]


class Mixture(nn.Module):
    """The last linear layer of a network, replaced by a weighted mean of logistic heads for the favourable class.

    Each head k gives p_k = sigmoid(w_k z + b_k); the layer gives the largest of the other classes' own outputs plus
    logit(sum_k mix_k p_k) to the favourable class: it wins exactly where the mean probability is above one half.

    Args:
        linear: the layer that was there; its outputs are logits, one a class or a single one for two.
        favourable: index of the favourable class.
        weight: (heads, width).
        bias: (heads,).
        mix: (heads,) not negative, sum 1.
    """

    weight: Tensor
    bias: Tensor
    log_mix: Tensor

    def __init__(self, linear: nn.Linear, favourable: int, weight: Tensor, bias: Tensor, mix: Tensor) -> None:
        super().__init__()
        self.linear = linear
        self.favourable = favourable
        self.register_buffer("weight", weight, persistent=False)
        self.register_buffer("bias", bias, persistent=False)
        self.register_buffer("log_mix", mix.log(), persistent=False)

    def forward(self, embedding: Tensor) -> Tensor:
        """(n, width) -> (n, outputs) logits."""
        logits = F.linear(embedding, self.weight.to(embedding.dtype), self.bias.to(embedding.dtype)).float()
        yes = torch.logsumexp(F.logsigmoid(logits) + self.log_mix, -1, keepdim=True)
        no = torch.logsumexp(F.logsigmoid(-logits) + self.log_mix, -1, keepdim=True)
        odds = (yes - no).to(embedding.dtype)
        if self.linear.out_features == 1:
            return odds if self.favourable == 1 else -odds
        raw = self.linear(embedding)
        at = torch.arange(raw.shape[-1], device=raw.device) == self.favourable
        rest = raw.masked_fill(at, -torch.inf).amax(-1, keepdim=True)
        return torch.where(at, rest + odds, raw)


class Decorrelated(nn.Module):
    """Inputs from which what the group tells of their mean is taken before the model sees them.

    x becomes x - (e_g - m) beta (Feldman et al. 2015 in the linear form of fairlearn's CorrelationRemover); columns that
    are the attribute itself become `fill`, in proportion to `strength`.

    Args:
        model: from own inputs (n, width) to scores.
        reader: tells the group.
        moves: (groups + 1, width) what is subtracted, strength included; the last line is 0.
        fill: (width,) means of the columns that are the attribute itself, 0 elsewhere.
        own: (width,) the strength for those columns, 0 elsewhere.
    """

    moves: Tensor
    fill: Tensor
    own: Tensor

    def __init__(self, model: nn.Module, reader: Reader, moves: Tensor, fill: Tensor, own: Tensor) -> None:
        super().__init__()
        self.model = model
        self.reader = reader
        for name, tensor in (("moves", moves), ("fill", fill), ("own", own)):
            self.register_buffer(name, tensor, persistent=False)

    def clean(self, inputs: Tensor) -> Tensor:
        """(n, columns) -> (n, width): what the model sees."""
        own = self.reader.own(inputs)
        return own + self.own * (self.fill - own) - self.reader.look_up(inputs, self.moves)

    def forward(self, inputs: Tensor) -> Tensor:
        """(n, columns) -> (n, classes)."""
        scores: Tensor = self.model(self.clean(inputs))
        return scores - scores.mean(1, keepdim=True)  # see `Grouped`


def attach(processor: Processor | None, model: nn.Module) -> nn.Module:
    """A copy of the model with the processor around or inside it, in eval mode, frozen, on the model's device.

    Args:
        processor: None for the copy alone.
        model: `Subject.model`, or one like it with other weights.

    Returns:
        `Wrapped` where `model` is; a `transformers` network where it is one.

    Raises:
        ModelError: the processor does not fit the model.
    """
    made = copy.deepcopy(model)
    if processor is not None:
        tensors = {name: value.to(_device(model)) for name, value in processor.tensors.items()}
        made = _attached(processor, tensors, made)
    made.eval()
    return made.requires_grad_(False)


def _attached(processor: Processor, tensors: dict[str, Tensor], model: nn.Module) -> nn.Module:
    known, settings = ("grouped", "mixture", "decorrelated"), processor.settings
    if processor.kind not in known:
        raise ModelError(f"Expected a kind of post-processor, found {processor.kind!r}{nearest(processor.kind, known)}")
    try:
        if processor.kind == "mixture":
            return _mixed(model, str(settings["layer"]), int(settings["favourable"]), tensors)
        reader, classes = Reader.of(settings["reader"]), int(settings["classes"])
        shapes = {name: tuple(value.shape) for name, value in tensors.items()}
        lines, row = (reader.groups + 1,), (reader.width,)
        fits: dict[str, tuple[int, ...]] = {"scale": lines, "shift": lines}
        if processor.kind == "decorrelated":
            fits = {"moves": lines + row, "fill": row, "own": row}
        if shapes != fits:
            raise ModelError(
                f"Expected tensors of shapes {fits}, found {shapes}; try the file that `audit mitigate` wrote."
            )
        if processor.kind == "grouped":
            favourable = int(settings["favourable"])
            if not 0 <= favourable < classes:
                raise ModelError(
                    f"Expected a favourable class below {classes}, found {favourable}; try writing it again."
                )
            inner: nn.Module = Grouped(model, reader, favourable, **tensors)
        else:
            inner = Decorrelated(model, reader, **tensors)
    except (KeyError, TypeError) as error:
        raise ModelError(
            f"Expected the settings and tensors of a {processor.kind} post-processor, found something else ({error}); try "
            "the file that `audit mitigate` wrote."
        ) from error
    return Wrapped(inner, Head(Output.LOGITS, classes))


def _mixed(model: nn.Module, layer: str, favourable: int, tensors: dict[str, Tensor]) -> nn.Module:
    name = f"network.{layer}".rstrip(".") if isinstance(model, Wrapped) else layer
    try:
        linear = model.get_submodule(name)
    except AttributeError:
        linear = None
    if not isinstance(linear, nn.Linear) or linear.in_features != tensors["weight"].shape[1]:
        raise ModelError(
            f"Expected a linear layer of {tensors['weight'].shape[1]} inputs called {layer!r} in the model, found "
            f"{linear}; try the checkpoint that the post-processor was learnt on."
        )
    mixture = Mixture(linear, favourable, **tensors)
    above, _, last = name.rpartition(".")
    setattr(model.get_submodule(above), last, mixture)
    return model


def _device(model: nn.Module) -> torch.device:
    first = next(model.parameters(), None)
    return torch.device("cpu") if first is None else first.device
