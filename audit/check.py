"""What a check is, and how checks are found.

Check modules import torch, attacks and explainers inside `run` only, so that listing and explaining them stays cheap
(a test holds them to it).
"""

from __future__ import annotations

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from functools import cache
from importlib.metadata import entry_points
from inspect import getdoc, isabstract
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

from audit.errors import PlanError, nearest
from audit.subject import Capability, Modality
from reports.record import Card, Measured

if TYPE_CHECKING:
    import numpy as np

    from audit.datasets import Dataset
    from audit.subject import Subject

SECTIONS = ("explain", "robustness", "fairness", "data", "cost", "fit")
GROUP = "assay.checks"


class Effort(StrEnum):
    """How much work an audit may do."""

    QUICK = "quick"
    STANDARD = "standard"
    EXHAUSTIVE = "exhaustive"


@dataclass(frozen=True)
class Check(ABC):
    """One measurement. Subclasses are frozen dataclasses: their fields are the parameters, the defaults are `standard`.

    The docstring is the report's text. Its first line is the title; below it stand the headings `What it measures`,
    `Why it matters`, `How to read it` and optionally `References`, each on a line of its own ending in a colon, with
    the text indented below. A check measures; it holds no threshold.
    """

    #: what the subject must allow
    needs: ClassVar[frozenset[Capability]] = frozenset()
    #: modalities it is meant for
    modalities: ClassVar[frozenset[Modality]] = frozenset(Modality)
    #: raised whenever equal parameters could give other numbers; old evidence is then measured anew
    version: ClassVar[int] = 1
    #: parameters that differ from the defaults at other efforts
    efforts: ClassVar[Mapping[Effort, Mapping[str, Any]]] = {}

    @abstractmethod
    def run(self, subject: Subject, data: Dataset, rng: np.random.Generator) -> Measured:
        """Measure `subject` on `data` (the test split; `data.train` may hold the training split).

        Args:
            subject: the model; left as it was found.
            data: the test split.
            rng: the only source of randomness.
        """

    def unfit(self, subject: Subject, data: Dataset) -> str | None:
        """Why this check does not apply to what `needs` and `modalities` let through; None where it does."""
        return None

    def skip_reason(self, subject: Subject, data: Dataset) -> str | None:
        """Why this check does not apply here; None where it does."""
        if subject.modality not in self.modalities:
            meant = ", ".join(sorted(self.modalities))
            return f"meant for {meant} models; this one is {subject.modality}"
        lacking = self.needs - subject.capabilities
        if lacking:
            return f"a {subject.format} checkpoint does not allow: {', '.join(sorted(lacking))}"
        return self.unfit(subject, data)


@cache
def registry() -> dict[str, type[Check]]:
    """All checks by id, in the order of the report's sections, from every package under `assay.checks`."""
    found: dict[str, type[Check]] = {}
    for point in sorted(entry_points(group=GROUP), key=lambda p: p.name):
        for name, check in _scan(point.load()):
            if name in found:
                raise PlanError(f"Expected one check named {name!r}, found a second in plug-in {point.name!r}.")
            found[name] = check
    order = {section: i for i, section in enumerate(SECTIONS)}
    return dict(sorted(found.items(), key=lambda item: (order.get(item[0].split(".")[0], len(order)), item[0])))


def _scan(package: ModuleType) -> Iterator[tuple[str, type[Check]]]:
    prefix = package.__name__ + "."
    for info in pkgutil.walk_packages(package.__path__, prefix):
        if info.ispkg or info.name.rsplit(".", 1)[-1].startswith("_"):
            continue
        module = importlib.import_module(info.name)
        for value in vars(module).values():
            if (
                isinstance(value, type)
                and issubclass(value, Check)
                and value.__module__ == info.name
                and not isabstract(value)
            ):
                yield info.name.removeprefix(prefix), value


def find(name: str) -> type[Check]:
    """Return the check with this id.

    Raises:
        PlanError: there is none; the message names the nearest.
    """
    known = registry()
    if name not in known:
        raise PlanError(f"Expected the id of a check, found {name!r}{nearest(name, known)}")
    return known[name]


def build(name: str, effort: Effort, overrides: Mapping[str, Any]) -> Check:
    """Return the check with its parameters for this effort, changed by the plan's overrides.

    Raises:
        PlanError: an override names no parameter.
    """
    check = find(name)
    known = [f.name for f in fields(check)]
    for key in overrides:
        if key not in known:
            raise PlanError(f"Expected a parameter of {name}, found {key!r}{nearest(key, known)}")
    usual = {f.name: f.default for f in fields(check)}
    values = {key: _fitting(name, key, value, usual[key]) for key, value in overrides.items()}
    return check(**{**check.efforts.get(effort, {}), **values})


def _fitting(check: str, key: str, value: Any, usual: Any) -> Any:
    """The value as a parameter: of the kind the default has, positive where a count is meant.

    Raises:
        PlanError: it is of another kind.
    """
    if isinstance(usual, tuple):
        if not isinstance(value, list | tuple):
            raise PlanError(f"Expected a list for {key} of {check}, such as {list(usual)}, found {value!r}.")
        # YAML has lists only; parameters are tuples so that a check stays hashable
        return tuple(_fitting(check, key, part, usual[0]) if usual else part for part in value)
    if isinstance(usual, float) and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not type(usual):
        raise PlanError(f"Expected {type(usual).__name__} for {key} of {check}, such as {usual!r}, found {value!r}.")
    if isinstance(value, int) and not isinstance(value, bool) and value < 1:
        raise PlanError(f"Expected at least 1 for {key} of {check}, found {value}.")
    return value


HEADINGS = ("What it measures", "Why it matters", "How to read it", "References")


def card(name: str) -> Card:
    """Return what the check's docstring says, cut at its headings."""
    check = find(name)
    lines = (getdoc(check) or "").splitlines()
    parts: dict[str, list[str]] = {heading: [] for heading in HEADINGS}
    current: list[str] | None = None
    for line in lines[1:]:
        heading = line.strip().removesuffix(":")
        if heading in parts and line.strip().endswith(":"):
            current = parts[heading]
        elif current is not None:
            current.append(line.strip())
    text = {heading: " ".join(part).strip() for heading, part in parts.items()}
    return Card(
        id=name,
        section=name.split(".")[0],
        version=check.version,
        title=lines[0].rstrip(".") if lines else name,
        what=text["What it measures"],
        why=text["Why it matters"],
        how=text["How to read it"],
        references=text["References"],
    )
