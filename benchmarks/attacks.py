"""Attacks on the Fashion network, ours against foolbox, torchattacks and ART, in one run.

    benchmarks/.venv/bin/python benchmarks/attacks.py --points 500

Every method meets the same points in the same blocks, one block after the other, so that whatever else the machine does
falls on all of them. Time is CPU time of this process. Forwards and backwards are counted by the model itself: examples
that entered it, examples whose gradient came out. A success counts where a fresh forward pass confirms it inside ball and
box; the median distance takes the points that the model has right, infinite where a method found nothing.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

sys.path[0] = str(Path(__file__).parent.parent)  # from its own folder this file would hide the package of its name

import attacks
from benchmarks.fashion import hardened, points, standard

BALLS = {"standard": 4 / 255, "hardened": 0.1}
ORDERS = {"linf": float("inf"), "l2": 2, "l1": 1, "l0": 0}
Method = Callable[[nn.Module, Tensor, Tensor], Tensor]


class Counted(nn.Module):
    """Counts what passes through, in both directions."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.forwards, self.backwards = inner, 0, 0

    def forward(self, x: Tensor) -> Tensor:
        self.forwards += len(x)
        scores = self.inner(x)
        if scores.requires_grad:
            scores.register_hook(self._count)
        return scores

    def _count(self, gradient: Tensor) -> None:
        self.backwards += len(gradient)


@dataclass
class Tally:
    """What a method did, block by block."""

    seconds: list[float] = field(default_factory=list)
    forwards: int = 0
    backwards: int = 0
    stands: list[Tensor] = field(default_factory=list)
    distances: list[Tensor] = field(default_factory=list)


def measure(
    methods: dict[str, Method], model: nn.Module, x: Tensor, y: Tensor, norm: str, block: int
) -> dict[str, Tally]:
    """Run each method on each block in turn; `distances` are infinite where nothing was found."""
    tallies = {name: Tally() for name in methods}
    for rows in torch.arange(len(x)).split(block):
        for name, method in methods.items():
            tally, counted = tallies[name], Counted(model).eval()
            start = time.process_time()
            found = method(counted, x[rows], y[rows]).detach()
            tally.seconds.append(time.process_time() - start)
            tally.forwards += counted.forwards
            tally.backwards += counted.backwards
            tally.distances.append(distance(model, x[rows], y[rows], found, norm))
    return tallies


def distance(model: nn.Module, x: Tensor, y: Tensor, found: Tensor, norm: str) -> Tensor:
    """Size of each verified success, 0 where the model is wrong already, inf where there is none."""
    with torch.no_grad():
        wrong, broken = model(x).argmax(1) != y, model(found).argmax(1) != y
    size = torch.linalg.vector_norm((found.double() - x.double()).flatten(1), ORDERS[norm], dim=1)
    in_box = ((found >= 0) & (found <= 1)).flatten(1).all(1)
    return torch.where(wrong, 0.0, torch.where(broken & in_box, size, torch.inf))


def fixed(model_name: str, model: nn.Module, x: Tensor, y: Tensor, block: int) -> None:
    """Robust accuracy at one budget: linf."""
    eps = BALLS[model_name]
    threat = attacks.Threat("linf", eps)
    methods = {
        "assay quick": ours(threat, "quick"),
        "assay standard": ours(threat, "standard"),
        **peers_fixed(eps),
    }
    tallies = measure(methods, model, x, y, "linf", block)
    # peers compare in float32: what is outside by rounding only counts as inside
    stands = {name: torch.cat(t.distances) > eps * (1 + 1e-5) for name, t in tallies.items()}
    reference = "AutoAttack (torchattacks, 100 steps)"
    broken = ~stands[reference]
    print(f"\n{model_name} network, linf {eps:.4f}, {len(x)} points, blocks of {block}")
    print(f"{'':38}{'robust':>8}{'CPU s':>9}{'time':>8}{'forwards':>11}{'backwards':>11}{'also broken':>13}")
    for name, tally in tallies.items():
        ratio = statistics.median(
            theirs / mine for mine, theirs in zip(tallies["assay standard"].seconds, tally.seconds, strict=True)
        )
        share = float((~stands[name])[broken].double().mean())
        print(
            f"{name:38}{float(stands[name].double().mean()):8.1%}{sum(tally.seconds):9.1f}{ratio:7.2f}x"
            f"{tally.forwards / len(x):11.0f}{tally.backwards / len(x):11.0f}{share:13.1%}",
            flush=True,
        )
    print("time: against assay standard, median over blocks; passes are per point;")
    print("also broken: share of the points AutoAttack breaks.")


def ours(threat: attacks.Threat, effort: str) -> Method:
    return lambda model, x, y: attacks.evaluate(model, x, y, threat, effort=effort).adversarial


def peers_fixed(eps: float) -> dict[str, Method]:
    import foolbox
    import torchattacks

    def autoattack(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        """The paper's numbers: 100 steps (the port ships 10), 5000 queries."""
        usual = {"norm": "Linf", "eps": eps, "seed": 0, "n_restarts": 1}
        parts = [
            torchattacks.APGD(model, steps=100, loss="ce", **usual),
            torchattacks.APGDT(model, steps=100, n_classes=10, **usual),
            torchattacks.FAB(model, steps=100, multi_targeted=True, n_classes=10, **usual),
            torchattacks.Square(model, n_queries=5000, **usual),
        ]
        return one_after_the_other(parts, model, x, y)

    def foolbox_pgd(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
        return foolbox.attacks.LinfPGD(steps=40)(wrapped, x, y, epsilons=eps)[1]

    def art_pgd(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        from art.attacks.evasion import ProjectedGradientDescent

        attack = ProjectedGradientDescent(art_classifier(model), eps=eps, eps_step=eps / 16, max_iter=40, verbose=False)
        return torch.from_numpy(attack.generate(x.numpy(), y.numpy()))

    return {
        "AutoAttack (torchattacks, 100 steps)": autoattack,
        "foolbox PGD, 40 steps": foolbox_pgd,
        "ART PGD, 40 steps": art_pgd,
        "torchattacks PGD, 40 steps": lambda model, x, y: torchattacks.PGD(model, eps=eps, alpha=eps / 16, steps=40)(
            x, y
        ),
    }


def one_after_the_other(
    parts: list[Callable[[Tensor, Tensor], Tensor]], model: nn.Module, x: Tensor, y: Tensor
) -> Tensor:
    """AutoAttack's own order: each part meets what the parts before left standing."""
    found = x.clone()
    with torch.no_grad():
        standing = (model(x).argmax(1) == y).nonzero()[:, 0]
    for part in parts:
        if not len(standing):
            break
        tried = part(x[standing], y[standing]).detach()
        with torch.no_grad():
            fooled = model(tried).argmax(1) != y[standing]
        found[standing[fooled]] = tried[fooled]
        standing = standing[~fooled]
    return found


def art_classifier(model: nn.Module) -> object:
    from art.estimators.classification import PyTorchClassifier

    return PyTorchClassifier(
        model, nn.CrossEntropyLoss(), input_shape=(1, 28, 28), nb_classes=10, clip_values=(0, 1), device_type="cpu"
    )


def smallest(model: nn.Module, x: Tensor, y: Tensor, block: int) -> None:
    """The smallest perturbation, norm by norm."""
    for norm in ORDERS:
        methods = {"assay minimal, 40 steps": minimal(norm, 40), **peers_minimal(norm)}
        tallies = measure(methods, model, x, y, norm, block)
        print(f"\nsmallest perturbation, {norm}, {len(x)} points, blocks of {block}")
        print(f"{'':38}{'median':>9}{'found':>8}{'CPU s':>9}{'time':>8}{'forwards':>11}{'backwards':>11}")
        first = next(iter(tallies.values()))
        for name, tally in tallies.items():
            distances = torch.cat(tally.distances)
            distances = distances[distances > 0]
            ratio = statistics.median(t / m for m, t in zip(first.seconds, tally.seconds, strict=True))
            print(
                f"{name:38}{float(distances.median()):9.4f}{float(distances.isfinite().double().mean()):8.1%}"
                f"{sum(tally.seconds):9.1f}{ratio:7.2f}x{tally.forwards / len(x):11.0f}{tally.backwards / len(x):11.0f}",
                flush=True,
            )


def minimal(norm: str, steps: int) -> Method:
    return lambda model, x, y: attacks.minimal(model, x, y, norm=norm, steps=steps).adversarial


def peers_minimal(norm: str) -> dict[str, Method]:
    import foolbox
    import torchattacks

    def of_foolbox(attack: object) -> Method:
        def run(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
            wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
            return attack(wrapped, x, y, epsilons=None)[1]

        return run

    def art_deepfool(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        from art.attacks.evasion import DeepFool

        attack = DeepFool(art_classifier(model), max_iter=50, batch_size=100, verbose=False)
        return torch.from_numpy(attack.generate(x.numpy()))

    known = foolbox.attacks
    return {
        "linf": {
            "foolbox FMN, 100 steps": of_foolbox(known.LInfFMNAttack(steps=100)),
            "foolbox DeepFool": of_foolbox(known.LinfDeepFoolAttack()),
        },
        "l2": {
            "foolbox DDN, 100 steps": of_foolbox(known.DDNAttack(steps=100)),
            "foolbox FMN, 100 steps": of_foolbox(known.L2FMNAttack(steps=100)),
            "foolbox DeepFool": of_foolbox(known.L2DeepFoolAttack()),
            "torchattacks CW, 200 steps": lambda m, x, y: torchattacks.CW(m, c=1, steps=200)(x, y),
            "torchattacks DeepFool": lambda m, x, y: torchattacks.DeepFool(m)(x, y),
            "ART DeepFool": art_deepfool,
        },
        "l1": {
            "foolbox FMN, 100 steps": of_foolbox(known.L1FMNAttack(steps=100)),
            "foolbox EAD, 3 x 200 steps": of_foolbox(known.EADAttack(binary_search_steps=3, steps=200)),
        },
        "l0": {"foolbox FMN, 100 steps": of_foolbox(known.L0FMNAttack(steps=100))},
    }[norm]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=500, help="test images for robust accuracy")
    parser.add_argument("--distances", type=int, default=200, help="test images for smallest perturbations")
    parser.add_argument("--block", type=int, default=100, help="images a method sees at a time")
    parser.add_argument("--only", choices=["standard", "hardened", "minimal"], help="one table of the three")
    options = parser.parse_args()
    torch.set_num_threads(1)
    networks = {"standard": standard, "hardened": hardened}
    x, y = points(max(options.points, options.distances))
    for name, network in networks.items():
        if options.only in (None, name):
            fixed(name, network(), x[: options.points], y[: options.points], options.block)
    if options.only in (None, "minimal"):
        smallest(standard(), x[: options.distances], y[: options.distances], options.block)


if __name__ == "__main__":
    main()
