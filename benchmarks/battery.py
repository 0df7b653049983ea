"""Metrics of explanations against Quantus, in one run: CPU time and scores, metric by metric.

    benchmarks/.venv/bin/python benchmarks/battery.py

Both see the same network, pictures, attributions and definition; where a metric draws at random, both get the same
draws. `time` is CPU time of this process on one thread, Quantus' over Assay's, for four methods and eight random orders
together: a battery asks the same of each, and what they share is worth sharing. `gap` is the largest difference of a
score. Where Quantus does something else than its paper, the last column says so; Assay is then asked for what Quantus does
if it can be. `own` is the ratio without the passes through the network, which both need: pixel flipping is little else.
About two minutes.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import quantus
import torch
from torch import Tensor, nn

sys.path[0] = str(Path(__file__).parent.parent)  # the packages lie beside this folder, not in it

from audit.explainers import quality
from audit.explainers.quality.additive import pearson
from audit.explainers.saliency import at_inputs
from benchmarks.fashion import points, standard

COUNT, DRAWS, ORDERS = 16, 10, 8
#: a run that takes longer than this many seconds is not repeated
LONG = 1.0
QUIET = {"disable_warnings": True, "display_progressbar": False}


class Timed(nn.Module):
    """A network that counts the CPU time of its passes."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.spent = 0.0

    def forward(self, x: Tensor) -> Tensor:
        start = time.process_time()
        scores: Tensor = self.model(x)
        self.spent += time.process_time() - start
        return scores


@dataclass(frozen=True)
class Setting:
    """What is explained and by what: `model` gives the score of each class, `maps` are (methods, n, height, width)."""

    model: Timed
    x: Tensor
    y: Tensor
    maps: np.ndarray[Any, np.dtype[np.float64]]
    masks: np.ndarray[Any, np.dtype[np.bool_]]

    def score(self, batch: Tensor, rows: Tensor) -> Tensor:
        """The explained class's score."""
        return self.model(batch)[torch.arange(len(batch)), self.y[rows]]

    def each(self, metric: Any, **more: Any) -> np.ndarray[Any, Any]:
        """Quantus' scores of every method, (methods, ...)."""
        x, y = self.x.numpy(), self.y.numpy()
        found = [
            metric(
                model=self.model, x_batch=x, y_batch=y, a_batch=a[:, None].copy(), softmax=False, device="cpu", **more
            )
            for a in self.maps
        ]
        return np.array([list(f.values()) if isinstance(f, dict) else f for f in found], dtype=float)


def setting() -> Setting:
    """The example's network on its test pictures, explained by gradients, their product with the input, noise and edges."""
    model = Timed(standard()).eval()
    x, y = points(COUNT)
    maps = at_inputs(lambda b, rows: model(b)[torch.arange(len(b)), y[rows]], x)[:, 0].numpy()
    noise = np.random.default_rng(0).normal(size=maps.shape)
    pictures = x[:, 0].double().numpy()
    masks = pictures > 0.3  # the garment itself
    four = np.stack([maps * (pictures + 1e-3), np.abs(maps), noise, pictures + 1e-3 * noise])
    orders = quality.shuffled(four[0].reshape(COUNT, -1), ORDERS, np.random.default_rng(1))
    return Setting(model, x, y, np.concatenate([four, orders.reshape(ORDERS, *maps.shape)]), masks)


@dataclass(frozen=True)
class Line:
    """One metric."""

    name: str
    ours: Callable[[], Any]
    theirs: Callable[[], Any]
    note: str = ""
    #: whether both were asked for the same definition
    same: bool = True


def timed(run: Callable[[], Any], model: Timed) -> tuple[float, float, np.ndarray[Any, Any]]:
    """CPU seconds, those beside the network's passes, and what came out; the quickest of three short runs."""
    taken: list[tuple[float, float]] = []
    while len(taken) < 3 and not (taken and taken[0][0] > LONG):
        model.spent, start = 0.0, time.process_time()
        found = np.asarray(run(), dtype=float)
        seconds = time.process_time() - start
        taken.append((seconds, seconds - model.spent))
    return *min(taken), found


def measure(line: Line, model: Timed) -> tuple[float, float]:
    """Time both, compare, and print a row; the seconds of Assay and Quantus."""
    ours, own, found = timed(line.ours, model)
    try:
        theirs, their_own, peer = timed(line.theirs, model)
    except Exception as error:  # a peer may fall over; that is a result too
        print(
            f"{line.name:25}{ours:>9.4f}s{'-':>11}{'-':>8}{'-':>8}{'-':>9}  raises {type(error).__name__}: {line.note}"
        )
        return 0.0, 0.0
    gap = f"{np.nanmax(np.abs(found - peer.reshape(found.shape))):.1e}" if line.same else "-"
    ratios = f"{theirs / ours:>7.1f}x{their_own / own:>7.1f}x"
    print(f"{line.name:25}{ours:>9.4f}s{theirs:>10.4f}s{ratios}{gap:>9}  {line.note}", flush=True)
    return ours, theirs


def lines(s: Setting) -> list[Line]:
    """The metrics, both ways."""
    flat, marks = s.maps.reshape(len(s.maps), COUNT, -1), s.masks.reshape(COUNT, -1)
    size = flat.shape[-1]
    value = quality.removal(s.model, s.x, s.y, torch.zeros_like(s.x[:1]))
    step = size // 28
    shares = list(range(10, 100, 10))
    noise = np.random.default_rng(1).uniform(-0.05, 0.05, (DRAWS, *s.x.shape)).astype(np.float32)
    sets = np.stack([np.random.default_rng(i).permutation(size)[: size // 4] for i in range(DRAWS)])
    return [
        Line(
            "pixel flipping",
            lambda: quality.deletion(value, flat, 28)[..., 1:],
            lambda: s.each(quantus.PixelFlipping(features_in_step=step, perturb_baseline=0.0, **QUIET)),
        ),
        Line(
            "faithfulness correlation",
            lambda: _correlation(value, flat, sets),
            lambda: _with_sets(
                sets,
                lambda: s.each(
                    quantus.FaithfulnessCorrelation(
                        nr_runs=DRAWS, subset_size=size // 4, perturb_baseline=0.0, return_aggregate=False, **QUIET
                    )
                ),
            ),
        ),
        Line(
            "infidelity",
            lambda: _infidelity(s, value, flat),
            lambda: s.each(
                quantus.Infidelity(perturb_baseline=0.0, perturb_patch_sizes=[4], n_perturb_samples=10, **QUIET)
            ),
            "patches pile up instead of being drawn (Yeh, eq. 1), ten times the same",
        ),
        Line(
            "sensitivity-n",
            lambda: quality.sensitivity_n(value, flat, [78, 235, 392], 10, np.random.default_rng(0)),
            lambda: s.each(
                quantus.SensitivityN(features_in_step=step, perturb_baseline=0.0, return_aggregate=False, **QUIET)
            ),
            "correlates over examples instead of sets (Ancona, section 4)",
            same=False,
        ),
        Line(
            "ROAD, grey",
            lambda: _road(s, shares),
            lambda: s.each(quantus.ROAD(percentages=shares, noise=0.0, **QUIET)),
        ),
        Line(
            "ROAD, RGB",
            lambda: _road_rgb(s),
            lambda: quantus.ROAD(percentages=[50], noise=0.0, **QUIET)(
                model=_Grey(s.model),
                x_batch=s.x.expand(-1, 3, -1, -1).numpy(),
                y_batch=s.y.numpy(),
                a_batch=s.maps[0][:, None],
                device="cpu",
                channel_first=True,
            ),
            "three channels",
        ),
        Line(
            "max-sensitivity",
            lambda: _sensitivity(s, noise),
            lambda: _with_noise(noise, s),
        ),
        Line("entropy", lambda: quality.entropy(flat), lambda: s.each(quantus.Complexity(**QUIET))),
        Line("Gini sparseness", lambda: quality.gini(flat), lambda: s.each(quantus.Sparseness(**QUIET))),
        Line(
            "pointing game",
            lambda: quality.pointing_game(flat, marks),
            lambda: s.each(quantus.PointingGame(**QUIET), s_batch=s.masks[:, None]),
        ),
        Line(
            "relevance mass",
            lambda: quality.relevance_mass(np.abs(flat), marks),
            lambda: s.each(quantus.RelevanceMassAccuracy(abs=True, **QUIET), s_batch=s.masks[:, None]),
        ),
        Line(
            "relevance rank",
            lambda: quality.relevance_rank(flat, marks),
            lambda: s.each(quantus.RelevanceRankAccuracy(**QUIET), s_batch=s.masks[:, None]),
        ),
        Line(
            "top-k intersection",
            lambda: quality.top_k_intersection(flat, marks, 50),
            lambda: s.each(quantus.TopKIntersection(k=50, **QUIET), s_batch=s.masks[:, None]),
        ),
        Line(
            "AUC",
            lambda: quality.inside_auroc(flat, marks),
            lambda: s.each(quantus.AUC(**QUIET), s_batch=s.masks[:, None]),
        ),
    ]


class _Grey(nn.Module):
    """A network of grey pictures that takes coloured ones."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.model(x.mean(1, keepdim=True))
        return scores


def _correlation(value: quality.Value, flat: Any, sets: Any) -> Any:
    removed = np.zeros((DRAWS, flat.shape[-1]), dtype=bool)
    np.put_along_axis(removed, sets, True, axis=1)
    sums, changes = quality.sums_and_changes(value, flat, removed)
    return pearson(sums, np.broadcast_to(changes, sums.shape))


def _with_sets(sets: Any, run: Callable[[], Any]) -> Any:
    """Quantus draws with `np.random.choice`, a set for each example: here it gets those that Assay got."""
    choice, calls = np.random.choice, iter(range(10**9))
    np.random.choice = lambda *_, **__: sets[next(calls) // COUNT % DRAWS]
    try:
        return run()
    finally:
        np.random.choice = choice


def _infidelity(s: Setting, value: quality.Value, flat: Any) -> Any:
    """As Quantus defines it: patches of 4 x 4 pixels vanish one after the other and stay away."""
    patch = np.arange(28) // 4
    place = (patch[:, None] * 7 + patch).reshape(-1)
    removed = place[None] <= np.arange(49)[:, None]
    sums, changes = quality.sums_and_changes(value, flat * s.x.flatten(1).double().numpy(), removed)
    return quality.infidelity(sums, changes)


def _road(s: Setting, shares: list[int]) -> Any:
    scores = quality.road(s.model, s.x, s.maps, [share / 100 for share in shares], noise=0.0)
    return (scores.argmax(-1) == s.y.numpy()[:, None]).mean(1)


def _road_rgb(s: Setting) -> Any:
    scores = quality.road(_Grey(s.model), s.x.expand(-1, 3, -1, -1), s.maps[0], [0.5], noise=0.0)
    return (scores.argmax(-1) == s.y.numpy()[:, None]).mean(0)


def _gradient(s: Setting, points: Tensor, rows: Tensor) -> Any:
    return at_inputs(lambda batch, own: s.score(batch, rows[own]), points).flatten(1).numpy()


def _sensitivity(s: Setting, noise: Any) -> Any:
    return quality.max_sensitivity(lambda points, rows: _gradient(s, points, rows), s.x, 0.05, noise=noise)


def _with_noise(noise: Any, s: Setting) -> Any:
    step = iter(range(10**9))

    def perturb(arr: Any, indices: Any, **_: Any) -> Any:
        return arr + noise[next(step) % DRAWS].reshape(arr.shape)

    def explain(model: nn.Module, inputs: Any, targets: Any, **_: Any) -> Any:
        points, own = torch.as_tensor(inputs).float(), torch.as_tensor(targets)
        rows = torch.arange(len(points))
        found = at_inputs(lambda b, r: s.model(b)[torch.arange(len(b)), own[r]], points[rows])
        return found.numpy()

    metric = quantus.MaxSensitivity(nr_samples=DRAWS, perturb_func=perturb, **QUIET)
    return metric(
        model=s.model, x_batch=s.x.numpy(), y_batch=s.y.numpy(), a_batch=None, explain_func=explain, softmax=False
    )


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    s = setting()
    print(f"{len(s.maps)} explanations of {COUNT} pictures; Quantus {quantus.__version__}, one thread\n")
    print(f"{'metric':25}{'Assay':>10}{'Quantus':>11}{'time':>8}{'own':>8}{'gap':>9}")
    ours, theirs = np.sum([measure(line, s.model) for line in lines(s)], axis=0)
    print(f"{'all':25}{ours:>9.4f}s{theirs:>10.4f}s{theirs / ours:>7.1f}x")


if __name__ == "__main__":
    main()
