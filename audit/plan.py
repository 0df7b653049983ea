"""The plan: what to audit and how, as YAML with a schema."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from audit.check import Effort
from audit.errors import PlanError, nearest


class Strict(BaseModel):
    """A part of a document; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelPlan(Strict):
    """The checkpoint and how to read it."""

    path: Path = Field(description="The checkpoint: a file, or a transformers folder; relative to the plan.")
    factory: str | None = Field(
        None, description="For a bare state_dict: package.module:name of a function that builds the network."
    )
    task: Literal["classification"] = Field("classification", description="What the model is for.")
    modality: Literal["tabular", "image", "text"] | None = Field(
        None, description="What one input is; found from checkpoint and data where left out."
    )
    classes: list[str] | None = Field(None, description="Class names, in the order of the model's outputs.")
    output: Literal["logits", "probabilities", "log_probabilities"] = Field(
        "logits", description="What the model returns; checked against its first outputs."
    )
    mean: list[float] | None = Field(
        None, description="Subtracted from each channel before the network, in input units; normalisation of images."
    )
    std: list[float] | None = Field(None, description="Divided by after the mean, in input units.")
    precision: Literal["float32", "bfloat16", "float16"] = Field(
        "float32", description="Precision of the forward pass; lower ones use autocast."
    )


class DataPlan(Strict):
    """The data and how to read them."""

    test: Path = Field(description="Held-out data: parquet, CSV, JSON lines, npz, an image folder or a saved data set.")
    train: Path | None = Field(
        None, description="The data the model was trained on; enables gap, leakage and SHAP rows."
    )
    label: str | None = Field(None, description="Name of the label column.")
    text: str | None = Field(None, description="Name of the text column of a text model.")
    protected: list[str] = Field([], description="Protected attributes: columns whose groups are compared.")
    immutable: list[str] = Field([], description="Columns that an attack or a counterfactual may not change.")
    constraints: list[str] = Field(
        [],
        description="What must hold between numeric columns of a table, in their own units, such as "
        "'education-num + 6 <= age'; an attack keeps to it.",
    )
    favourable: str | None = Field(None, description="The class that is good for a person; orients selection rates.")
    encoder: Path | None = Field(None, description="For tables: JSON file that says how each column was encoded.")
    bounds: tuple[float, float] | None = Field(None, description="Smallest and largest value of an input.")
    smallest_group: int = Field(
        0,
        ge=0,
        description="Rows below which no table may tell how many a group or an intersection has, against finding people "
        "again; such groups are joined. 0: all may.",
    )
    masks: str | None = Field(
        None,
        description="For pictures in an npz archive: the array that marks what the answer is about, (n, height, width).",
    )


class HardenPlan(Strict):
    """How `audit harden` trains; see `attacks.harden`."""

    recipe: Literal["pgd", "trades", "fast"] = Field(
        "trades", description="pgd and trades are thorough, fast takes a fifth of their time."
    )
    norm: Literal["linf", "l2", "l1", "l0"] = Field("linf", description="Norm of the budget to withstand.")
    eps: float | None = Field(
        None, gt=0, description="The budget: in input units for images, in standard deviations for tables."
    )
    epochs: int = Field(20, ge=1, description="Passes over the training data.")
    batch_size: int = Field(128, ge=1, description="Rows in one step of the optimiser.")
    steps: int | None = Field(None, ge=1, description="Gradients of the inner attack; left out: the recipe's own.")
    beta: float = Field(6.0, ge=0, description="trades: weight of constancy against accuracy.")
    learning_rate: float | None = Field(None, gt=0, description="Highest learning rate of AdamW; left out: 0.005.")
    averaging: float = Field(0.0, ge=0, lt=1, description="Decay of an average of the weights, such as 0.999; 0: none.")
    awp: float = Field(0.0, ge=0, lt=1, description="Adversarial weight perturbation, such as 0.005; 0: none.")
    patience: int | None = Field(None, ge=1, description="Epochs without a better one after which training stops.")
    only: list[str] = Field(
        ["robustness", "fairness", "fit", "cost"], description="Checks or sections measured before and after."
    )


class MitigatePlan(Strict):
    """What `audit mitigate` tries, and by which rule it chooses."""

    attribute: str | None = Field(
        None,
        description="Protected attribute whose groups are aimed at, or several crossed: 'sex x race'; left out: the "
        "first declared.",
    )
    definition: Literal["demographic_parity", "equal_opportunity", "equalised_odds"] = Field(
        "demographic_parity",
        description="Whose difference is to fall: favourable answers, those among people who deserve one, or both kinds "
        "of error.",
    )
    methods: list[str] = Field([], description="Methods to try; empty: all that fit.")
    choose: str = Field(
        "pareto",
        description="pareto: the most accurate method on the Pareto front whose difference is within the margin, else the "
        "one with the smallest; difference: the smallest difference; or the name of a method.",
    )
    margin: float = Field(0.02, ge=0, lt=1, description="Difference that is no fault.")
    strength: float = Field(1.0, gt=0, le=1, description="How far to go; 1 is all the way.")
    held: float = Field(
        0.3,
        gt=0,
        lt=0.9,
        description="Share of the training rows kept back: half to set thresholds, half to choose on.",
    )
    epochs: int = Field(10, ge=1, description="Passes over the training data, for methods that train the network.")
    batch_size: int = Field(256, ge=1, description="Rows in one step of the optimiser.")
    learning_rate: float = Field(1e-3, gt=0, description="Highest learning rate.")
    scratch: bool = Field(False, description="Whether methods that train the network forget its weights first.")
    norm: Literal["linf", "l2", "l1", "l0"] = Field("linf", description="Norm of the attack that compares robustness.")
    eps: float | None = Field(
        None,
        gt=0,
        description="Its budget: input units for images, standard deviations for tables; left out: 0.01 and 0.1.",
    )
    only: list[str] = Field(
        ["fairness", "fit", "robustness"], description="Checks or sections measured before and after."
    )


class Plan(Strict):
    """An audit plan."""

    name: str = Field(
        min_length=1,
        max_length=100,
        pattern=r"^[^/\\\x00-\x1f\x7f.][^/\\\x00-\x1f\x7f]*$",
        description="A short name; the run's folder and the report's title. No slashes, no dot in front.",
    )
    model: ModelPlan
    data: DataPlan
    checks: dict[str, dict[str, Any]] = Field({}, description="Parameters of single checks, by the check's id.")
    only: list[str] = Field([], description="Ids of the checks to run, or their sections; empty: all.")
    effort: Effort = Field(Effort.STANDARD, description="How much work: quick, standard or exhaustive.")
    seed: int = Field(0, ge=0, description="Seed of every random draw.")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1, mps ...")
    policy: str = Field("default", description="Name of a shipped policy, or a YAML file relative to the plan.")
    harden: HardenPlan = Field(HardenPlan(), description="How `audit harden` trains.")
    mitigate: MitigatePlan = Field(MitigatePlan(), description="What `audit mitigate` tries, and how it chooses.")


def read_plan(path: Path) -> Plan:
    """Read a plan; its relative paths become relative to the working directory.

    Raises:
        PlanError: the file is missing, no YAML, or does not fit the schema; the message names the key.
    """
    return located(validate(Plan, read_yaml(path, "plan"), str(path)), path.parent)


def located(plan: Plan, folder: Path) -> Plan:
    """The plan with its relative paths taken from `folder`."""
    data = plan.data
    policy = folder / plan.policy
    return plan.model_copy(
        update={
            "model": plan.model.model_copy(update={"path": folder / plan.model.path}),
            "data": data.model_copy(
                update={
                    key: None if value is None else folder / value
                    for key, value in (("test", data.test), ("train", data.train), ("encoder", data.encoder))
                }
            ),
            "policy": str(policy) if plan.policy.endswith((".yaml", ".yml")) else plan.policy,
        }
    )


def read_yaml(path: Path, what: str) -> Any:
    """Read YAML without tags (a tag could build any object).

    Args:
        path: the file.
        what: "plan" or "policy", for the message.

    Raises:
        PlanError: the file is missing or no plain YAML.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else str(error)
        raise PlanError(
            f"Expected a {what} at {path}, found {reason}; try `audit init MODEL DATA` for a plan."
        ) from None
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f" in line {where.line + 1}" if where else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise PlanError(
            f"Expected plain YAML without tags in {path}, found {problem}{line}; try correcting that line."
        ) from None


Document = TypeVar("Document", bound=BaseModel)


def validate(model: type[Document], document: Any, where: str) -> Document:
    """Fit a parsed document to its schema.

    Args:
        model: the schema.
        document: what YAML or JSON gave.
        where: the file's name, for the message.

    Raises:
        PlanError: it does not fit; the message names the first key that does not, and the nearest valid one.
    """
    if not isinstance(document, dict):
        raise PlanError(f"Expected keys and values in {where}, found {type(document).__name__}; see `audit schema`.")
    try:
        return model.model_validate(document)
    except ValidationError as error:
        # an unknown key often makes a known one missing too: the unknown one is the cause
        problems = sorted(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
        first = problems[0]
        at = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            known = _keys(model, first["loc"][:-1])
            raise PlanError(
                f"Expected a known key in {where}, found {at!r}{nearest(str(first['loc'][-1]), known)}"
            ) from None
        found = "nothing" if first["type"] == "missing" else repr(first["input"])
        wanted = first["msg"][0].lower() + first["msg"][1:]
        raise PlanError(
            f"Expected {at or 'a document'} in {where} to fit ({wanted}), found {found}; see `audit schema`."
        ) from None


def _keys(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Valid keys at a location of a document."""
    current: Any = model
    for part in location:
        if isinstance(part, int):
            continue
        annotation = current.model_fields[part].annotation
        arguments = getattr(annotation, "__args__", (annotation,))
        current = next(a for a in arguments if isinstance(a, type) and issubclass(a, BaseModel))
    return list(current.model_fields)
