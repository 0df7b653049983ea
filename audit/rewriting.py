"""What is written of a model made from another: its weights, the modules that build it, and a plan that audits it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import yaml

from audit.errors import ModelError, PlanError
from audit.loading.factory import local_files
from audit.loading.sniffing import Format
from audit.loading.transformers_folder import Logits, quiet

if TYPE_CHECKING:
    from torch import nn

    from audit.loading.wrapping import Wrapped
    from audit.plan import Plan
    from audit.subject import Subject

WEIGHTS = "model.safetensors"
#: settings, vocabularies and templates of a transformers folder
_BESIDE_WEIGHTS = frozenset({".json", ".txt", ".model", ".jinja"})


def refuse_overwriting(plan: Plan, root: Path, out: Path) -> None:
    """Refuse to write a model over the one that it is made from, or over that one's plan.

    Raises:
        PlanError: `out` is where they lie.
    """
    encoder = [] if plan.data.encoder is None else [plan.data.encoder.parent]
    for folder in (root, plan.model.path, plan.model.path.parent, *encoder):
        if out.resolve() == folder.resolve():
            raise PlanError(
                f"Expected a folder of its own to write to, found {out}, where the audited model or its plan lies; try "
                f"--out {out / 'made'}."
            )


def network(model: nn.Module) -> nn.Module:
    """What the factory built, inside the wrapper a loader puts around it."""
    return cast("Wrapped", model).network


def write_model(plan: Plan, root: Path, subject: Subject, trained: nn.Module, out: Path, name: str = WEIGHTS) -> str:
    """Write the weights of a retrained network, and what they need to be loaded, to `out`.

    Args:
        plan: says where the model came from.
        root: folder of the factory's modules.
        subject: the model as it was.
        trained: the network of a model like it.
        out: the folder.
        name: of the file; a transformers folder is called by its stem.

    Returns:
        Name of the checkpoint inside `out`.

    Raises:
        ModelError: the checkpoint has no factory that the weights could be loaded with.
    """
    if subject.format == Format.TRANSFORMERS:
        return _folder(plan.model.path, trained.cpu(), out / Path(name).stem)
    return _weights(plan, root, trained.cpu(), out / name)


def copy_modules(factory: str, root: Path, out: Path) -> list[Path]:
    """Copy the modules below `root` that a factory imports to `out`; returns them, relative to it."""
    names = [file.relative_to(root.resolve()) for file in local_files(factory, root)]
    for name in names:
        copy(root.resolve() / name, out / name)
    return names


def copy(source: Path, target: Path) -> None:
    """Copy a file, or a folder with what lies in it, so that a broken copy never has the target's name."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        for file in sorted(p for p in source.rglob("*") if p.is_file()):
            copy(file, target / file.relative_to(source))
        return
    if target.exists() and target.samefile(source):
        return
    part = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.copyfile(source, part)
    part.replace(target)


def write_plan(plan: Plan, checkpoint: str, out: Path, suffix: str, header: str, **changes: Any) -> Path:
    """Write the plan that audits `checkpoint`, a name inside `out`; returns its path.

    Args:
        plan: the plan that the model was made with; paths hold from the working directory.
        checkpoint: name inside `out`.
        out: the folder.
        suffix: what the plan's name ends in.
        header: the file's first lines.
        changes: keys of `model` and `data` (`model__factory=None` leaves one out).
    """
    from reports.artefacts import write_text

    path = out / "plan.yaml"
    found = document(plan, checkpoint, out, suffix)
    for dotted, value in changes.items():
        section, _, key = dotted.partition("__")
        found[section].pop(key, None)
        if value not in (None, []):
            found[section][key] = value
    write_text(path, header + yaml.safe_dump(found, sort_keys=False, allow_unicode=True, width=1000))
    return path


def document(plan: Plan, checkpoint: str, folder: Path, suffix: str) -> dict[str, Any]:
    """The plan as plain values with paths relative to `folder`; what was said about making models is done with."""
    found: dict[str, Any] = plan.model_dump(mode="json", exclude_defaults=True, exclude={"harden", "mitigate"})
    found |= {"name": f"{plan.name[: 99 - len(suffix)]}-{suffix}", "effort": str(plan.effort), "seed": plan.seed}
    found["model"]["path"] = checkpoint
    data = found["data"]
    data |= {key: relative(data[key], folder) for key in ("test", "train", "encoder") if data.get(key)}
    policy = plan.policy
    found["policy"] = relative(policy, folder) if policy.endswith((".yaml", ".yml")) else policy
    return found


def relative(path: str | Path, folder: Path) -> str:
    """The path as seen from `folder`."""
    return Path(os.path.relpath(path, folder)).as_posix()


def _weights(plan: Plan, root: Path, trained: nn.Module, target: Path) -> str:
    from safetensors.torch import save_model

    factory = plan.model.factory
    if factory is None:
        raise ModelError(
            f"Expected bare weights with a factory, found a whole pickled network in {plan.model.path}; try saving its "
            "state_dict, with a function that builds the network."
        )
    copy_modules(factory, root, target.parent)
    part = target.with_name(f".{target.name}.{os.getpid()}")
    save_model(trained, str(part))
    part.replace(target)
    return target.name


def _folder(source: Path, trained: nn.Module, target: Path) -> str:
    """A transformers folder: the library writes weights and configuration, the rest is copied."""
    inner: Any = trained.model if isinstance(trained, Logits) else trained
    with quiet():
        inner.save_pretrained(target)
    for file in sorted(source.iterdir()):
        kept = file.suffix in _BESIDE_WEIGHTS and ".index." not in file.name
        if kept and not (target / file.name).exists():
            copy(file, target / file.name)
    return target.name
