"""Erasure of the group's linear trace from the embedding (Belrose et al. 2023, LEACE, https://arxiv.org/abs/2306.03819)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from audit.mitigation.methods._network import embeddings, head_only, inner, last_linear, refuse_untrainable
from audit.mitigation.methods._rates import compared, small, strata
from audit.mitigation.methods._training import plain
from audit.mitigation.remedy import Bench, Remedy


def erasure(bench: Bench) -> Remedy:
    """Take from the embedding the directions along which the groups' means differ, and train the last layer on the rest.

    Both together are a linear layer again, so only its weights change, and no group is needed at prediction. The means
    are those of the rows within which the definition compares. Only linear traces go: rates at a threshold may still
    differ. The aim's strength says how much is removed.

    Raises:
        AssayError: the network does not train or does not end in a linear layer, or fewer than two groups are large
            enough.
    """
    refuse_untrainable(bench)
    counted = compared(bench, bench.train, "training")
    layer = last_linear(bench)
    rows = np.flatnonzero(np.isin(bench.train.groups, np.flatnonzero(counted)))
    part = bench.train.take(rows)
    known = embeddings(bench, part.inputs, layer).double().numpy()
    member = (part.groups[:, None] == np.flatnonzero(counted)).astype(np.float64)
    centre, eraser = erasing(known, member, strata(bench.aim, part.labels))
    linear = cast(nn.Linear, inner(bench.subject.model).get_submodule(layer))
    mean = torch.from_numpy(centre).float() * (linear.bias is not None)  # without a bias nothing can be put back
    kept = torch.from_numpy(np.eye(len(centre)) - bench.aim.strength * eraser).float()
    here = head_only(bench, lambda z: (z - mean) @ kept.T + mean)
    loop = plain(bench, here, "erasure")
    model = loop.run()
    _fold(cast(nn.Linear, inner(model).get_submodule(layer)), mean, kept)
    figures = {
        "directions": int(np.linalg.matrix_rank(eraser)),
        "held_loss": [found for _, found in loop.history],
        "epoch": loop.best,
    }
    notes = small(bench, counted, "their rows taught no direction")
    return Remedy("erasure", model, inner(model), None, False, figures, notes)


def erasing(
    embedding: NDArray[np.float64], member: NDArray[np.float64], strata: Sequence[NDArray[np.bool_]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean (width,) and the projection E (width, width) such that z - E (z - mean) does not correlate with `member`.

    E = W+ P W with the whitening W and the orthogonal projection P onto the columns of W cov(z, member): of all such
    changes the one that moves z least (Belrose et al. 2023, theorem 4.3). Here P spans the covariances of every stratum.

    Args:
        embedding: (n, width).
        member: (n, groups) indicators.
        strata: rows within which there is to be no correlation, each (n,).
    """
    mean = embedding.mean(0)
    z = embedding - mean
    size, axes = np.linalg.eigh(z.T @ z / len(z))
    used = size > size.max() * 1e-10
    root, axes = np.sqrt(size[used]), axes[:, used]
    whiten, back = (axes / root) @ axes.T, (axes * root) @ axes.T
    traces = np.hstack([z[of].T @ (member[of] - member[of].mean(0)) / of.sum() for of in strata])
    left, length, _ = np.linalg.svd(whiten @ traces, full_matrices=False)
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
