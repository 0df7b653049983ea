"""The methods of explanation that checks may ask for. Torch-free, so that listing and explaining checks stays cheap."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from audit.subject import Capability, Modality, Subject


class Family(StrEnum):
    """Which file runs a method: `_games`, `_gradients` or `_attention`."""

    GAME = "game"
    GRADIENT = "gradient"
    ATTENTION = "attention"


@dataclass(frozen=True)
class Method:
    """A method of explanation.

    Attributes:
        title: its name in the report.
        family: which file runs it.
        signed: whether values below 0 speak against the class; otherwise they are magnitudes.
        modalities: kinds of input it is meant for.
        needs: what the subject must allow.
    """

    title: str
    family: Family
    signed: bool = True
    modalities: frozenset[Modality] = frozenset(Modality)
    needs: frozenset[Capability] = frozenset()


GRADIENT = frozenset({Capability.INPUT_GRADIENT})
HOOKS = GRADIENT | {Capability.HOOKS}
ATTENTION = frozenset({Capability.ATTENTION})
TEXT = frozenset({Modality.TEXT})

METHODS: dict[str, Method] = {
    "kernel_shap": Method("SHAP", Family.GAME),
    "lime": Method("LIME", Family.GAME),
    "integrated_gradients": Method("integrated gradients", Family.GRADIENT, needs=GRADIENT),
    "saliency": Method("saliency", Family.GRADIENT, signed=False, needs=GRADIENT),
    "attention_rollout": Method("attention rollout", Family.ATTENTION, signed=False, modalities=TEXT, needs=ATTENTION),
    # the ranking that knows nothing
    "random": Method("random", Family.GAME),
}


def method(name: str) -> Method:
    """The method of this name.

    Raises:
        ValueError: there is none.
    """
    if name not in METHODS:
        raise ValueError(f"method: Expected one of {', '.join(METHODS)}, found {name!r}.")
    return METHODS[name]


def applicable(name: str, subject: Subject) -> bool:
    """Whether the subject allows the method.

    Raises:
        ValueError: there is no such method.
    """
    found = method(name)
    needs = found.needs
    if found.family is Family.GRADIENT and subject.modality is Modality.TEXT:
        needs = needs | {Capability.EMBEDDINGS}
    return subject.modality in found.modalities and needs <= subject.capabilities


def methods_of(subject: Subject, methods: Iterable[str]) -> list[str]:
    """Those of the methods that the subject allows."""
    return [name for name in methods if applicable(name, subject)]
