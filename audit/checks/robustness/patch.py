"""Adversarial patches: a square of an image that misleads the model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from audit import statistics
from audit.check import Check, Effort
from audit.subject import Capability, Modality
from reports.record import Cell, Curves, Estimate, Images, Measured, Panel, Table

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from attacks import Universal
    from audit.checks.robustness._space import Space
    from audit.datasets import Dataset
    from audit.subject import Subject


class _Example(NamedTuple):
    """An image that fell, as given and with its square."""

    given: Tensor
    patched: Tensor


@dataclass(frozen=True)
class Patch(Check):
    """Adversarial patches.

    What it measures:
        Accuracy when an attacker who knows the model may cover one square of each test image with whatever he likes,
        for several areas: the square is put where it does most harm. Then one square for all images, trained on other
        images at random places, turns and sizes, and put on test images at random; beside it a random square, which
        shows what covering alone does.
    Why it matters:
        A sticker can be printed and put into a scene; nobody has to reach the file. The change is plain to see and no
        small norm bounds it, so a model that withstands small changes everywhere may still fall to it.
    How to read it:
        The accuracy with a square made for each image is an upper bound, as of every attack. The universal patch is
        the threat in the world: what it costs beyond the random square is due to its content. If that is much, blur or
        mask unusual regions, train with patched images, or watch the scene for what does not belong there.

    References:
        Brown, Mane, Roy, Abadi and Gilmer 2017; Croce and Hein 2020 (the search inside the square).
    """

    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.INPUT_GRADIENT})
    modalities: ClassVar[frozenset[Modality]] = frozenset({Modality.IMAGE})
    efforts: ClassVar[Mapping[Effort, Mapping[str, Any]]] = {
        Effort.QUICK: {"rows": 60, "areas": (0.01, 0.05), "places": 4, "training_rows": 40, "training_steps": 40},
        Effort.EXHAUSTIVE: {"rows": 500, "places": 16, "steps": 30, "training_rows": 500, "training_steps": 300},
    }

    #: test images attacked
    rows: int = 150
    #: areas of the square, as shares of the image
    areas: tuple[float, ...] = (0.01, 0.03, 0.06, 0.1)
    #: gradients a try, and tries an image
    steps: int = 15
    places: int = 8
    #: area of the patch made for all images
    universal_area: float = 0.1
    #: images it is trained on, and gradients of each
    training_rows: int = 100
    training_steps: int = 100
    #: examples shown
    shown: int = 4

    def unfit(self, subject: Subject, data: Dataset) -> str | None:
        """See `Check.unfit`."""
        if data.bounds is None:
            return "the range of a pixel is not declared; set data.bounds in the plan"
        if len(data) < 2 and data.train is None:
            return "one test image and no training data: none is left to train a patch on"
        return None if self.areas else "no area is given"

    def run(self, subject: Subject, data: Dataset, rng: np.random.Generator) -> Measured:
        """See the class."""
        from audit.checks.robustness._grid import draw_seed
        from audit.checks.robustness._space import space

        sample = data.sample(self.rows, rng)
        assert not isinstance(sample.inputs, list)
        seed = draw_seed(rng)
        here = space(subject, data, sample)
        height, width = sample.inputs.shape[2:]
        sides = {area: _side(area, height, width) for area in sorted(set(self.areas))}
        robust, examples, passes = self._each(subject, here, sides, seed)
        made, control, judged = self._universal(
            subject, data, sample, _side(self.universal_area, height, width), seed, rng
        )
        n = len(sample)
        clean = robust[:, 0]
        estimates: dict[str, Estimate] = {"clean_accuracy": statistics.proportion(int(clean.sum()), n)}
        for j, area in enumerate(sides):
            estimates[f"robust_accuracy@patch:{area:.4g}"] = statistics.proportion(int(robust[:, j + 1].sum()), n)
        right, random = made.robust.cpu().numpy(), control.robust.cpu().numpy()
        slice_ = f"patch:{self.universal_area:.4g}"
        estimates[f"universal_accuracy@{slice_}"] = statistics.proportion(int(right.sum()), len(right))
        estimates[f"random_accuracy@{slice_}"] = statistics.proportion(int(random.sum()), len(right))
        estimates[f"universal_harm@{slice_}"] = statistics.paired_difference(random, right)
        middle = f"{list(sides)[len(sides) // 2]:.4g}"
        return Measured(
            estimates=estimates,
            headline=(
                "clean_accuracy",
                f"robust_accuracy@patch:{middle}",
                f"universal_accuracy@{slice_}",
                f"universal_harm@{slice_}",
            ),
            tables=(_table(sides, estimates, made.patch.shape[-1], slice_),),
            figures=(
                _curve(sides, estimates),
                *_fallen(subject, sample, examples),
                *_shown(subject, judged, made, self.shown),
            ),
            notes=(
                f"{n} of {len(data)} test images; the universal patch was judged on {len(judged)} it was not made from.",
                f"Forward and backward passes of single images: {passes + made.forwards + made.backwards:,}.",
            ),
        )

    def _each(
        self, subject: Subject, here: Space, sides: Mapping[float, int], seed: int
    ) -> tuple[NDArray[np.bool_], list[_Example], int]:
        """(n, 1 + areas) which rows stand, without a square and with each; the first that fell; passes spent."""
        from attacks import patch

        clean = subject.predict(here.inputs).argmax(1).numpy() == here.labels.cpu().numpy()
        stands = np.repeat(clean[:, None], 1 + len(sides), axis=1)
        examples: list[_Example] = []
        passes = 0
        for j, side in enumerate(sides.values(), start=1):
            # a square holds every smaller one
            rows = np.flatnonzero(stands[:, j])
            if not len(rows):
                break
            found = patch(
                subject.model,
                here.inputs[rows],
                here.labels[rows],
                side,
                steps=self.steps,
                places=self.places,
                bounds=here.bounds,
                seed=seed,
            )
            passes += found.forwards + found.backwards
            broken = np.flatnonzero(~found.robust.cpu().numpy())
            stands[rows[broken], j:] = False
            examples += [
                _Example(here.inputs[rows[i]], found.adversarial[i]) for i in broken[: self.shown - len(examples)]
            ]
        return stands, examples, passes

    def _universal(
        self, subject: Subject, data: Dataset, sample: Dataset, side: int, seed: int, rng: np.random.Generator
    ) -> tuple[Universal, Universal, Dataset]:
        """The trained patch, a random one, and the rows both were judged on."""
        from attacks import universal_patch
        from audit.checks.robustness._space import space

        if data.train is not None:
            learning, judged = data.train.sample(self.training_rows, rng), sample
        else:
            order = rng.permutation(len(data))
            half = min(self.training_rows, len(data) // 2)
            learning, judged = data.take(order[:half]), data.take(order[half:]).sample(self.rows, rng)
        seen, unseen = space(subject, data, learning), space(subject, data, judged)
        assert data.bounds is not None
        made, control = (
            universal_patch(
                subject.model,
                seen.inputs,
                seen.labels,
                side,
                held_out=(unseen.inputs, unseen.labels),
                steps=steps,
                bounds=data.bounds,
                seed=seed,
            )
            for steps in (self.training_steps, 0)
        )
        return made, control, judged


def _side(area: float, height: int, width: int) -> int:
    """Pixels of a square of this share of the image, at least one."""
    return min(max(round(math.sqrt(area * height * width)), 1), height, width)


def _table(sides: Mapping[float, int], estimates: Mapping[str, Estimate], universal: int, slice_: str) -> Table:
    rows: list[tuple[Cell, ...]] = [("none", None, estimates["clean_accuracy"])]
    rows += [
        ("made for each image", side, estimates[f"robust_accuracy@patch:{area:.4g}"]) for area, side in sides.items()
    ]
    rows += [
        ("one for all, anywhere", universal, estimates[f"universal_accuracy@{slice_}"]),
        ("random, anywhere", universal, estimates[f"random_accuracy@{slice_}"]),
    ]
    return Table(title="Accuracy with a patch", columns=("patch", "side in pixels", "accuracy"), rows=tuple(rows))


def _curve(sides: Mapping[float, int], estimates: Mapping[str, Estimate]) -> Curves:
    from audit.checks.robustness._grid import point

    found = [(0.0, estimates["clean_accuracy"])]
    found += [(area, estimates[f"robust_accuracy@patch:{area:.4g}"]) for area in sides]
    return Curves(
        title="Accuracy with a patch made for each image",
        x_title="area of the patch, as a share of the image",
        y_title="accuracy",
        points=tuple(point(x, e) for x, e in found if e.value is not None),
        x_percent=True,
        y_percent=True,
        note="At 0 the images as they are. The band is the interval of each point alone.",
    )


def _pairs(subject: Subject, data: Dataset, given: Tensor, patched: Tensor) -> list[Panel]:
    """As given and patched, with the answers, two panels an image."""
    from audit.checks.robustness._grid import answers
    from audit.explaining.pictures import png

    assert data.bounds is not None
    panels = []
    for was, became, before, after in zip(
        answers(subject, given), answers(subject, patched), given, patched, strict=True
    ):
        panels.append(Panel(caption=f"as given: {data.classes[was]}", image=png(before, *data.bounds)))
        panels.append(Panel(caption=f"patched: {data.classes[became]}", image=png(after, *data.bounds)))
    return panels


def _fallen(subject: Subject, data: Dataset, examples: list[_Example]) -> list[Images]:
    """The images that the smallest squares broke."""
    import torch

    if not examples:
        return []
    given, patched = (torch.stack(part) for part in zip(*examples, strict=True))
    return [Images(title="Images that a patch broke", panels=tuple(_pairs(subject, data, given, patched)), per_row=4)]


def _shown(subject: Subject, judged: Dataset, made: Universal, shown: int) -> list[Images]:
    """The patch for all images, and test images it broke (others, where it broke too few)."""
    from audit.explaining.pictures import png

    assert judged.bounds is not None
    assert not isinstance(judged.inputs, list)
    order = np.argsort(~(made.clean_correct & ~made.robust).cpu().numpy(), kind="stable")[:shown]
    patch = Panel(caption="the patch", image=png(made.patch, *judged.bounds))
    pairs = _pairs(subject, judged, judged.inputs[order], made.adversarial[order])
    return [
        Images(
            title="One patch for all images",
            panels=(patch, *pairs),
            per_row=1 + 2 * min(2, len(order)),
            note="The patch is shown larger than it is put on the images.",
        )
    ]
