"""Hardening the Fashion network: one-step training against ten-step training and TRADES, in one run.

    .venv/bin/python benchmarks/harden.py

Every recipe starts from the example's own weights and meets the same 10,000 training images; time is CPU time of this
process, the held-out attacks after each epoch included. Robust accuracy is what `attacks.evaluate` leaves standing of
test images that no training saw; where two models are compared, it is point by point. About eight minutes on one thread,
six with `--only fast`.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

sys.path[0] = str(Path(__file__).parent.parent)  # the packages lie beside this folder, not in it

import attacks
from attacks.defence import Hardened
from benchmarks.fashion import points, standard

THREAT = attacks.Threat("linf", 0.1)
#: the same settings but for the epochs: without its last one, one-step training takes a fifth of the time
RECIPES: dict[str, dict[str, Any]] = {
    "pgd, 10 steps": {"recipe": "pgd", "epochs": 8, "batch_size": 64},
    "fast": {"recipe": "fast", "epochs": 7, "batch_size": 64},
    "trades": {"recipe": "trades", "epochs": 4, "batch_size": 64},
}


@dataclass(frozen=True)
class Line:
    """One recipe: what it cost, and which test points it has right, clean and under attack."""

    name: str
    epochs: int
    seconds: float
    passes: int
    clean: Tensor
    robust: Tensor


def measure(name: str, model: nn.Module, hardened: Hardened | None, seconds: float, count: int, effort: Any) -> Line:
    """Attack test points."""
    found = attacks.evaluate(model, *points(count), THREAT, effort=effort)
    passes = 0 if hardened is None else hardened.forwards + hardened.backwards
    epochs = 0 if hardened is None else hardened.history[-1].epoch
    return Line(name, epochs, seconds, passes, found.clean_correct, found.robust & found.clean_correct)


def show(lines: list[Line]) -> None:
    """One row a recipe; the last columns against ten-step training."""
    base = next(line for line in lines if line.name.startswith("pgd"))
    print(
        f"{'':16}{'epochs':>7}{'CPU s':>8}{'time':>7}{'passes':>11}{'passes':>8}{'clean':>8}{'robust':>8}{'difference':>16}"
    )
    for line in lines:
        gap = 100 * (line.robust.double() - base.robust.double())
        error = 196 * float((gap / 100).std()) / len(gap) ** 0.5
        print(
            f"{line.name:16}{line.epochs:7}{line.seconds:8.1f}{line.seconds / base.seconds:7.2f}{line.passes:11,}"
            f"{line.passes / base.passes:8.2f}{100 * line.clean.double().mean():8.1f}"
            f"{100 * line.robust.double().mean():8.1f}{float(gap.mean()):+9.1f} ± {error:.1f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--points", type=int, default=1000, help="test images attacked")
    parser.add_argument("--rows", type=int, default=10_000, help="training images")
    parser.add_argument("--effort", default="quick", choices=("quick", "standard", "exhaustive"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", action="append", choices=[*RECIPES], help="these recipes only, beside pgd")
    args = parser.parse_args()
    torch.set_num_threads(1)

    inputs, labels = points(args.rows, "train")
    lines = [measure("as it was", standard(), None, 0.0, args.points, args.effort)]
    for name, settings in RECIPES.items():
        if args.only and name not in args.only and not name.startswith("pgd"):
            continue
        began = time.process_time()
        hardened = attacks.harden(standard(), (inputs, labels), THREAT, seed=args.seed, **settings)
        seconds = time.process_time() - began
        lines.append(measure(name, hardened.model, hardened, seconds, args.points, args.effort))
        undone = [line.epoch for line in hardened.history if line.overfitted]
        print(f"{name}: {seconds:.0f} s" + (f", overfitted in epoch {undone}" if undone else ""), file=sys.stderr)
    show(lines)


if __name__ == "__main__":
    main()
