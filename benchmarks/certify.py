"""Certificates in numbers: `python benchmarks/certify.py` prints three tables.

1. Draws that a decision "is the radius at least r?" costs against all draws of Cohen, Rosenfeld and Kolter's CERTIFY at
   the same alpha, how often both decide alike, and how often the early one is wrong where p lies just at the threshold.
   Streams of answers are simulated with known p: those of the clothes classifier under noise, and Beta(2, 0.2).
2. The same decision on the clothes classifier itself, draws counted by the model.
3. What bounds certify and attacks break, and what remains undecided.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from scipy import special, stats
from torch import Tensor, nn

HERE = Path(__file__).resolve().parent
sys.path[0] = str(HERE.parent)  # from its own folder a file here would hide the package of its name

import attacks
from attacks.certify import sequential, smoothing

CLOTHES = HERE.parent / "examples" / "fashion"
MEAN, STD = 0.287, 0.353
RADII = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0)  # in sigma


class Pixels(nn.Module):
    """Pixels in, scores out."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> Tensor:
        return self.network((pixels - MEAN) / STD)


def clothes(count: int) -> tuple[nn.Module, Tensor, Tensor]:
    sys.path.insert(0, str(CLOTHES))
    from model import build

    network = build()
    network.load_state_dict(load_file(CLOTHES / "model.safetensors"))
    with np.load(CLOTHES / "data.npz") as arrays:
        images = torch.from_numpy(arrays["test_images"][:count]).float().div(255)[:, None]
        labels = torch.from_numpy(arrays["test_labels"][:count]).long()
    return Pixels(network).eval(), images, labels


def chances(model: nn.Module, images: Tensor, sigma: float, draws: int) -> np.ndarray:
    """Share of the commonest answer under noise, one a picture: what p looks like in practice."""
    generator = torch.Generator().manual_seed(0)
    found = []
    with torch.no_grad():
        for image in images:
            noise = sigma * torch.randn(draws, *image.shape, generator=generator)
            found.append(int(model(image + noise).argmax(1).bincount().max()) / draws)
    # a share of 1 among few draws does not mean p = 1: drawn from what such a share leaves open
    hits = np.array(found) * draws
    return np.random.default_rng(0).beta(hits + 0.5, draws - hits + 0.5)


def decide(p: np.ndarray, wanted: float, n: int, alpha: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Decided for, and after how many draws, by the rule; and what all n draws of the same stream decide."""
    rng = np.random.default_rng(seed)
    rule, stops = smoothing._rule(1.0, n, alpha, float(special.ndtri(wanted)), None)
    k, spent, shown = np.zeros(len(p), np.int64), np.full(len(p), n), np.zeros(len(p), bool)
    going, before = np.ones(len(p), bool), 0
    for stop in stops:
        k += rng.binomial(stop - before, p)
        lower, unsure = rule(k, stop)
        ends = going & ~unsure
        shown[ends], spent[ends] = lower[ends] >= wanted, stop
        going, before = going & unsure, stop
    return shown, spent, sequential.clopper_pearson(k, n, alpha) >= wanted


def simulated(named: dict[str, np.ndarray], n: int, alpha: float, streams: int) -> None:
    print(f"\n1. Draws of a decision, against n = {n:,} at alpha = {alpha:g} ({streams:,} streams a row)")
    print(f"{'p':>14} {'radius':>8} {'p wanted':>9} {'draws':>8} {'ratio':>7} {'alike':>8} {'wrong at p wanted':>18}")
    for name, values in named.items():
        ratios, alike = [], []
        for radius in RADII:
            wanted = float(special.ndtr(radius))
            p = np.random.default_rng(1).choice(values, streams)
            shown, spent, every = decide(p, wanted, n, alpha, 2)
            edge, _, _ = decide(np.full(streams, wanted), wanted, n, alpha, 3)
            high = stats.binomtest(int(edge.sum()), streams).proportion_ci(0.95, method="exact").high
            ratios.append(spent.mean() / n)
            alike.append((shown == every).mean())
            print(
                f"{name:>14} {radius:>6} s {wanted:>9.5f} {spent.mean():>8,.0f} {ratios[-1]:>7.3f} {alike[-1]:>8.2%} "
                f"{edge.mean():>8.3%} (< {high:.3%})"
            )
        print(
            f"{name:>14} {'mean':>8} {'':>9} {np.mean(ratios) * n:>8,.0f} {np.mean(ratios):>7.3f} {np.mean(alike):>8.2%}"
        )


def measured(model: nn.Module, images: Tensor, n: int, sigma: float) -> None:
    print(f"\n2. The same on {len(images)} pictures, sigma {sigma}, n = {n:,}, by the model's own count")
    every = attacks.certify_smoothing(model, images, sigma, n)
    print(f"all draws: {every.forwards:,} forwards, {int(every.abstained.sum())} abstentions")
    for radius in (0.5, 1.0, 1.5, 2.0):
        few = attacks.certify_smoothing(model, images, sigma, n, radius=radius * sigma)
        alike = (few.label >= 0) == (every.radius >= radius * sigma)
        print(
            f"radius >= {radius} s: {few.forwards / every.forwards:.3f} of the draws, {float(alike.double().mean()):.1%} alike"
        )
    for tolerance in (0.2, 0.1):
        some = attacks.certify_smoothing(model, images, sigma, n, tolerance=tolerance * sigma)
        lost = (every.radius - some.radius).mean() / sigma
        print(
            f"tolerance {tolerance} s: {some.forwards / every.forwards:.3f} of the draws, mean radius {lost:.3f} s smaller"
        )


def sandwich(model: nn.Module, images: Tensor, labels: Tensor) -> None:
    print(f"\n3. Certified and broken (linf) among {len(images)} pictures")
    print(f"{'eps':>10} {'intervals':>10} {'lines':>7} {'standing':>9} {'undecided':>10} {'seconds a picture':>18}")
    budgets = (0.1 / 255, 0.25 / 255, 0.5 / 255, 1 / 255)
    curve = attacks.curve(model, images, labels, "linf", budgets, effort="quick")
    for j, eps in enumerate(budgets):
        threat = attacks.Threat("linf", eps)
        wide = attacks.certify_intervals(model, images, labels, threat, lines=0).certified
        start = time.process_time()
        tight = attacks.certify_intervals(model, images, labels, threat, lines=32).certified
        spent = (time.process_time() - start) / len(images)
        standing = curve.robust[:, j] & curve.clean_correct
        assert not bool((tight & ~standing).any()), "certified and broken"
        undecided = float((standing & ~tight).double().mean())
        print(
            f"{eps * 255:>6.2f}/255 {float(wide.double().mean()):>10.1%} {float(tight.double().mean()):>7.1%} "
            f"{float(standing.double().mean()):>9.1%} {undecided:>10.1%} {spent:>18.2f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--pictures", type=int, default=24)
    parser.add_argument("--draws", type=int, default=2000, help="n of the second table")
    parser.add_argument("--streams", type=int, default=10_000, help="streams a row of the first table")
    args = parser.parse_args()

    torch.set_num_threads(1)
    model, images, labels = clothes(max(args.pictures, 150))
    p = {
        "clothes 0.12": chances(model, images[:150], 0.12, 400),
        "clothes 0.25": chances(model, images[:150], 0.25, 400),
        "Beta(2, 0.2)": np.random.default_rng(0).beta(2, 0.2, 20_000),
    }
    simulated(p, 100_000, 0.001, args.streams)
    some = slice(0, args.pictures)
    measured(model, images[some], args.draws, 0.25)
    sandwich(model, images[some], labels[some])


if __name__ == "__main__":
    main()
