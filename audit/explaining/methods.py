"""The methods of explanation that checks may ask for. Torch-free, so that listing and explaining checks stays cheap."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from audit.subject import Capability, Modality, Subject


class Family(StrEnum):
    """Which file runs a method: `games`, `gradients` or `attention`."""

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
        layers: classes of submodules of which the model must have one; none where any model will do.
    """

    title: str
    family: Family
    signed: bool = True
    modalities: frozenset[Modality] = frozenset(Modality)
    needs: frozenset[Capability] = frozenset()
    layers: frozenset[str] = frozenset()


GRADIENT = frozenset({Capability.INPUT_GRADIENT})
HOOKS = GRADIENT | {Capability.HOOKS}
ATTENTION = frozenset({Capability.ATTENTION})
TEXT = frozenset({Modality.TEXT})
PICTURE = frozenset({Modality.IMAGE})
CONVOLUTION = frozenset({"Conv2d"})

METHODS: dict[str, Method] = {
    "kernel_shap": Method("SHAP", Family.GAME),
    "lime": Method("LIME", Family.GAME),
    "occlusion": Method("occlusion", Family.GAME),
    "integrated_gradients": Method("integrated gradients", Family.GRADIENT, needs=GRADIENT),
    "gradient_shap": Method("gradient SHAP", Family.GRADIENT, needs=GRADIENT),
    "deep_lift": Method("DeepLIFT", Family.GRADIENT, needs=GRADIENT),
    "smooth_grad": Method("SmoothGrad", Family.GRADIENT, signed=False, needs=GRADIENT),
    "grad_cam": Method("Grad-CAM", Family.GRADIENT, signed=False, modalities=PICTURE, needs=HOOKS, layers=CONVOLUTION),
    "saliency": Method("saliency", Family.GRADIENT, signed=False, needs=GRADIENT),
    "attention_rollout": Method("attention rollout", Family.ATTENTION, signed=False, modalities=TEXT, needs=ATTENTION),
    "gradient_rollout": Method("gradient rollout", Family.ATTENTION, signed=False, modalities=TEXT, needs=ATTENTION),
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
    if found.layers and found.layers.isdisjoint(type(module).__name__ for module in subject.model.modules()):
        return False
    return subject.modality in found.modalities and needs <= subject.capabilities


def methods_of(subject: Subject, methods: Iterable[str]) -> list[str]:
    """Those of the methods that the subject allows."""
    return [name for name in methods if applicable(name, subject)]
