"""One row an attack: the function, the norms it knows, and its usual arguments in tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import attacks

BUDGETS = {"linf": 0.2, "l2": 0.6, "l1": 1.5, "l0": 4.0}


@dataclass(frozen=True)
class Case:
    attack: Callable[..., Any]
    options: dict[str, Any] = field(default_factory=dict)
    norms: tuple[str, ...] = tuple(BUDGETS)
    #: whether it asks for gradients
    gradients: bool = True


ATTACKS = {
    "fgsm": Case(attacks.fgsm),
    "pgd": Case(attacks.pgd, {"steps": 8}),
    "apgd": Case(attacks.apgd, {"steps": 8, "restarts": 2}),
    "fmn": Case(attacks.fmn, {"steps": 10, "restarts": 2}),
    "deepfool": Case(attacks.deepfool, {"steps": 5, "restarts": 2}, ("linf", "l2", "l1")),
    "carlini_wagner": Case(attacks.carlini_wagner, {"steps": 25}, ("l2",)),
    "square": Case(attacks.square, {"steps": 60}, gradients=False),
    "hop_skip_jump": Case(attacks.hop_skip_jump, {"steps": 2}, ("l2", "linf"), gradients=False),
    "boundary": Case(attacks.boundary, {"steps": 40}, ("l2",), gradients=False),
}
EVERY = [(name, norm) for name, case in ATTACKS.items() for norm in BUDGETS if norm in case.norms]
UNKNOWN = [(name, norm) for name, case in ATTACKS.items() for norm in BUDGETS if norm not in case.norms]
