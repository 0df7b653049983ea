"""Removal of the linear trace of the group, from the inputs of a table or from the embedding, and retraining."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from audit.mitigation.methods._network import (
    Trainee,
    copied,
    embeddings,
    head_only,
    inner,
    last_linear,
    refuse_untrainable,
)
from audit.mitigation.methods._rates import compared, small
from audit.mitigation.methods._training import Loop
from audit.mitigation.processors import Decorrelated, attach
from audit.mitigation.reading import Reader
from audit.mitigation.remedy import Bench, Processor, Remedy


def decorrelation(bench: Bench) -> Remedy:
    """Train on inputs that no longer correlate with the group; aims at demographic parity whatever the definition.

    Where the input shows the group, each column loses what the group tells of its mean (fairlearn's CorrelationRemover),
    at prediction as in training, and the network is trained on. Elsewhere the embedding loses the directions along
    which the groups' means differ (Belrose et al. 2023, LEACE, https://arxiv.org/abs/2306.03819), which needs no group at
    prediction, and the last layer alone is trained on. Only linear traces go: a network may find the others again. The
    aim's strength says how much is removed.

    Raises:
        AssayError: the model does not train, or fewer than two groups are large enough.
    """
    counted = compared(bench, bench.train, "training")
    refuse_untrainable(bench)
    return _of_embedding(bench, counted) if bench.reader is None else _of_inputs(bench, bench.reader, counted)


def _of_inputs(bench: Bench, reader: Reader, counted: NDArray[np.bool_]) -> Remedy:
    assert isinstance(bench.train.inputs, Tensor) and isinstance(bench.held.inputs, Tensor)
    tensors = removal(bench, reader, counted)
    model = copied(bench)
    module = Decorrelated(model, reader, **{k: v.to(bench.subject.device) for k, v in tensors.items()})
    loop = _loop(bench, Trainee(module, bench.train.inputs, bench.held.inputs, lambda: model))
    trained = loop.run()
    processor = Processor("decorrelated", {"reader": reader.plain(), "classes": len(bench.classes)}, tensors)
    spread = own_spread(bench)
    figures = {
        "largest_move": {
            name: float((line / spread).abs().max())
            for name, line in zip(bench.groups, tensors["moves"][:-1], strict=True)
        },
        "held_loss": [found for _, found in loop.history],
        "epoch": loop.best,
    }
    notes = small(bench, counted, "their rows are left as they are")
    return Remedy("decorrelation", attach(processor, trained), inner(trained), processor, True, figures, notes)


def removal(bench: Bench, reader: Reader, counted: NDArray[np.bool_]) -> dict[str, Tensor]:
    """The tensors of `Decorrelated`: fairlearn's least squares of every other own column on the groups."""
    from fairlearn.preprocessing import CorrelationRemover

    assert isinstance(bench.train.inputs, Tensor)
    strength, width, groups = bench.aim.strength, reader.width, len(bench.groups)
    own = reader.own(bench.train.inputs).double().cpu().numpy()
    itself = [column for place in reader.places for column in place.columns if column < width]
    rest = np.setdiff1d(np.arange(width), itself)
    large = np.flatnonzero(counted)
    rows = np.isin(bench.train.groups, large)
    member = (bench.train.groups[rows, None] == large).astype(np.float64)
    remover = CorrelationRemover(sensitive_feature_ids=list(range(len(large)))).fit(
        np.hstack([member, own[rows][:, rest]])
    )
    moves = np.zeros((groups + 1, width))
    moves[np.ix_(large, rest)] = (np.eye(len(large)) - remover.sensitive_mean_) @ remover.beta_
    fill, strengths = np.zeros(width), np.zeros(width)
    fill[itself], strengths[itself] = own[:, itself].mean(0), strength
    found = {"moves": moves * strength, "fill": fill, "own": strengths}
    return {name: torch.from_numpy(value).float() for name, value in found.items()}


def own_spread(bench: Bench) -> Tensor:
    """(width,) standard deviations of the model's own columns in training, 1 where a column never moves."""
    assert bench.reader is not None and isinstance(bench.train.inputs, Tensor)
    spread = bench.reader.own(bench.train.inputs).std(0, correction=0)
    return torch.where(spread > 0, spread, torch.ones_like(spread)).cpu()


def _of_embedding(bench: Bench, counted: NDArray[np.bool_]) -> Remedy:
    layer = last_linear(bench)
    rows = np.flatnonzero(np.isin(bench.train.groups, np.flatnonzero(counted)))
    known = embeddings(bench, bench.train.take(rows).inputs, layer).double().numpy()
    member = (bench.train.groups[rows, None] == np.flatnonzero(counted)).astype(np.float64)
    centre, eraser = erasing(known, member)
    linear = cast(nn.Linear, inner(bench.subject.model).get_submodule(layer))
    mean = torch.from_numpy(centre).float() * (linear.bias is not None)  # without a bias nothing can be put back
    kept = torch.from_numpy(np.eye(len(centre)) - bench.aim.strength * eraser).float()
    here = head_only(bench, lambda z: (z - mean) @ kept.T + mean)
    loop = _loop(bench, here)
    model = loop.run()
    _fold(cast(nn.Linear, inner(model).get_submodule(layer)), mean, kept)
    figures = {
        "directions": int(np.linalg.matrix_rank(eraser)),
        "held_loss": [found for _, found in loop.history],
        "epoch": loop.best,
    }
    notes = (
        "The last layer was trained alone, on embeddings without the directions along which the groups' means differ.",
        *small(bench, counted, "their rows taught no direction"),
    )
    return Remedy("decorrelation", model, inner(model), None, False, figures, notes)


def erasing(
    embedding: NDArray[np.float64], member: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean (width,) and the projection E (width, width) such that z - E (z - mean) no longer correlates with `member`.

    E = W+ P W with the whitening W and the orthogonal projection P onto the columns of W cov(z, member): of all such
    changes the one that moves z least (Belrose et al. 2023, theorem 4.3).

    Args:
        embedding: (n, width).
        member: (n, groups) indicators.
    """
    mean = embedding.mean(0)
    z, s = embedding - mean, member - member.mean(0)
    size, axes = np.linalg.eigh(z.T @ z / len(z))
    used = size > size.max() * 1e-10
    root, axes = np.sqrt(size[used]), axes[:, used]
    whiten, back = (axes / root) @ axes.T, (axes * root) @ axes.T
    left, length, _ = np.linalg.svd(whiten @ (z.T @ s / len(z)), full_matrices=False)
    left = left[:, length > max(length.max(initial=0.0) * 1e-8, 1e-12)]
    return mean, back @ left @ left.T @ whiten


def _fold(linear: nn.Linear, mean: Tensor, kept: Tensor) -> None:
    """Let the layer take plain embeddings: w (K (z - m) + m) + b is a linear layer again."""
    weight = linear.weight.double()
    kept, mean = kept.to(weight), mean.to(weight)
    with torch.no_grad():
        linear.weight.copy_(weight @ kept)
        if linear.bias is not None:
            linear.bias.copy_(linear.bias.double() + weight @ (mean - kept @ mean))


def _loop(bench: Bench, here: Trainee) -> Loop:
    device, labels = bench.subject.device, torch.from_numpy(bench.train.labels)

    def losses(found: Tensor, rows: Tensor) -> tuple[Tensor]:
        return (F.cross_entropy(found, labels[rows].to(device), reduction="sum"),)

    def judge(found: NDArray[np.float64]) -> float:
        return float(F.cross_entropy(torch.from_numpy(found), torch.from_numpy(bench.held.labels)))

    return Loop(bench, here, "decorrelation", losses, judge)
