"""What is written of a hardened model: weights, and a plan that audits them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from torch import nn

from audit.errors import ModelError
from audit.hardening.training import network
from audit.loading import Format
from audit.loading.factory import local_files

if TYPE_CHECKING:
    from audit.plan import Plan
    from audit.subject import Subject

WEIGHTS = "model.safetensors"
HEADER = (
    "# Audits the hardened model beside it; written by `audit harden`, with the settings of the plan it was given.\n"
)


def write(plan: Plan, root: Path, subject: Subject, model: nn.Module, out: Path) -> Path:
    """Write weights, plan and the factory's own modules to `out`; returns the plan's path.

    Raises:
        ModelError: the checkpoint has no factory that the weights could be loaded with.
    """
    from reports.artefacts import write_text

    trained = network(model).cpu()
    if subject.format == Format.TRANSFORMERS:
        name = _folder(plan.model.path, trained, out)
    else:
        name = _weights(plan, root, trained, out)
    path = out / "plan.yaml"
    text = yaml.safe_dump(document(plan, name, out), sort_keys=False, allow_unicode=True, width=1000)
    write_text(path, HEADER + text)
    return path


def _weights(plan: Plan, root: Path, trained: nn.Module, out: Path) -> str:
    from safetensors.torch import save_model

    factory = plan.model.factory
    if factory is None:
        raise ModelError(
            f"Expected bare weights with a factory, found a whole pickled network in {plan.model.path}; try saving its "
            "state_dict, with a function that builds the network."
        )
    for file in local_files(factory, root):
        target = out / file.relative_to(root.resolve())
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    part = out / f".{WEIGHTS}.{os.getpid()}"
    save_model(trained, str(part))
    part.replace(out / WEIGHTS)
    return WEIGHTS


def _folder(source: Path, trained: nn.Module, out: Path) -> str:
    """A transformers folder: the library writes weights and configuration, the rest is copied."""
    target = out / "model"
    inner: Any = trained.model
    inner.save_pretrained(target)
    for file in source.glob("*.json"):
        if not (target / file.name).exists() and ".index." not in file.name:
            shutil.copyfile(file, target / file.name)
    return target.name


def document(plan: Plan, weights: str, folder: Path) -> dict[str, Any]:
    """The plan as plain values with paths relative to `folder`; what was said about hardening is done with."""
    found: dict[str, Any] = plan.model_dump(mode="json", exclude_defaults=True, exclude={"harden"})
    found |= {"name": f"{plan.name[:91]}-hardened", "effort": str(plan.effort), "seed": plan.seed}
    found["model"]["path"] = weights
    data = found["data"]
    data |= {key: _relative(data[key], folder) for key in ("test", "train", "encoder") if data.get(key)}
    policy = plan.policy
    found["policy"] = _relative(policy, folder) if policy.endswith((".yaml", ".yml")) else policy
    return found


def _relative(path: str, folder: Path) -> str:
    return Path(os.path.relpath(path, folder)).as_posix()
