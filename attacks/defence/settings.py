"""How a hardening is run: every choice in one value, refused where it makes no sense."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

Recipe: TypeAlias = Literal["pgd", "trades", "fast"]
Optimiser: TypeAlias = Literal["adamw", "sgd"]
Schedule: TypeAlias = Literal["cycle", "constant"]

_STEPS = {"pgd": 10, "trades": 10, "fast": 1}
_RATES = {"adamw": 5e-3, "sgd": 0.1}
_WARM = 0.3  # share of a cycle in which the learning rate rises


@dataclass(frozen=True)
class Settings:
    """All that `attacks.harden` is told beside the model, the data and the threat; it says what each field means."""

    recipe: Recipe
    epochs: int
    batch_size: int
    steps: int | None
    noise: float
    beta: float
    optimiser: Optimiser
    learning_rate: float | None
    weight_decay: float
    schedule: Schedule
    averaging: float
    awp: float
    patience: int | None
    seed: int

    def __post_init__(self) -> None:
        for name, choices in (("recipe", Recipe), ("optimiser", Optimiser), ("schedule", Schedule)):
            if getattr(self, name) not in get_args(choices):
                raise ValueError(
                    f"Expected {name} to be one of {', '.join(get_args(choices))}, found {getattr(self, name)!r}."
                )
        for name in ("epochs", "batch_size", "steps", "patience"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
                raise ValueError(f"Expected {name} to be an integer of at least 1, found {value!r}.")
        for name, below in (
            ("noise", math.inf), ("beta", math.inf), ("weight_decay", math.inf), ("averaging", 1.0), ("awp", 1.0),
        ):  # fmt: skip
            value = getattr(self, name)
            if not (isinstance(value, int | float) and 0 <= value < below):
                limit = "" if math.isinf(below) else f" and below {below:g}"
                raise ValueError(f"Expected {name} to be a number of at least 0{limit}, found {value!r}.")
        rate = self.learning_rate
        if rate is not None and not (isinstance(rate, int | float) and 0 < rate < math.inf):
            raise ValueError(f"Expected learning_rate to be a number above 0, found {rate!r}.")
        if not isinstance(self.seed, int):
            raise TypeError(f"Expected seed to be an integer, found {type(self.seed).__name__}.")

    @property
    def first_steps(self) -> int:
        """Gradients of the inner attack before any cure."""
        return _STEPS[self.recipe] if self.steps is None else self.steps

    def rate(self, done: float) -> float:
        """Learning rate when a share of the training is done, in [0, 1].

        A cycle rises in a straight line, then falls with a cosine to 0 (Smith and Topin 2018, super-convergence).
        """
        top = _RATES[self.optimiser] if self.learning_rate is None else self.learning_rate
        if self.schedule == "constant":
            return top
        if done < _WARM:
            return top * max(done / _WARM, 0.04)
        return top * (1 + math.cos(math.pi * (done - _WARM) / (1 - _WARM))) / 2
