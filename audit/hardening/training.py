"""From a subject and its data to a hardened network."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from attacks import Hardened, Threat
from attacks import harden as train_against
from attacks.defence import Progress
from audit.checks.robustness._space import space, unfit
from audit.errors import DataError, ModelError, PlanError
from audit.loading.sniffing import Format
from audit.subject import Capability, Modality

if TYPE_CHECKING:
    from audit.datasets import Dataset
    from audit.plan import Plan
    from audit.subject import Subject


class Scaled(nn.Module):
    """A model whose inputs are counted in other units: rows are multiplied by `scale` before it sees them."""

    scale: Tensor

    def __init__(self, model: nn.Module, scale: Tensor) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("scale", scale, persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """(n, ...) -> (n, classes)."""
        scores: Tensor = self.model(inputs * self.scale)
        return scores


def refuse(subject: Subject, dataset: Dataset) -> None:
    """Refuse what cannot be hardened.

    Raises:
        AssayError: text, a checkpoint that does not train, no training data, or inputs that cannot be attacked.
    """
    if subject.modality is Modality.TEXT:
        raise ModelError(
            "Expected an image or a tabular model, found a text model; hardening moves inputs by small amounts, which "
            "words do not allow: try training with the substitutions that `robustness.text_evasion` finds."
        )
    if subject.format == Format.POST_PROCESSOR:
        raise ModelError(
            f"Expected a checkpoint to harden, found the post-processor {subject.source}; try hardening the model inside and "
            "mitigating that."
        )
    if Capability.TRAIN not in subject.capabilities:
        raise ModelError(
            f"Expected a checkpoint that can be trained, found a {subject.format} file; try its bare weights with a "
            "factory that builds the network."
        )
    if dataset.train is None:
        raise DataError("Expected training data to harden with, found none in the plan; try data.train.")
    reason = unfit(dataset)
    if reason:
        raise DataError(f"Expected inputs that can be attacked, found: {reason}.")


def train(
    plan: Plan, subject: Subject, dataset: Dataset, state: Path, watch: Callable[[Progress], object] | None
) -> Hardened:
    """The hardened network in a wrapper like the subject's; `state` is where an interrupted training goes on from.

    Raises:
        PlanError: a setting does not fit, or the state is that of another training.
    """
    wish = plan.harden
    assert dataset.train is not None and wish.eps is not None
    here = space(subject, dataset, dataset.train)
    scale = here.scale
    bounds, inputs, model = here.bounds, here.inputs, subject.model
    if scale is not None:
        low, high = cast("tuple[Tensor, Tensor]", bounds)
        bounds, inputs, model = (low / scale, high / scale), inputs / scale, Scaled(model, scale)
    try:
        hardened = train_against(
            model,
            (inputs, here.labels),
            Threat(wish.norm, wish.eps, bounds, here.mutable),
            wish.recipe,
            epochs=wish.epochs,
            batch_size=wish.batch_size,
            steps=wish.steps,
            beta=wish.beta,
            learning_rate=wish.learning_rate,
            averaging=wish.averaging,
            awp=wish.awp,
            patience=wish.patience,
            seed=plan.seed,
            resume=state,
            progress=watch,
        )
    except (ValueError, TypeError) as error:  # what attacks refuse is something the plan asked for
        raise PlanError(str(error)) from error
    if scale is None:
        return hardened
    inner = cast(Scaled, hardened.model).model
    return Hardened(inner, hardened.history, hardened.best, hardened.forwards, hardened.backwards)


def describe(hardened: Hardened, path: Path) -> None:
    """Write the history as JSON."""
    from reports.artefacts import write_text

    document = {
        "best": hardened.best,
        "forwards": hardened.forwards,
        "backwards": hardened.backwards,
        "history": [asdict(line) for line in hardened.history],
        "torch": torch.__version__,
    }
    write_text(path, json.dumps(document, indent=2) + "\n")
