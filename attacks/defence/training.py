"""The loop: epochs of lessons, a trial after each, and a state on disk from which it goes on bit by bit."""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from attacks.defence.keeping import Weights, copied, derive, fingerprint, isolated
from attacks.defence.material import Material, Room
from attacks.defence.overfitting import Trial, caught, judge
from attacks.defence.recipes import Attack, Passes, Teacher
from attacks.defence.settings import Settings
from attacks.defence.weights import Average, kept_statistics, shaken, trainable
from attacks.threat import Threat

_STRONGEST = 10  # steps beyond which an inner attack is not called single-step any more


@dataclass(frozen=True)
class Epoch:
    """One line of the history.

    Attributes:
        epoch: 0 before training, then 1, 2, ...; after going back, numbers come again.
        loss: mean training loss; None before training.
        clean: accuracy on the held-out rows.
        one_step: the same after one full gradient step.
        robust: the same after projected gradient descent.
        steps: gradients of the inner attack.
        noise: half-width of its random start, in budgets (single steps).
        overfitted: whether it overfitted catastrophically, so that training went back to the best epoch before it.
    """

    epoch: int
    loss: float | None
    clean: float
    one_step: float
    robust: float
    steps: int
    noise: float
    overfitted: bool


@dataclass(frozen=True)
class Progress:
    """Where a hardening stands: `batch` of `batches` in `epoch` of `epochs`, and the last finished line of history."""

    epoch: int
    epochs: int
    batch: int
    batches: int
    last: Epoch | None


class Training:
    """One hardening, from its first epoch or from a state on disk.

    Args:
        network: trained in place; a copy of the caller's.
        material: rows.
        threat: the budget.
        settings: everything else.
        path: where the state is kept after each epoch; None: nowhere.
        progress: told after each batch and each epoch.
    """

    def __init__(
        self,
        network: nn.Module,
        material: Material,
        threat: Threat,
        settings: Settings,
        path: Path | None,
        progress: Callable[[Progress], object] | None,
    ) -> None:
        self.network, self.material, self.threat, self.settings = network, material, threat, settings
        self.path, self.tell = path, progress or (lambda _: None)
        self.teacher = Teacher(network, settings, Room.of(threat, material.inputs))
        self.optimiser = _optimiser(trainable(network), settings)
        self.average = Average(network, settings.averaging) if settings.averaging else None
        self.attack = Attack(settings.first_steps, settings.noise)
        self.history: list[Epoch] = []
        self.best = 0
        self.best_weights: Weights = {}
        # where training goes back to when it overfits: the best epoch, and how it fared
        self.good: dict[str, Any] = {}
        self.reference: Trial | None = None
        self.name = self._fingerprint() if path else ""

    @property
    def passes(self) -> Passes:
        """Examples that went through the model so far."""
        return self.teacher.passes

    def run(self) -> None:
        """Train until the last epoch, or until patience ends; afterwards the network holds the best weights."""
        with isolated(self.material.inputs.device):
            self._resume()
            if not self.history:
                self._close(0, None)
            while not self._finished():
                last = self.history[self.best if self.history[-1].overfitted else -1]
                self._epoch(last.epoch + 1)
        self.network.load_state_dict(self.best_weights)

    def _finished(self) -> bool:
        last, patience = self.history[-1], self.settings.patience
        if last.overfitted:
            return False
        waited = patience is not None and last.epoch - self.history[self.best].epoch >= patience
        return last.epoch >= self.settings.epochs or waited

    def _epoch(self, epoch: int) -> None:
        turn, rows = len(self.history), self.material
        order = torch.randperm(
            len(rows.inputs), generator=torch.Generator().manual_seed(derive(self.settings.seed, turn))
        )
        batches = torch.split(order.to(rows.inputs.device), self.settings.batch_size)
        self.network.train()
        total = torch.zeros((), dtype=torch.float64, device=rows.inputs.device)
        for index, at in enumerate(batches):
            # dropout draws from torch's own generator: seeding each batch is all that a resumed training needs
            torch.manual_seed(derive(self.settings.seed, turn, index))
            share = (epoch - 1 + index / len(batches)) / self.settings.epochs
            for group in self.optimiser.param_groups:
                group["lr"] = self.settings.rate(share)
            total += len(at) * self._batch(rows.inputs[at], rows.labels[at], rows.keys[at], turn)
            self.tell(Progress(epoch, self.settings.epochs, index + 1, len(batches), self.history[-1]))
        self._close(epoch, float(total) / len(rows.inputs))

    def _batch(self, inputs: Tensor, labels: Tensor, keys: Tensor, turn: int) -> Tensor:
        """One step of the optimiser; returns the loss before it."""
        weights = trainable(self.network)
        lesson = self.teacher.lesson(inputs, labels, keys, self.attack, turn)
        loss = self.teacher.loss(lesson)
        gradients = torch.autograd.grad(loss, weights, allow_unused=True)
        if self.settings.awp:
            with shaken(self.network, gradients, self.settings.awp), kept_statistics(self.network):
                gradients = torch.autograd.grad(self.teacher.loss(lesson), weights, allow_unused=True)
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.grad = gradient
        self.optimiser.step()
        self.optimiser.zero_grad()
        if self.average:
            self.average.see(self.network, lesson)
        return loss.detach()

    def _close(self, epoch: int, loss: float | None) -> None:
        """Try the model on the held-out rows, keep it or undo the epoch, and write the state."""
        if loss is not None and not math.isfinite(loss):
            raise ValueError(f"Expected a finite training loss, found {loss} in epoch {epoch}; try less learning_rate.")
        live = None if self.average and self.settings.recipe != "fast" else self._trial()
        overfitted = live is not None and self._overfits(live)
        with self.average.within(self.network) if self.average else nullcontext():
            # an average lags: it is what is kept, never what tells overfitting
            trial = live if live is not None and (overfitted or not self.average) else self._trial()
            self.history.append(
                Epoch(
                    epoch,
                    loss,
                    trial.clean,
                    trial.one_step,
                    trial.robust,
                    self.attack.steps,
                    self.attack.noise,
                    overfitted,
                )
            )
            better = not overfitted and trial.robust >= self.history[self.best].robust
            if better:
                self.best, self.best_weights = len(self.history) - 1, copied(self.network.state_dict())
        if overfitted:
            self._restore(self.good)
            self.attack = self.attack.stronger()
        elif better and self._watched():
            self.reference, self.good = live, self._snapshot()
        self._save()
        self.tell(Progress(epoch, self.settings.epochs, 0, 0, self.history[-1]))

    def _trial(self) -> Trial:
        held = self.material.held_inputs, self.material.held_labels
        return judge(self.network, *held, self.threat, self.settings.seed, self.passes)

    def _watched(self) -> bool:
        return self.settings.recipe == "fast" and self.attack.steps < _STRONGEST

    def _overfits(self, trial: Trial) -> bool:
        return self._watched() and self.reference is not None and caught(self.reference, trial)

    def _snapshot(self) -> dict[str, Any]:
        """What an epoch starts from, as plain tensors and numbers."""
        return {
            "weights": copied(self.network.state_dict()),
            "optimiser": copy.deepcopy(self.optimiser.state_dict()),
            "average": self.average.state() if self.average else {},
        }

    def _restore(self, snapshot: Mapping[str, Any]) -> None:
        self.network.load_state_dict(snapshot["weights"])
        self.optimiser.load_state_dict(copy.deepcopy(snapshot["optimiser"]))
        if self.average:
            self.average.load(snapshot["average"])

    def _save(self) -> None:
        if self.path is None:
            return
        state = self._snapshot() | {
            "name": self.name,
            "good": self.good,
            "attack": asdict(self.attack),
            "reference": None if self.reference is None else asdict(self.reference),
            "history": [asdict(line) for line in self.history],
            "best": self.best,
            "best_weights": self.best_weights,
            "passes": asdict(self.passes),
        }
        part = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        torch.save(state, part)
        part.replace(self.path)

    def _resume(self) -> None:
        if self.path is None or not self.path.exists():
            return
        try:
            state = torch.load(self.path, map_location=self.material.inputs.device, weights_only=True)
            name = state["name"]
        except Exception as error:  # whatever a damaged file makes torch raise
            raise ValueError(
                f"Expected a state that a hardening wrote at {self.path}, found {type(error).__name__}; "
                "try another path, or delete the file."
            ) from error
        if name != self.name:
            raise ValueError(
                f"Expected the state of this hardening at {self.path}, found that of another (model, data, threat or "
                "settings differ); try another path, or delete the file."
            )
        self._restore(state)
        self.attack, passes = Attack(**state["attack"]), state["passes"]
        self.passes.forwards, self.passes.backwards = passes["forwards"], passes["backwards"]
        self.reference = None if state["reference"] is None else Trial(**state["reference"])
        self.history = [Epoch(**line) for line in state["history"]]
        self.best, self.best_weights = state["best"], state["best_weights"]
        self.good = state["good"]

    def _fingerprint(self) -> str:
        """What the outcome depends on: weights, rows, budget and settings."""
        threat, rows = self.threat, self.material
        weights = [value for _, value in sorted(self.network.state_dict().items())]
        held = (rows.held_inputs, rows.held_labels)
        rest = (self.settings, threat.norm, threat.eps, *threat.bounds, threat.mutable)
        return fingerprint(*rest, rows.inputs, rows.labels, *held, *weights)


def _optimiser(weights: list[nn.Parameter], settings: Settings) -> torch.optim.Optimizer:
    # one kernel for all weights: for small nets a step would else cost as much as a batch
    fused = {weight.device.type for weight in weights} <= {"cpu", "cuda"}
    common: dict[str, Any] = {"lr": settings.rate(0), "weight_decay": settings.weight_decay, "fused": fused}
    if settings.optimiser == "sgd":
        return torch.optim.SGD(weights, momentum=0.9, **common)
    return torch.optim.AdamW(weights, **common)
