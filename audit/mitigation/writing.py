"""A remedied model on disk: new weights, or a post-processor with its checkpoint beside it."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from audit.datasets.encoding import Categorical, Encoder, Numeric, read_encoder
from audit.loading import load
from audit.loading import post_processor as files
from audit.loading.digest import digest
from audit.rewriting import WEIGHTS, copy, copy_modules, write_model, write_plan

if TYPE_CHECKING:
    from audit.mitigation.remedy import Remedy
    from audit.plan import Plan
    from audit.subject import Subject

HEADER = "# Audits the model beside it; written by `audit mitigate`, with the settings of the plan it was given.\n"
READS_GROUP = "# The model reads a person's {attribute} when it answers. In some places the law does not allow that: ask before use.\n"


@dataclass(frozen=True)
class Origin:
    """What was audited.

    Attributes:
        plan: how it was read.
        root: folder of its factory's modules.
        subject: the model.
        trust_pickle: whether it may be unpickled.
    """

    plan: Plan
    root: Path
    subject: Subject
    trust_pickle: bool = False


def write(origin: Origin, remedy: Remedy, out: Path) -> str:
    """Write the model; returns the checkpoint's name inside `out`.

    Raises:
        ModelError: the checkpoint has no factory that new weights could be loaded with.
    """
    plan, subject = origin.plan, origin.subject
    out.mkdir(parents=True, exist_ok=True)
    if remedy.processor is None:
        assert remedy.network is not None
        return write_model(plan, origin.root, subject, remedy.network, out)
    if remedy.network is not None:
        base = write_model(plan, origin.root, subject, remedy.network, out, "base.safetensors")
    else:
        base = f"base{plan.model.path.suffix}" if plan.model.path.is_file() else "base"
        copy(plan.model.path, out / base)
    modules = copy_modules(plan.model.factory, origin.root, out) if plan.model.factory else []
    processor = remedy.processor
    document = files.Document(
        kind=processor.kind,
        settings=dict(processor.settings),
        base=files.Base(
            file=base,
            sha256=digest(out / base),
            factory=plan.model.factory,
            modules={name.as_posix(): digest(out / name) for name in modules},
            output=plan.model.output,
            mean=plan.model.mean,
            std=plan.model.std,
            modality=str(subject.modality),
            classes=list(subject.classes),
        ),
        tensors=files.tensors_digest(processor.tensors),
    )
    files.write(out / WEIGHTS, document, processor.tensors)
    return WEIGHTS


def read(origin: Origin, path: Path) -> Subject:
    """Load what `write` wrote, on the device and in the precision of the plan."""
    plan = origin.plan
    model = plan.model
    return load(
        path,
        factory=model.factory,
        classes=list(origin.subject.classes),
        modality=str(origin.subject.modality),
        output=model.output,
        mean=model.mean,
        std=model.std,
        device=plan.device,
        precision=model.precision,
        trust_pickle=origin.trust_pickle,
        name=plan.name,
        root=path.parent,
    )


def install(source: Path, out: Path) -> None:
    """Put what lies in one folder into another, without a second copy on disk where the file system allows."""
    for file in sorted(p for p in source.rglob("*") if p.is_file()):
        target = out / file.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}.{os.getpid()}")
        part.unlink(missing_ok=True)
        try:
            os.link(file, part)
        except OSError:
            shutil.copyfile(file, part)
        part.replace(target)
        part.unlink(missing_ok=True)  # two names of one file: nothing was renamed


def write_audit(
    origin: Origin, checkpoint: str, added: tuple[Numeric | Categorical, ...], attribute: str, reads: bool, out: Path
) -> Path:
    """Write the plan that audits the model in `out`, and the encoder that its inputs need; returns the plan's path.

    Args:
        origin: what was audited.
        checkpoint: name inside `out`.
        added: columns behind the audited model's own.
        attribute: whom the mitigation is for.
        reads: whether the model reads it.
        out: the folder.
    """
    plan = origin.plan
    changes: dict[str, object] = {}
    if files.is_one(out / checkpoint):
        changes = {f"model__{key}": None for key in ("output", "mean", "std", "classes", "modality")}
    if added and reads:
        assert plan.data.encoder is not None
        encoder = Encoder(features=(*read_encoder(plan.data.encoder).features, *added))
        (out / "encoder.json").write_text(encoder.model_dump_json(indent=1) + "\n", encoding="utf-8")
        changes["data__encoder"] = "encoder.json"
        changes["data__immutable"] = [*plan.data.immutable, *(feature.name for feature in added)]
    header = HEADER + (READS_GROUP.format(attribute=attribute) if reads else "")
    return write_plan(plan, checkpoint, out, "mitigated", header, **changes)
