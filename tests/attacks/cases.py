"""One row an attack: the function, the norms it knows, and its usual arguments in tests."""

from __future__ import annotations

import attacks

ATTACKS = {
    "fgsm": (attacks.fgsm, {}),
    "pgd": (attacks.pgd, {"steps": 8}),
    "apgd": (attacks.apgd, {"steps": 8, "restarts": 2}),
    "square": (attacks.square, {"steps": 60}),
}
BUDGETS = {"linf": 0.2, "l2": 0.6, "l1": 1.5, "l0": 4.0}
EVERY = [(name, norm) for name in ATTACKS for norm in BUDGETS]
