"""Removal of correlation with the group from the inputs of a table, by fairlearn's CorrelationRemover, and retraining."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from audit.mitigation.methods._network import Trainee, copied, inner, readable, refuse_untrainable
from audit.mitigation.methods._rates import compared, small
from audit.mitigation.methods._training import plain
from audit.mitigation.processors import Decorrelated, attach
from audit.mitigation.reading import Reader
from audit.mitigation.remedy import Bench, Processor, Remedy


def decorrelation(bench: Bench) -> Remedy:
    """Train on inputs that no longer correlate with the group; aims at demographic parity whatever the definition.

    Each column loses what the group tells of its mean, at prediction as in training, and those of the attribute itself
    say nothing any more. Only linear traces go: a network may find the others again. The aim's strength says how much
    is removed.

    Raises:
        AssayError: the input does not show the group, the model does not train, or fewer than two groups are large
            enough.
    """
    reader = readable(bench, "decorrelation")
    refuse_untrainable(bench)
    counted = compared(bench, bench.train, "training")
    assert isinstance(bench.train.inputs, Tensor) and isinstance(bench.held.inputs, Tensor)
    tensors = removal(bench, reader, counted)
    model = copied(bench)
    module = Decorrelated(model, reader, **{k: v.to(bench.subject.device) for k, v in tensors.items()})
    loop = plain(bench, Trainee(module, bench.train.inputs, bench.held.inputs, lambda: model), "decorrelation")
    trained = loop.run()
    processor = Processor("decorrelated", {"reader": reader.plain(), "classes": len(bench.classes)}, tensors)
    spread = _spread(bench, reader)
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


def _spread(bench: Bench, reader: Reader) -> Tensor:
    """(width,) standard deviations of the model's own columns in training, 1 where a column never moves."""
    assert isinstance(bench.train.inputs, Tensor)
    spread = reader.own(bench.train.inputs).std(0, correction=0)
    return torch.where(spread > 0, spread, torch.ones_like(spread)).cpu()
