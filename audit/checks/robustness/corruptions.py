"""Common corruptions of images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from audit import statistics
from audit.check import Check, Effort
from audit.checks.robustness._grid import answers, draw_seed, point
from audit.subject import Modality
from reports.record import Cell, Curves, Estimate, Images, Matrix, MatrixRow, Measured, Panel, Point, Table

if TYPE_CHECKING:
    from torch import Tensor

    from audit.datasets import Dataset
    from audit.subject import Subject

SEVERITIES = (1, 2, 3, 4, 5)
#: longest side of a shown picture, in pixels: a page of them stays small
SIDE = 40


@dataclass(frozen=True)
class Corruptions(Check):
    """Common corruptions.

    What it measures:
        Accuracy on the same test images under each common corruption (noise, blur, weather, digital) at five
        severities, from slight to strong; the mean over all of them, alone and relative to the accuracy on the images
        as they are; the corruption that hurts most; and the mean corruption error, alone, beyond the error on the
        images as they are, and relative to a baseline's errors where the plan gives them.
    Why it matters:
        Cameras shake, lenses get dirty and files are compressed. Nobody has to attack for this to happen; benchmarks
        of clean pictures do not show it.
    How to read it:
        Severities follow the published benchmark, fitted to the size of the image; they compare models, and do not
        claim how often a corruption occurs. Look at the kinds your camera makes. Add the worst ones to the training
        data. The worst corruption is picked after the fact, so its figure leans to the low side. Beyond the clean
        error counts what corruption adds; a ratio to the baseline below 1 means fewer errors than it makes, each
        corruption weighted by how hard it is for the baseline.

    References:
        Hendrycks and Dietterich 2019; DeVries and Taylor 2017 (occlusion).
    """

    version: ClassVar[int] = 2
    modalities: ClassVar[frozenset[Modality]] = frozenset({Modality.IMAGE})
    efforts: ClassVar[Mapping[Effort, Mapping[str, Any]]] = {
        Effort.QUICK: {"rows": 100},
        Effort.EXHAUSTIVE: {"rows": 2000},
    }

    #: test images sampled
    rows: int = 400
    #: corruptions measured; none named: all that fit the number of channels
    names: tuple[str, ...] = ()
    #: error rates of a baseline model, one a corruption in the order of the table: 1 - its mean accuracy there
    baseline: tuple[float, ...] = ()

    def unfit(self, subject: Subject, data: Dataset) -> str | None:
        """See `Check.unfit`."""
        if data.bounds is None:
            return "the range of a pixel is not declared; set data.bounds in the plan"
        names = self._names(data)
        if self.baseline and (len(self.baseline) != len(names) or not all(0 < error <= 1 for error in self.baseline)):
            return f"needs a baseline of {len(names)} error rates above 0, one for each of {', '.join(names)}"
        return None

    def _names(self, data: Dataset) -> tuple[str, ...]:
        from attacks.corruptions import corruptions_for

        assert not isinstance(data.inputs, list)
        return self.names or corruptions_for(data.inputs.shape[1])

    def run(self, subject: Subject, data: Dataset, rng: np.random.Generator) -> Measured:
        """See the class."""
        sample = data.sample(self.rows, rng)
        assert not isinstance(sample.inputs, list)
        names = self._names(data)
        seed = draw_seed(rng)
        truth = sample.labels.numpy()
        clean = answers(subject, sample.inputs) == truth
        right = np.empty((len(names), len(SEVERITIES), len(truth)), dtype=bool)
        for i, name in enumerate(names):
            for j, severity in enumerate(SEVERITIES):
                right[i, j] = answers(subject, _corrupted(sample, name, severity, seed)) == truth
        estimates = _estimates(names, clean, right, rng) | _errors(clean, right, self.baseline, rng)
        worst = names[int(right.mean((1, 2)).argmin())]
        return Measured(
            estimates=estimates,
            headline=(
                "clean_accuracy",
                "mean_corruption_accuracy",
                "relative_corruption_accuracy",
                "worst_corruption_accuracy",
                "mean_corruption_error",
            ),
            tables=(_matrix(names, right, estimates),),
            figures=(_heat(names, right), _curves(names, clean, right), _pictures(subject, sample, names, seed)),
            notes=(
                f"{len(truth)} of {len(data)} test images, the same in every cell.",
                f"The worst corruption is {worst!r}, picked by its mean over the severities.",
            ),
        )


def _corrupted(data: Dataset, name: str, severity: int, seed: int) -> Tensor:
    """The images under a corruption, in their own units."""
    from attacks.corruptions import corrupt

    assert data.bounds is not None
    assert not isinstance(data.inputs, list)
    low, high = data.bounds
    return corrupt(((data.inputs - low) / (high - low)).clamp(0, 1), name, severity, seed) * (high - low) + low


def _estimates(
    names: tuple[str, ...], clean: NDArray[np.bool_], right: NDArray[np.bool_], rng: np.random.Generator
) -> dict[str, Estimate]:
    """Accuracies over cells: an image counts once, with its share of cells, since its cells depend on each other."""
    of_image = right.mean((0, 1))
    relative = statistics.bootstrap(_ratio, of_image, clean.astype(float), rng=rng, unit="fraction")
    by_name = {name: statistics.clustered_proportion(right[i].mean(0), len(SEVERITIES)) for i, name in enumerate(names)}
    return {
        "clean_accuracy": statistics.proportion(int(clean.sum()), len(clean)),
        "mean_corruption_accuracy": statistics.clustered_proportion(of_image, right[..., 0].size),
        "relative_corruption_accuracy": relative,
        "worst_corruption_accuracy": by_name[names[int(right.mean((1, 2)).argmin())]],
        **{f"accuracy@corruption={name}": estimate for name, estimate in by_name.items()},
        **{
            f"accuracy@severity={severity}": statistics.clustered_proportion(right[:, j].mean(0), len(names))
            for j, severity in enumerate(SEVERITIES)
        },
    }


def _ratio(corrupted: NDArray[np.float64], clean: NDArray[np.float64]) -> float:
    return float(corrupted.mean() / clean.mean()) if clean.any() else float("nan")


def _errors(
    clean: NDArray[np.bool_], right: NDArray[np.bool_], baseline: tuple[float, ...], rng: np.random.Generator
) -> dict[str, Estimate]:
    """The mean corruption error, what of it corruption adds, and its ratio to the baseline's; rows resampled whole."""
    from attacks.corruptions import mean_corruption_error

    wrong = (~right).mean(1).T  # (rows, names): a row's errors, averaged over severities
    out = {
        "mean_corruption_error": statistics.clustered_proportion(wrong.mean(1), right[..., 0].size),
        "excess_corruption_error": statistics.bootstrap(
            lambda errors, before: mean_corruption_error(errors.mean(0)[:, None], clean=float(before.mean())),
            wrong,
            (~clean).astype(float),
            rng=rng,
            unit="fraction",
        ),
    }
    if baseline:
        out["corruption_error_to_baseline"] = statistics.bootstrap(
            lambda errors: mean_corruption_error(errors.mean(0)[:, None], baseline), wrong, rng=rng
        )
    return out


def _heat(names: tuple[str, ...], right: NDArray[np.bool_]) -> Matrix:
    return Matrix(
        title="Corruption by severity",
        columns=tuple(f"severity {s}" for s in SEVERITIES),
        rows=tuple(
            MatrixRow(label=name.replace("_", " "), values=tuple(float(v) for v in right[i].mean(1)))
            for i, name in enumerate(names)
        ),
        percent=True,
        note="Accuracy in each cell; the table below holds the intervals.",
    )


def _matrix(names: tuple[str, ...], right: NDArray[np.bool_], estimates: Mapping[str, Estimate]) -> Table:
    from attacks.corruptions import FAMILY

    rows: list[tuple[Cell, ...]] = []
    for i, name in enumerate(names):
        cells = [statistics.proportion(int(right[i, j].sum()), right.shape[2]) for j in range(len(SEVERITIES))]
        rows.append((name.replace("_", " "), FAMILY[name], *cells, estimates[f"accuracy@corruption={name}"]))
    return Table(
        title="Accuracy under each corruption",
        columns=("corruption", "family", *(f"severity {s}" for s in SEVERITIES), "mean"),
        rows=tuple(rows),
    )


def _curves(names: tuple[str, ...], clean: NDArray[np.bool_], right: NDArray[np.bool_]) -> Curves:
    from attacks.corruptions import FAMILY

    families: dict[str, list[int]] = {"all": list(range(len(names)))}
    for i, name in enumerate(names):
        families.setdefault(FAMILY[name], []).append(i)
    points: list[Point] = []
    for family, members in families.items():
        found = [statistics.clustered_proportion(clean, 1)]
        found += [
            statistics.clustered_proportion(right[members, j].mean(0), len(members)) for j in range(len(SEVERITIES))
        ]
        points += [
            point(float(s), e, family) for s, e in zip((0, *SEVERITIES), found, strict=True) if e.value is not None
        ]
    return Curves(
        title="Accuracy by severity",
        x_title="severity (0: as given)",
        y_title="accuracy",
        points=tuple(points),
        y_percent=True,
        note="Means over the corruptions of each family.",
    )


def _pictures(subject: Subject, sample: Dataset, names: tuple[str, ...], seed: int) -> Images:
    """The first sampled image under every corruption, with the answers."""
    import torch
    from torch.nn import functional as F

    from audit.explaining.pictures import png

    assert sample.bounds is not None
    one = sample.take([0])
    assert not isinstance(one.inputs, list)
    shown = torch.cat([one.inputs, *(_corrupted(one, name, 3, seed) for name in names)])
    said = answers(subject, shown)
    height, width = shown.shape[2:]
    if max(height, width) > SIDE:
        scale = SIDE / max(height, width)
        shown = F.interpolate(shown, size=(max(1, int(height * scale)), max(1, int(width * scale))), mode="area")
    titles = ["as given", *(name.replace("_", " ") for name in names)]
    return Images(
        title="One image under every corruption, severity 3",
        panels=tuple(
            Panel(caption=f"{title}: {sample.classes[answer]}", image=png(image, *sample.bounds))
            for title, answer, image in zip(titles, said, shown, strict=True)
        ),
        note=f"Below each picture the model's answer; the truth is {sample.classes[int(one.labels[0])]!r}.",
    )
