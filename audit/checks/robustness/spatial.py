"""Small rotations and shifts of images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from audit import statistics
from audit.check import Check, Effort
from audit.subject import Modality
from reports.record import Curves, Estimate, Images, Matrix, MatrixRow, Measured, Panel, Point

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from audit.datasets import Dataset
    from audit.subject import Subject


class _Example(NamedTuple):
    """An image that fell, as given and as moved, and by how much: degrees; pixels down and right."""

    given: Tensor
    moved: Tensor
    degrees: float
    pixels: tuple[float, float]


@dataclass(frozen=True)
class Spatial(Check):
    """Small rotations and shifts.

    What it measures:
        Accuracy when each test image may be turned and shifted a little: under the worst move for each image, searched
        over a grid, at random and around the worst found, and under random moves of the same size; for several
        budgets. Where a moved image leaves its frame empty, the darkest value stands.
    Why it matters:
        Cameras are not level and objects are not centred. The result looks the same to a person, no norm of the change
        bounds it, and training against noise does not help; whoever may frame the picture can pick the worst.
    How to read it:
        The random figure says what chance does, the worst one what an opponent or a very long row of chances does. The
        latter is an upper bound: a finer search can only lower it. A move by a part of a pixel also blurs a little,
        which counts on small images. The map shows the accuracy on all images at one
        fixed move; where it falls off to one side only, look at how the training images were framed. Train with turned
        and shifted images, or centre them before the model sees them.

    References:
        Engstrom, Tran, Tsipras, Schmidt and Madry 2019.
    """

    modalities: ClassVar[frozenset[Modality]] = frozenset({Modality.IMAGE})
    efforts: ClassVar[Mapping[Effort, Mapping[str, Any]]] = {
        Effort.QUICK: {"rows": 100, "angles": 7, "shifts": 3, "samples": 8, "refinements": 2},
        Effort.EXHAUSTIVE: {"rows": 1000, "angles": 31, "samples": 50, "refinements": 10},
    }

    #: test images moved
    rows: int = 200
    #: budgets: largest rotation either way, in degrees
    degrees: tuple[float, ...] = (5.0, 10.0, 20.0, 30.0)
    #: largest shift of the same budgets, as a share of the image's shorter side
    reach: tuple[float, ...] = (0.02, 0.04, 0.07, 0.1)
    #: rotations of the grid
    angles: int = 15
    #: shifts of the grid, along each axis
    shifts: int = 5
    #: random moves, in the search and for the random figure
    samples: int = 20
    #: rounds of search around the worst move
    refinements: int = 4
    #: examples shown
    shown: int = 4

    def unfit(self, subject: Subject, data: Dataset) -> str | None:
        """See `Check.unfit`."""
        if not self.degrees or not len(set(self.degrees)) == len(self.degrees) == len(self.reach):
            return f"needs different rotations and a reach for each, found {len(self.degrees)} and {len(self.reach)}"
        return None if data.bounds is not None else "the range of a pixel is not declared; set data.bounds in the plan"

    def run(self, subject: Subject, data: Dataset, rng: np.random.Generator) -> Measured:
        """See the class."""
        from audit.checks.robustness._grid import answers, draw_seed

        sample = data.sample(self.rows, rng)
        assert not isinstance(sample.inputs, list)
        side = min(sample.inputs.shape[2:])
        budgets = [(turn, share * side) for turn, share in sorted(zip(self.degrees, self.reach, strict=True))]
        seed = draw_seed(rng)
        truth = sample.labels.numpy()
        clean = answers(subject, sample.inputs) == truth
        worst, examples = self._worst(subject, sample, clean, budgets, seed)
        chance = [self._random(subject, sample, budget, rng) for budget in budgets]
        n = len(truth)
        estimates: dict[str, Estimate] = {"clean_accuracy": statistics.proportion(int(clean.sum()), n)}
        for (turn, _), stands, shares in zip(budgets, worst.T, chance, strict=True):
            estimates[f"robust_accuracy@turn:{turn:.4g}"] = statistics.proportion(int(stands.sum()), n)
            estimates[f"random_accuracy@turn:{turn:.4g}"] = statistics.clustered_proportion(shares, self.samples)
        middle = f"{budgets[len(budgets) // 2][0]:.4g}"
        return Measured(
            estimates=estimates,
            headline=("clean_accuracy", f"random_accuracy@turn:{middle}", f"robust_accuracy@turn:{middle}"),
            figures=(
                _curves(budgets, estimates),
                self._map(subject, sample, budgets[-1]),
                *_pictures(subject, sample, examples),
            ),
            notes=(
                f"{n} of {len(data)} test images, the same everywhere.",
                "Budgets: "
                + "; ".join(f"up to {turn:.4g} degrees and {far:.2g} pixels" for turn, far in budgets)
                + ".",
            ),
        )

    def _worst(
        self, subject: Subject, sample: Dataset, clean: NDArray[np.bool_], budgets: list[tuple[float, float]], seed: int
    ) -> tuple[NDArray[np.bool_], list[_Example]]:
        """(n, budgets) which rows stand, and the rows that the smallest budgets broke."""
        from attacks import rotate_translate

        assert sample.bounds is not None
        stands = np.repeat(clean[:, None], len(budgets), axis=1)
        examples: list[_Example] = []
        for j, (turn, far) in enumerate(budgets):
            # what a smaller budget breaks, a larger one breaks too
            rows = np.flatnonzero(stands[:, j])
            if not len(rows):
                break
            part = sample.take(rows)
            assert not isinstance(part.inputs, list)
            found = rotate_translate(
                subject.predict,
                part.inputs,
                part.labels,
                turn,
                far,
                angles=self.angles,
                shifts=self.shifts,
                samples=self.samples,
                refinements=self.refinements,
                fill=sample.bounds[0],
                bounds=sample.bounds,
                seed=seed,
            )
            broken = np.flatnonzero(~found.robust.numpy())
            stands[rows[broken], j:] = False
            examples += [
                _Example(
                    part.inputs[i],
                    found.adversarial[i],
                    float(found.degrees[i]),
                    (float(found.pixels[i, 0]), float(found.pixels[i, 1])),
                )
                for i in broken[: self.shown - len(examples)]
            ]
        return stands, examples

    def _random(
        self, subject: Subject, sample: Dataset, budget: tuple[float, float], rng: np.random.Generator
    ) -> NDArray[np.float64]:
        """(n,) share of random moves within the budget under which a row is right."""
        right = np.zeros(len(sample))
        for _ in range(self.samples):
            moves = rng.uniform(-1, 1, (len(sample), 3)) * (budget[0], budget[1], budget[1])
            right += _right(subject, sample, moves)
        return right / self.samples

    def _map(self, subject: Subject, sample: Dataset, budget: tuple[float, float]) -> Matrix:
        """Accuracy on all images at each rotation and shift of the largest budget."""
        turns, far = np.linspace(-budget[0], budget[0], 7), budget[1]
        ways = {"up": (-far, 0.0), "left": (0.0, -far), "as it is": (0.0, 0.0), "right": (0.0, far), "down": (far, 0.0)}
        rows = [
            MatrixRow(
                label=f"{turn:+.3g} degrees",
                values=tuple(
                    float(_right(subject, sample, np.tile((turn, *way), (len(sample), 1))).mean())
                    for way in ways.values()
                ),
            )
            for turn in turns
        ]
        return Matrix(
            title=f"Accuracy when every image is moved alike (shifts of {far:.2g} pixels)",
            columns=tuple(ways),
            rows=tuple(rows),
            percent=True,
            note="Positive degrees turn counter-clockwise.",
        )


def _right(subject: Subject, sample: Dataset, moves: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(n,) right under these moves (n, 3): degrees, pixels down, pixels right."""
    import torch

    from attacks.spatial import move
    from audit.checks.robustness._grid import answers

    assert sample.bounds is not None
    assert not isinstance(sample.inputs, list)
    at = torch.from_numpy(moves)
    moved = move(sample.inputs, at[:, 0], at[:, 1:], sample.bounds[0]).clamp(*sample.bounds)
    right: NDArray[np.bool_] = answers(subject, moved) == sample.labels.numpy()
    return right


def _curves(budgets: list[tuple[float, float]], estimates: Mapping[str, Estimate]) -> Curves:
    from audit.checks.robustness._grid import point

    points: list[Point] = []
    for name, series in (("random_accuracy", "random moves"), ("robust_accuracy", "worst move of each")):
        found = [(0.0, estimates["clean_accuracy"])]
        found += [(turn, estimates[f"{name}@turn:{turn:.4g}"]) for turn, _ in budgets]
        points += [point(x, e, series) for x, e in found if e.value is not None]
    return Curves(
        title="Accuracy when images turn and shift",
        x_title="largest rotation, in degrees (shifts grow with it)",
        y_title="accuracy",
        points=tuple(points),
        y_percent=True,
        note="At 0 the images as they are. The band is the interval of each point alone.",
    )


def _pictures(subject: Subject, sample: Dataset, examples: list[_Example]) -> list[Images]:
    """As given and as moved, side by side."""
    import torch

    from audit.checks.robustness._grid import answers
    from audit.explaining.pictures import png

    assert sample.bounds is not None
    if not examples:
        return []
    before, after = (
        answers(subject, torch.stack(part)) for part in zip(*((e.given, e.moved) for e in examples), strict=True)
    )
    panels = []
    for example, was, became in zip(examples, before, after, strict=True):
        down, right = example.pixels
        how = f"turned {example.degrees:+.3g} degrees, {down:+.2g} pixels down, {right:+.2g} right"
        panels.append(Panel(caption=f"as given: {sample.classes[was]}", image=png(example.given, *sample.bounds)))
        panels.append(Panel(caption=f"{how}: {sample.classes[became]}", image=png(example.moved, *sample.bounds)))
    return [
        Images(
            title="Images that small moves broke",
            panels=tuple(panels),
            per_row=4,
            note="Positive degrees turn counter-clockwise.",
        )
    ]
