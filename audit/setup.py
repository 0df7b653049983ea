"""Plan -> Subject and Dataset."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from audit.datasets import read
from audit.loading import load

if TYPE_CHECKING:
    from audit.datasets import Dataset
    from audit.plan import Plan
    from audit.subject import Subject


def subject_and_data(plan: Plan, root: Path, trust_pickle: bool = False) -> tuple[Subject, Dataset]:
    """Load what a plan names.

    Args:
        plan: with paths that hold from the working directory.
        root: folder a factory's module is looked for first.
        trust_pickle: whether checkpoints may be unpickled.

    Raises:
        AssayError: the model or the data cannot be used.
    """
    model, data = plan.model, plan.data
    subject = load(
        model.path,
        factory=model.factory,
        classes=model.classes,
        task=model.task,
        modality=model.modality,
        output=model.output,
        mean=model.mean,
        std=model.std,
        device=plan.device,
        precision=model.precision,
        trust_pickle=trust_pickle,
        name=plan.name,
        root=root,
    )
    dataset = read(
        data.test,
        label=data.label,
        train=data.train,
        protected=data.protected,
        classes=subject.classes,
        text=data.text,
        encoder=data.encoder,
        immutable=data.immutable,
        constraints=data.constraints,
        bounds=data.bounds,
        favourable=data.favourable,
        modality=model.modality,
        masks=data.masks,
        smallest_group=data.smallest_group,
    )
    return subject, dataset
