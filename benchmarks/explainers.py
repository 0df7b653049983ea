"""Explanations against captum, shap, lime and Quantus, in one run and one table.

    benchmarks/.venv/bin/python benchmarks/explainers.py            # about six minutes on one thread
    benchmarks/.venv/bin/python benchmarks/explainers.py --only shapley

Errors are relative: root mean square against the exact value, over the root mean square of the exact values. Time is CPU
time of this process on one thread, the least of some interleaved repeats; "bare" is the model alone on as many rows.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

sys.path[0] = str(Path(__file__).parent.parent)  # the packages lie beside this folder, not in it

import shap
from captum import attr

from audit import explainers
from benchmarks.games import GAMES, Contest, exact, fashion, movies, untrained

Run = Callable[[], Tensor]


@dataclass
class Line:
    """One row of the table; None where a column does not apply."""

    part: str
    method: str
    error: float | None = None
    seconds: float | None = None
    times: float | None = None
    evaluations: float | None = None
    note: str = ""


def header() -> None:
    print(f"{'':12}{'':44}{'error':>9}{'CPU s':>9}{'time':>9}{'evaluations':>13}")


def show(line: Line) -> None:
    error = "" if line.error is None else f"{line.error:.2g}"
    seconds = "" if line.seconds is None else f"{line.seconds:.4f}"
    times = "" if line.times is None else f"{line.times:.1f}x"
    evaluations = "" if line.evaluations is None else f"{line.evaluations:.0f}"
    print(f"{line.part:12}{line.method:44}{error:>9}{seconds:>9}{times:>9}{evaluations:>13}  {line.note}", flush=True)


def relative(found: Tensor, truth: Tensor) -> float:
    return float((found - truth).square().mean().sqrt() / truth.square().mean().sqrt())


def interleaved(runs: dict[str, Run], repeats: int) -> dict[str, tuple[float, Tensor]]:
    """Least CPU seconds and last result of each, taken in turn."""
    best = dict.fromkeys(runs, float("inf"))
    results: dict[str, Tensor] = {}
    for _ in range(repeats):
        for name, run in runs.items():
            start = time.process_time()
            results[name] = run()
            best[name] = min(best[name], time.process_time() - start)
    return {name: (best[name], results[name]) for name in runs}


# ------------------------------------------------------------------------------------------------- Shapley values


def with_shap(game: Contest, evaluations: int) -> Tensor:
    """`shap.KernelExplainer` without its feature selection, over the players as columns, for each example.

    A player's column says whether it stays; the function given to shap fills in the background, so that one game is
    played by all.
    """
    out = []
    for i in range(len(game.inputs)):
        play = players_of(game, i)
        explainer = shap.KernelExplainer(play, np.zeros((1, game.players)))
        found = explainer.shap_values(np.ones((1, game.players)), nsamples=evaluations, l1_reg=False, silent=True)
        out.append(torch.as_tensor(np.asarray(found)).reshape(game.players, -1))
    return torch.stack(out)


def players_of(game: Contest, i: int) -> Callable[[np.ndarray], np.ndarray]:
    plays = explainers.game.Game(
        game.predict,
        game.inputs[i : i + 1],
        game.background if game.background.ndim == game.inputs.ndim else game.background[i : i + 1],
        game.features,
    )

    def play(keep: np.ndarray) -> np.ndarray:
        return plays.values(torch.from_numpy(keep > 0.5))[0].numpy()

    return play


def shapley(repeats: int, width: int) -> None:
    """14 features, 64 examples, 512 evaluations: error and time against the exact values."""
    game = untrained(64, width)
    budget = 512
    truth = exact(game)
    model, x, baseline = game.predict, game.inputs, game.background

    def captum_kernel() -> Tensor:
        explainer = attr.KernelShap(model)
        return by_output(
            lambda t: explainer.attribute(
                x, baselines=baseline, target=t, n_samples=budget, perturbations_per_eval=budget
            )
        )

    def captum_sampling() -> Tensor:
        explainer = attr.ShapleyValueSampling(model)
        return by_output(
            lambda t: explainer.attribute(
                x, baselines=baseline, target=t, n_samples=budget // 14, perturbations_per_eval=16
            )
        )

    def shap_kernel() -> Tensor:
        explainer = shap.KernelExplainer(numpy_of(model), baseline.numpy())
        return torch.from_numpy(explainer.shap_values(x.numpy(), nsamples=budget, l1_reg=False, silent=True))

    def shap_permutation() -> Tensor:
        explainer = shap.PermutationExplainer(numpy_of(model), baseline.numpy(), seed=0)
        return torch.from_numpy(explainer(x.numpy(), max_evals=budget, silent=True).values)

    def ours() -> Tensor:
        return explainers.kernel_shap(model, x, baseline, evaluations=budget).values

    rows = x.repeat_interleave(budget, 0)

    def bare() -> Tensor:
        with torch.no_grad():
            return torch.cat([model(part) for part in rows.split(2**14)])

    # captum explains one output a call, so it is timed on one; the others give all three at once
    runs: dict[str, Run] = {
        "the model alone, as many rows": bare,
        "assay kernel_shap": ours,
        "shap KernelExplainer (l1_reg off)": shap_kernel,
        "shap PermutationExplainer": shap_permutation,
        "captum KernelShap (one output)": captum_kernel,
        "captum ShapleyValueSampling (one output)": captum_sampling,
    }
    found = interleaved(runs, repeats)
    base = found["assay kernel_shap"][0]
    for name, (seconds, values) in found.items():
        error = None
        if name != "the model alone, as many rows":
            error = relative(values.double(), truth[:, :, : values.shape[2]])
        show(Line("shapley", name, error, seconds, seconds / base, budget))
    ratio = base / found["the model alone, as many rows"][0]
    print(f"{'':12}layers of {width}: kernel_shap takes {ratio:.2f} times the bare forward passes")


def by_output(explain: Callable[[int], Tensor], outputs: int = 1) -> Tensor:
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 captum and shap draw from the global generators
    random.seed(0)
    return torch.stack([explain(t) for t in range(outputs)], dim=2)


def numpy_of(model: Callable[[Tensor], Tensor]) -> Callable[[np.ndarray], np.ndarray]:
    def predict(batch: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return model(torch.as_tensor(batch, dtype=torch.float32)).numpy()

    return predict


def games() -> None:
    """Eight games at three equal budgets: our error and shap's."""
    built = [(name, build()) for name, build in GAMES.items()]
    truths = {name: exact(game) for name, game in built}
    for budget in (256, 512, 1024):
        halved = 0
        for name, game in built:
            truth = truths[name]
            np.random.seed(0)  # noqa: NPY002 shap draws from the global generator
            theirs = relative(with_shap(game, budget), truth)
            found = explainers.kernel_shap(
                game.predict, game.inputs, game.background, game.features, evaluations=budget
            )
            mine = relative(found.values, truth)
            inside = float(((found.low <= truth) & (truth <= found.high)).double().mean())
            halved += mine <= theirs / 2
            note = f"shap's {theirs:.2g}, ours {mine / theirs:.2f} of it; {inside:.1%} of the intervals hold the exact value"
            show(Line("games", f"{name}: assay", mine, evaluations=found.evaluations, note=note))
        print(f"{'':12}{budget} evaluations: half of shap's error or less in {halved} of {len(built)} games")


# ------------------------------------------------------------------------------------------------ surrogates, gradients


def surrogates(repeats: int) -> None:
    """LIME on pictures and texts: the same players, budget and kernel; the error is against 32 times the budget."""
    for game, theirs in ((fashion(8), lime_pictures), (movies(8), lime_texts)):
        budget = 1024
        limit = explainers.lime(
            game.predict, game.inputs, game.background, game.features, evaluations=32 * budget, seed=9
        )
        runs: dict[str, Run] = {
            "assay": lambda game=game, budget=budget: (
                explainers.lime(game.predict, game.inputs, game.background, game.features, evaluations=budget).values
            ),
            "the lime package": lambda game=game, theirs=theirs, budget=budget: theirs(game, budget),
        }
        found = interleaved(runs, repeats)
        for name, (seconds, values) in found.items():
            error = relative(values, limit.values[:, :, : values.shape[2]])
            show(Line("lime", f"{game.name}: {name}", error, seconds, seconds / found["assay"][0], budget))


def lime_pictures(game: Contest, budget: int) -> Tensor:
    from lime import lime_image

    out = []
    for i in range(len(game.inputs)):
        own, blurred = (t.reshape(28, 28, 1).repeat(1, 1, 3).numpy() for t in (game.inputs[i], game.background[i]))
        cells = game.features.reshape(28, 28).numpy()

        def predict(batch: np.ndarray) -> np.ndarray:
            with torch.no_grad():
                return game.predict(torch.from_numpy(batch[..., 0]).float().unsqueeze(1)).numpy()

        explainer = lime_image.LimeImageExplainer(random_state=0)
        # its way to grey out is replaced by the same blur
        data, labels = explainer.data_labels(own, blurred, cells, predict, num_samples=budget)
        out.append(fitted(explainer.base, data, labels))
    return torch.stack(out)


def lime_texts(game: Contest, budget: int) -> Tensor:
    from lime import lime_text

    out = []
    for i in range(len(game.inputs)):
        play = players_of(game, i)
        explainer = lime_text.LimeTextExplainer(class_names=["x"], random_state=0)
        rng = np.random.RandomState(i)
        data = np.ones((budget, game.players))
        for row in range(1, budget):
            off = rng.choice(game.players, rng.randint(1, game.players + 1), replace=False)
            data[row, off] = 0
        out.append(fitted(explainer.base, data, play(data)))
    return torch.stack(out)


def fitted(base: object, data: np.ndarray, labels: np.ndarray) -> Tensor:
    """The package's own ridge regression, for every output."""
    from sklearn.metrics import pairwise_distances

    distance = pairwise_distances(data, data[:1], metric="cosine").ravel()
    size = data.shape[1]
    columns = []
    for label in range(labels.shape[1]):
        found = base.explain_instance_with_data(data, labels, distance, label, size, feature_selection="none")[1]
        order = dict(found)
        columns.append([order[i] for i in range(size)])
    return torch.tensor(columns).T.double()


def paths(repeats: int) -> None:
    """Integrated gradients on the Fashion network: what adds up, and for how many gradients."""
    game = fashion(16)
    model, x = game.predict, game.inputs
    baselines = game.background[:, 0]
    with torch.no_grad():
        target = model(x)[:, 0].double() - model(baselines)[:, 0].double()
    explainer = attr.IntegratedGradients(model)
    runs: dict[str, Run] = {
        "assay integrated_gradients": lambda: (
            explainers.integrated_gradients(model, x, baselines, 0, max_steps=8192).values
        ),
        "captum IntegratedGradients, 50 steps": lambda: captum_path(explainer, x, baselines, 50),
        "captum IntegratedGradients, 300 steps": lambda: captum_path(explainer, x, baselines, 300),
    }
    found = interleaved(runs, repeats)
    spent = {"assay": explainers.integrated_gradients(model, x, baselines, 0, max_steps=8192).evaluations}
    for name, (seconds, values) in found.items():
        gap = (values.sum((1, 2)) - target).abs() / target.abs()
        points = spent["assay"] if name.startswith("assay") else int(name.split()[-2])
        show(
            Line(
                "paths",
                name,
                float(gap.max()),
                seconds,
                seconds / found["assay integrated_gradients"][0],
                points,
                "largest completeness error; most points",
            )
        )


def captum_path(explainer: attr.IntegratedGradients, x: Tensor, baselines: Tensor, steps: int) -> Tensor:
    return explainer.attribute(x, baselines, target=0, n_steps=steps).flatten(1).unsqueeze(2).double().detach()


def metrics() -> None:
    """The battery against Quantus: CPU time of ours and theirs, and the largest difference of a score (`battery.py`)."""
    from benchmarks import battery

    s = battery.setting()
    for line in battery.lines(s):
        ours, _, found = battery.timed(line.ours, s.model)
        show(Line("battery", f"{line.name}: assay", seconds=ours, times=1.0))
        try:
            theirs, _, peer = battery.timed(line.theirs, s.model)
        except Exception as error:  # a peer may fall over; that is a result too
            show(Line("battery", f"{line.name}: Quantus", note=f"raises {type(error).__name__}: {line.note}"))
            continue
        gap = float(np.nanmax(np.abs(found - peer.reshape(found.shape)))) if line.same else None
        show(Line("battery", f"{line.name}: Quantus", gap, theirs, theirs / ours, note=line.note))


PARTS: dict[str, Callable[[int], object]] = {
    "shapley": lambda repeats: [shapley(repeats, width) for width in (64, 128)],
    "games": lambda _: games(),
    "lime": surrogates,
    "paths": paths,
    "battery": lambda _: metrics(),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=PARTS)
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # the peers' own
    header()
    for name, part in PARTS.items():
        if asked.only in (None, name):
            part(asked.repeats)


if __name__ == "__main__":
    main()
