"""A plan made by looking at a checkpoint and its data."""

from __future__ import annotations

import ast
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import yaml

from audit.errors import DataError, ModelError, PlanError, nearest
from audit.plan import DataPlan, ModelPlan, Plan

if TYPE_CHECKING:
    from audit.loading import Format

OUTPUTS = get_args(ModelPlan.model_fields["output"].annotation)
BUILDERS = ("build", "build_model", "make_model", "create_model", "get_model", "model")

HEADER = """\
# An audit plan. Lines marked `check` were guessed from the files: see that they are right.
# Every key is described by `audit schema`; editors read it after: audit schema > plan.schema.json
# yaml-language-server: $schema=plan.schema.json
"""


@dataclass(frozen=True)
class Proposal:
    """A plan and what a person should look at in it.

    Attributes:
        plan: paths hold from the working directory.
        questions: one sentence each.
        guessed: dotted keys whose values were guessed.
    """

    plan: Plan
    questions: tuple[str, ...]
    guessed: frozenset[str]

    def to_yaml(self, folder: Path) -> str:
        """The plan as YAML with paths relative to `folder`; guessed keys carry a comment."""
        document: dict[str, Any] = self.plan.model_dump(mode="json", exclude_defaults=True)
        for part, keys in (("model", ("path",)), ("data", ("test", "train", "encoder"))):
            for key in keys:
                if document[part].get(key):
                    document[part][key] = Path(os.path.relpath(document[part][key], folder)).as_posix()
        document |= {"effort": str(self.plan.effort), "seed": self.plan.seed, "policy": self.plan.policy}
        lines, section = [], ""
        for line in yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=1000).splitlines():
            if line and line[0].isalpha():
                section = line.split(":")[0]
            key = line.strip().split(":")[0]
            inner = line.startswith("  ") and not line.strip().startswith("-")
            mark = inner and f"{section}.{key}" in self.guessed
            lines.append(line + ("    # check" if mark else ""))
        return HEADER + "\n".join(lines) + "\n"


def propose(
    model: Path,
    data: Path,
    train: Path | None = None,
    label: str | None = None,
    factory: str | None = None,
    classes: Sequence[str] | None = None,
    protected: Sequence[str] | None = None,
    output: str | None = None,
    trust_pickle: bool = False,
) -> Proposal:
    """Look at a checkpoint and a data set, running neither, and propose a plan.

    Args:
        model: the checkpoint.
        data: the test data.
        train: the training data; looked for beside the test data where left out.
        label: label column; guessed where left out.
        factory: what builds a bare state_dict's network; looked for beside the checkpoint where left out.
        classes: class names in the order of the outputs; read off the checkpoint or the labels where left out.
        protected: protected columns; guessed from their names where left out.
        output: what the model returns; logits where left out.
        trust_pickle: whether the checkpoint may be unpickled.

    Raises:
        AssayError: a file cannot be read, or the two do not fit each other.
    """
    from audit.datasets import look as look_at_data
    from audit.loading import look as look_at_model

    seen, found = look_at_model(model), look_at_data(data)
    questions, guessed = [], set()
    if factory is None and seen.needs_factory and not _is_whole(model, seen.format, trust_pickle):
        factory = _factory_beside(model)
        if factory is None:
            raise ModelError(
                f"Expected a factory for the bare state_dict {model}, found none beside it; "
                "try --factory package.module:name, a function that builds the network."
            )
        questions.append(f"model.factory is {factory}, the function found beside the checkpoint.")
        guessed.add("model.factory")
    if label is None:
        label = found.label
        if found.columns and label is None:
            raise DataError(f"Expected a label column in {data}, found none that looks like one; try --label NAME.")
        if label is not None and found.columns:
            questions.append(f"data.label is {label!r}.")
            guessed.add("data.label")
    names = _class_names(seen.classes, classes, found, label)
    if names and not classes and not seen.classes:
        questions.append(f"model.classes are {list(names)}, in the order of the model's outputs.")
        guessed.add("model.classes")
    if label is not None and not seen.classes and not classes and len(names) == 1:
        raise DataError(
            f"Expected rows of at least two classes in {data}, found {names[0]!r} only; try more rows, or --classes."
        )
    if names and seen.outputs not in (None, 1, len(names)):
        raise DataError(
            f"Expected as many classes as the model has outputs, {seen.outputs}, found {len(names)} in {data}; "
            "try --label or --classes."
        )
    if protected is None and found.protected:
        questions.append(f"data.protected are {list(found.protected)}, by their names.")
        guessed.add("data.protected")
    if train is None and (train := _train_beside(data, found.splits)) is not None:
        questions.append(f"data.train is {train}, found beside the test data.")
        guessed.add("data.train")
    if (protected or found.protected) and names:
        questions.append(f"data.favourable is unset, so {names[-1]!r} counts as the favourable class; set it.")
    encoder = model.parent / "encoder.json"
    modality = seen.modality or found.modality
    if modality == "tabular" and encoder.is_file():
        questions.append(f"data.encoder is {encoder}, found beside the checkpoint.")
        guessed.add("data.encoder")
    elif modality == "tabular" and found.columns:
        strings = [name for name, kind in found.columns.items() if kind == "string" and name != label]
        if strings:
            questions.append(
                f"data.encoder is unset, but {strings[0]!r} holds words: the run will ask for the encoder that the model "
                "was trained with."
            )
        else:
            questions.append("without data.encoder the model reads the columns in the order of the file.")
    if output is not None and output not in OUTPUTS:
        raise PlanError(f"Expected an output, found {output!r}{nearest(output, OUTPUTS)}")
    plan = Plan(
        name=(model.parent.name if model.stem in ("model", "checkpoint") else model.stem) or "audit",
        model=ModelPlan(
            path=model,
            factory=factory,
            modality=modality,
            output=output or "logits",
            classes=list(names) if names and not seen.classes else (list(classes) if classes else None),
        ),
        data=DataPlan(
            test=data,
            train=train,
            label=label if found.columns else None,
            text=found.text if modality == "text" else None,
            protected=list(protected if protected is not None else found.protected),
            encoder=encoder if "data.encoder" in guessed else None,
            bounds=(0.0, 1.0) if modality == "image" else None,
        ),
    )
    if modality == "image":
        questions.append("model.mean and model.std are unset: set them if the network wants normalised pixels.")
    return Proposal(plan, tuple(questions), frozenset(guessed))


def _is_whole(model: Path, kind: Format, trust_pickle: bool) -> bool:
    """Whether the file holds a network and not its weights alone; a pickle that is not trusted is refused here."""
    from audit.loading import Format

    if kind not in (Format.TORCH, Format.PICKLE):
        return False
    from torch import nn

    from audit.loading.pickles import read

    return isinstance(read(model, trust_pickle), nn.Module)


def _class_names(
    of_model: Sequence[str], declared: Sequence[str] | None, found: Any, label: str | None
) -> tuple[str, ...]:
    if declared:
        return tuple(declared)
    if of_model:
        return tuple(of_model)
    return tuple(str(name) for name in found.classes) if label == found.label else ()


def _factory_beside(model: Path) -> str | None:
    """`module:function` of a builder in a Python file beside the checkpoint; the file is parsed, not run."""
    for path in sorted(model.parent.glob("*.py"), key=lambda p: (p.stem != "model", p.name)):
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError):
            continue
        functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        for name in BUILDERS:
            if name in functions:
                return f"{path.stem}:{name}"
    return None


def _train_beside(data: Path, splits: Sequence[str]) -> Path | None:
    if "train" in splits:
        return data
    if "test" in data.stem:
        beside = data.with_name(data.name.replace("test", "train"))
        if beside.exists():
            return beside
    return None
