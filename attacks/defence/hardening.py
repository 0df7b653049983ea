"""Adversarial training: a model that an attacker has to work for."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from attacks.defence.material import Material, Rows, Train, gather
from attacks.defence.settings import Optimiser, Recipe, Schedule, Settings
from attacks.defence.training import Epoch, Progress, Training
from attacks.threat import Threat


@dataclass(frozen=True, eq=False)
class Hardened:
    """What a hardening made.

    Attributes:
        model: a trained copy, in eval mode: the weights of the best epoch.
        history: one line an epoch, the model as it was first, undone epochs included.
        best: index of the line whose weights were kept.
        forwards: examples that entered the model, held-out attacks included.
        backwards: examples whose gradient was taken, with respect to inputs or to weights.
    """

    model: nn.Module
    history: tuple[Epoch, ...]
    best: int
    forwards: int
    backwards: int


def harden(
    model: nn.Module,
    train: Train,
    threat: Threat,
    recipe: Recipe = "trades",
    *,
    epochs: int = 20,
    batch_size: int = 128,
    steps: int | None = None,
    noise: float = 1.0,
    beta: float = 6.0,
    optimiser: Optimiser = "adamw",
    learning_rate: float | None = None,
    weight_decay: float = 1e-2,
    schedule: Schedule = "cycle",
    averaging: float = 0.0,
    awp: float = 0.0,
    held_out: float | Rows = 0.1,
    patience: int | None = None,
    seed: int = 0,
    resume: str | Path | None = None,
    progress: Callable[[Progress], object] | None = None,
) -> Hardened:
    """Train a copy of a model on inputs perturbed against it, and keep its best epoch.

    After each epoch the model is attacked on held-out rows (projected gradient descent, 10 steps); the weights that
    withstand best are returned. One-step training that overfits catastrophically is told from the same attack: it goes
    back to the best epoch and on from there with more noise, then with more steps. The caller's model and every global generator
    stay as they are, and on a CPU the same arguments give the same weights, interrupted and resumed or not.

    Args:
        model: module from a float batch (m, ...) to (m, classes) scores, in input units, on any device. Weights that
            ask for no gradient stay as they are, unless none asks: then all are trained.
        train: (inputs, labels), or batches of both, held in memory together; inputs lie inside the threat's bounds.
        threat: the budget to withstand; any norm, box and mutable mask, but no target.
        recipe: "pgd" (Madry et al. 2018, 10 gradients a step), "trades" (Zhang et al. 2019, 10 gradients, accuracy
            weighed against constancy) or "fast" (de Jorge et al. 2022, N-FGSM, 1 gradient).
        epochs: passes over the rows.
        batch_size: rows in one step of the optimiser.
        steps: gradients of the inner attack; None: the recipe's own number.
        noise: half-width of the random start of a single step, in budgets; 0 is the plain fast gradient method.
        beta: weight of constancy in TRADES.
        optimiser: "adamw", or "sgd" with momentum 0.9.
        learning_rate: its highest value; None: 5e-3 for adamw, 0.1 for sgd.
        weight_decay: of the optimiser.
        schedule: "cycle" rises for three tenths and falls to 0, "constant" stays.
        averaging: decay of an exponential average of the weights, e.g. 0.999, which is then judged and kept; 0: none.
        awp: size of the adversarial weight perturbation relative to the weights (Wu et al. 2020), e.g. 0.005; 0: none.
        held_out: share of the rows to judge by, at most 256 of them; or other rows (inputs, labels).
        patience: epochs without a better one after which training stops; None: all epochs.
        seed: of every random draw.
        resume: file that holds the state after each epoch; where it is there, training goes on from it.
        progress: told after each batch and after each epoch.

    Raises:
        TypeError: an argument is of the wrong type.
        ValueError: an argument is out of its range, the loss is not finite, or `resume` holds something else.
    """
    settings = Settings(
        recipe=recipe,
        epochs=epochs,
        batch_size=batch_size,
        steps=steps,
        noise=noise,
        beta=beta,
        optimiser=optimiser,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        schedule=schedule,
        averaging=averaging,
        awp=awp,
        patience=patience,
        seed=seed,
    )
    _check(model, threat)
    network = copy.deepcopy(model)
    asks = [weight.requires_grad for weight in network.parameters()]
    if not any(asks):
        for weight in network.parameters():
            weight.requires_grad_(weight.is_floating_point())
    device = next(network.parameters()).device
    with torch.inference_mode(False), torch.enable_grad():
        material = _moved(gather(train, held_out, threat, seed), device)
        training = Training(network, material, threat, settings, None if resume is None else Path(resume), progress)
        training.run()
    for weight, ask in zip(network.parameters(), asks, strict=True):
        weight.requires_grad_(ask)
    passes = training.passes
    return Hardened(network.eval(), tuple(training.history), training.best, passes.forwards, passes.backwards)


def _check(model: nn.Module, threat: Threat) -> None:
    if not isinstance(model, nn.Module):
        raise TypeError(f"Expected model to be a torch.nn.Module, which can be trained, found {type(model).__name__}.")
    if not any(weight.is_floating_point() for weight in model.parameters()):
        raise ValueError("Expected a model with weights to train, found none.")
    if not isinstance(threat, Threat):
        raise TypeError(f"Expected threat to be an attacks.Threat, found {type(threat).__name__}.")
    if threat.target is not None:
        raise ValueError("Expected a threat without target, found one; try target=None, which withstands all of them.")
    if threat.eps == 0:
        raise ValueError("Expected a threat with eps above 0, found 0; try plain training.")


def _moved(rows: Material, device: torch.device) -> Material:
    return Material(*(getattr(rows, name).to(device) for name in rows.__dataclass_fields__))
