"""Whether explanations point at what moves the answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from audit import statistics
from audit.check import Check, Effort
from audit.checks.explain._methods import METHODS, methods_of
from reports.record import Curves, Estimate, Measured, Point, Table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from audit.checks.explain._examples import Examples
    from audit.datasets import Dataset
    from audit.subject import Subject

    Floats = NDArray[np.float64]

UNIT = "log-odds"


@dataclass(frozen=True)
class Faithfulness(Check):
    """Faithfulness of the explanations.

    What it measures:
        Features, cells or words are taken away from the one an explanation ranks highest downwards (deletion), and
        put back in the same order (insertion), while the log-odds of the predicted class are watched. A faithful ranking
        makes them fall fast and rise fast. The gain is the area between the curve of the explanation and the
        one of random rankings of the same examples; faithfulness is the mean of the two gains.
    Why it matters:
        A picture of an explanation always looks plausible. Only a test on the model itself tells an explanation that
        names what the model uses from one that does not.
    How to read it:
        Above 0 the explanation is better than chance, in units of log-odds averaged over the whole curve; an interval that
        includes 0 is no evidence that it says anything. Compare methods on the same model only. Removing makes
        unusual inputs, and the way of removing (rows of the training data, a blur, the mask token) is the one SHAP
        plays with, which favours it. Attention rollout knows no sign, so it cannot tell what speaks for a class from what
        speaks against it.

    References:
        Samek et al. 2017 and Petsiuk et al. 2018 (deletion and insertion); Tomsett et al. 2020 (limits).
    """

    efforts: ClassVar[Mapping[Effort, Mapping[str, Any]]] = {
        Effort.QUICK: {"rows": 48, "media": 24, "evaluations": 256, "background": 16, "random": 5},
        Effort.EXHAUSTIVE: {"rows": 512, "media": 128, "evaluations": 2048, "background": 64, "random": 20},
    }

    methods: tuple[str, ...] = ("kernel_shap", "lime", "integrated_gradients", "attention_rollout")
    #: examples of tables
    rows: int = 128
    #: examples of pictures and texts
    media: int = 32
    #: coalitions asked for in each example
    evaluations: int = 512
    #: training rows that stand for "removed" (tables)
    background: int = 32
    #: random rankings of each example
    random: int = 10
    #: steps from all players to none
    steps: int = 10

    def run(self, subject: Subject, data: Dataset, rng: np.random.Generator) -> Measured:
        """See the class."""
        from audit.checks.explain._examples import examples

        chosen = examples(subject, data, rng, self.rows, self.media, self.background)
        methods = methods_of(subject, self.methods)
        rankings = {
            method: [[values] for values in chosen.attribute(method, rng, self.evaluations).values]
            for method in methods
        }
        sizes = [len(values[0]) for values in rankings[methods[0]]]
        rankings["random"] = [list(rng.random((self.random, size))) for size in sizes]
        played = np.array(sizes) > 1  # nothing can be ranked in a text of one word
        curves = {name: curves[played] for name, curves in self._curves(chosen, rankings).items()}
        estimates: dict[str, Estimate] = {}
        rows = []
        for method in methods:
            deletion, insertion = _gains(curves[method], curves["random"])
            gains = {
                f"faithfulness@{method}": (deletion + insertion) / 2,
                f"deletion_gain@{method}": deletion,
                f"insertion_gain@{method}": insertion,
            }
            found = {name: statistics.mean(gain, UNIT) for name, gain in gains.items()}
            estimates |= found
            rows.append((METHODS[method].title, *found.values()))
        return Measured(
            estimates=estimates,
            headline=tuple(f"faithfulness@{method}" for method in methods),
            tables=(
                Table(
                    title="Gain over random rankings",
                    columns=("method", "faithfulness", "deletion gain", "insertion gain"),
                    rows=tuple(rows),
                    note="Area between the curves, in log-odds of the predicted class; intervals over examples, paired.",
                ),
            ),
            figures=tuple(self._figure(curves, k) for k in (0, 1)) if played.any() else (),
            notes=(
                f"{int(played.sum())} test examples; {self.random} random rankings of each.",
                f"Curves have {self.steps} steps from all to none, however many features, cells or words there are.",
            ),
        )

    def _curves(self, chosen: Examples, rankings: Mapping[str, list[list[Floats]]]) -> dict[str, Floats]:
        """Mean curves of each name, (examples, 2, steps + 1): deletion, insertion; from nothing done to all done."""
        from audit.checks.explain._players import remove

        names = list(rankings)
        keep = [
            np.concatenate([self._states(values) for name in names for values in rankings[name][row]])
            for row in range(len(chosen.rows))
        ]
        scores = np.stack(remove(chosen.subject, chosen.rows, keep, chosen.targets, chosen.background))
        scores = scores.reshape(len(scores), -1, 2, self.steps + 1)
        out, start = {}, 0
        for name in names:
            number = len(rankings[name][0])
            out[name] = scores[:, start : start + number].mean(1)
            start += number
        return out

    def _states(self, values: Floats) -> NDArray[np.bool_]:
        """Players kept along the deletion and then the insertion curve, (2 (steps + 1), players)."""
        place = np.empty(len(values), dtype=np.int64)
        place[np.argsort(-values, kind="stable")] = np.arange(len(values))
        done = np.rint(np.linspace(0, len(values), self.steps + 1))[:, None]
        return np.concatenate([place >= done, place < done])

    def _figure(self, curves: Mapping[str, Floats], which: int) -> Curves:
        points = [
            Point(x=step / self.steps, y=round(float(y), 4), series=METHODS[name].title)
            for name, of_name in curves.items()
            for step, y in enumerate(of_name[:, which].mean(0))
        ]
        done = ("taken away", "put back")[which]
        return Curves(
            title=("Deletion", "Insertion")[which],
            x_title=f"share {done}, highest ranked first",
            y_title="log-odds of the predicted class",
            points=tuple(points),
            x_percent=True,
            note=("The lower the better.", "The higher the better.")[which],
        )


def _gains(method: Floats, random: Floats) -> tuple[Floats, Floats]:
    """Areas between the curves of a method and of chance, positive where the method is better, (examples,) each."""
    between = random - method
    lead = (between[:, :, 1:] + between[:, :, :-1]).mean(2) / 2  # the trapezoid rule over a unit interval
    return lead[:, 0], -lead[:, 1]
