"""The loop that methods which train share: epochs of AdamW, a trial after each, and the best epoch's weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from attacks.defence.keeping import copied, derive, isolated
from audit.errors import ModelError
from audit.loading.prediction import Batches
from audit.mitigation.methods._network import Trainee, scores
from audit.mitigation.remedy import Bench, Step

Gradients: TypeAlias = list[Tensor]

_WARM = 0.3  # share of the training in which the learning rate rises
_DECAY = 1e-2
_STEPS, _LEAST_BATCH = 80, 32  # few rows make small batches: an epoch of few steps moves no weights


@dataclass
class Loop:
    """One training.

    Attributes:
        bench: rows, seed and settings.
        trainee: what is trained, in place.
        method: its name, for progress.
        losses: scores (n, classes) and rows (n,) of the training part -> losses, each a sum over the rows.
        join: the gradients of each loss, one list a loss, and the share of the training done -> one list to step along.
        judge: scores of the held rows (n, classes) -> what the best epoch has least of.
        rate: share of the bench's learning rate.
        history: (epoch, what the judge said), the start as epoch 0.
    """

    bench: Bench
    trainee: Trainee
    method: str
    losses: Callable[[Tensor, Tensor], Sequence[Tensor]]
    judge: Callable[[NDArray[np.float64]], float]
    join: Callable[[list[Gradients], float], Gradients] = lambda found, _: found[0]
    rate: float = 1.0
    history: list[tuple[int, float]] = field(default_factory=list)

    def run(self) -> nn.Module:
        """Train; the whole model with the weights of the best epoch, in eval mode, frozen.

        Raises:
            ModelError: the loss is not finite.
        """
        bench, module = self.bench, self.trainee.module
        weights = [weight for weight in module.parameters() if weight.requires_grad]
        optimiser = torch.optim.AdamW(weights, lr=bench.learning_rate, weight_decay=_DECAY)
        room = Batches(bench.batch_size, bench.subject.device)
        best = self._try(0)
        kept = copied(module.state_dict())
        with isolated(bench.subject.device):
            for epoch in range(1, bench.epochs + 1):
                self._epoch(epoch, optimiser, weights, room)
                found = self._try(epoch)
                if found < best or (bench.scratch and epoch == 1):
                    best, kept = found, copied(module.state_dict())
                bench.tell(Step(self.method, epoch, bench.epochs, f"epoch {epoch} of {bench.epochs}"))
        module.load_state_dict(kept)
        return self.trainee.finish().eval().requires_grad_(False)

    @property
    def best(self) -> int:
        """The epoch whose weights are kept."""
        start = 1 if self.bench.scratch and len(self.history) > 1 else 0
        return min(self.history[start:], key=lambda line: line[1])[0]

    def _try(self, epoch: int) -> float:
        found = self.judge(scores(self.bench, self.trainee.module, self.trainee.held))
        self.history.append((epoch, found))
        return found

    def _epoch(self, epoch: int, optimiser: torch.optim.Optimizer, weights: list[nn.Parameter], room: Batches) -> None:
        bench, module = self.bench, self.trainee.module
        module.train()
        order = torch.randperm(len(bench.train), generator=torch.Generator().manual_seed(derive(bench.seed, epoch)))
        size = min(bench.batch_size, max(_LEAST_BATCH, len(order) // _STEPS))
        batches = [rows for rows in torch.split(order, size) if len(rows) > 1 or len(order) == 1]
        for index, rows in enumerate(batches):
            torch.manual_seed(derive(bench.seed, epoch, index))  # dropout draws from torch's own generator
            done = (epoch - 1 + index / len(batches)) / bench.epochs
            for group in optimiser.param_groups:
                group["lr"] = self.rate * bench.learning_rate * cycle(done)
            gradients = self.join(self._gradients(rows, weights, room), done)
            for weight, gradient in zip(weights, gradients, strict=True):
                weight.grad = gradient
            optimiser.step()
            optimiser.zero_grad()

    def _gradients(self, rows: Tensor, weights: list[nn.Parameter], room: Batches) -> list[Gradients]:
        """Of each loss's mean over the rows; summed over portions that fit in memory."""
        total: list[Gradients] = []

        def portion(start: int, stop: int) -> Tensor:
            part = rows[start:stop]
            found = self.losses(self.trainee.module(self.trainee.train[part].to(room.device)), part)
            lists = [
                torch.autograd.grad(loss / len(rows), weights, retain_graph=loss is not found[-1], allow_unused=True)
                for loss in found
            ]
            filled = [
                [torch.zeros_like(w) if g is None else g for w, g in zip(weights, one, strict=True)] for one in lists
            ]
            if not total:
                total.extend(filled)
            else:
                for sums, more in zip(total, filled, strict=True):
                    for a, b in zip(sums, more, strict=True):
                        a += b
            return torch.stack([loss.detach() for loss in found]).sum().reshape(1)

        loss = float(torch.cat(room.run(len(rows), portion)).sum())
        if not math.isfinite(loss):
            raise ModelError(f"Expected a finite training loss, found {loss}; try less learning_rate.")
        return total


def plain(bench: Bench, trainee: Trainee, method: str) -> Loop:
    """A training on cross-entropy alone, judged by the same on the held rows."""
    device, labels = bench.subject.device, torch.from_numpy(bench.train.labels)

    def losses(found: Tensor, rows: Tensor) -> tuple[Tensor]:
        return (F.cross_entropy(found, labels[rows].to(device), reduction="sum"),)

    def judge(found: NDArray[np.float64]) -> float:
        return float(F.cross_entropy(torch.from_numpy(found), torch.from_numpy(bench.held.labels)))

    return Loop(bench, trainee, method, losses, judge)


def cycle(done: float) -> float:
    """Share of the highest learning rate: up in a straight line, down with a cosine (Smith and Topin 2018)."""
    if done < _WARM:
        return max(done / _WARM, 0.04)
    return (1 + math.cos(math.pi * (done - _WARM) / (1 - _WARM))) / 2
