"""Whether the explanations would find a shortcut in this very task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from audit import statistics
from audit.check import Check, Effort
from audit.explaining.methods import METHODS, methods_of
from audit.subject import Capability, Modality
from reports.record import Bar, Bars, Estimate, Measured, Table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from audit.checks.explain._planting import Mark
    from audit.datasets import Dataset
    from audit.explaining.attributions import Attributions, Values
    from audit.subject import Subject


@dataclass(frozen=True)
class Selftest(Check):
    """A planted shortcut, and who finds it.

    What it measures:
        A copy of the model is trained on with a mark that gives one answer away: a chequered corner of a picture, a rare
        value in the column the model uses least, a rare word in front of a text. A twin gets the same rows with the same
        marks, which tell it nothing. Both are then explained on marked examples. The hit rate is the share of examples
        in which a method ranks the mark first in the copy; the area under the ROC curve says how well the mark's share
        of all magnitudes tells the copy from its twin.
    Why it matters:
        Nobody knows the true reasons of the audited model, so nobody can see whether a method finds them. In the copy the
        truth is known. A method that misses a planted shortcut in this task would miss a real one.
    How to read it:
        A hit rate near 100 % and an area near 1 are a pass. A high hit rate with an area near one half means that the
        method names the mark in the clean twin too: it shows the input, not the model. The bar of the random ranking
        is chance. Where the copy did not learn the shortcut there is nothing to find, and the figures are undefined.
        The audited model is not touched.

    References:
        Adebayo et al. 2020 (debugging tests for explanations); Yang and Kim 2019 (planted truth); Zhou et al. 2022; Gu
        et al. 2017 (how the mark is taught).
    """

    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.TRAIN})
    efforts: ClassVar[Mapping[Effort, Mapping[str, Any]]] = {
        Effort.QUICK: {
            "methods": ("kernel_shap", "deep_lift", "saliency", "attention_rollout", "random"),
            "examples": 48,
            "media": 12,
            "evaluations": 96,
            "steps": 50,
            "batch": 32,
        },
        Effort.EXHAUSTIVE: {
            "methods": tuple(METHODS),
            "examples": 400,
            "media": 100,
            "evaluations": 1024,
            "steps": 400,
            "learned": 10000,
        },
    }

    methods: tuple[str, ...] = tuple(name for name in METHODS if name not in ("integrated_gradients", "smooth_grad"))
    #: examples of tables
    examples: int = 128
    #: examples of pictures and texts
    media: int = 24
    #: coalitions asked for in each example
    evaluations: int = 256
    #: training rows that stand for "removed" (tables)
    background: int = 16
    #: training rows the copies learn from
    learned: int = 2000
    #: steps of the optimiser
    steps: int = 100
    #: rows of a step
    batch: int = 48
    #: learning rate
    rate: float = 0.003

    def unfit(self, subject: Subject, data: Dataset) -> str | None:
        """Needs training data, weights, two classes and, in tables, columns."""
        if data.train is None:
            return "no training data are given"
        if len(subject.classes) < 2:
            return "the model has one class"
        if subject.modality is Modality.TABULAR and len(data.features) < 2:
            return "the table has no two features"
        if not methods_of(subject, self.methods):
            return f"none of {', '.join(self.methods)} applies to this checkpoint"
        return None if any(p.is_floating_point() for p in subject.model.parameters()) else "the model has no weights"

    def run(self, subject: Subject, data: Dataset, rng: np.random.Generator) -> Measured:
        """See the class."""
        from audit.checks.explain._planting import Lesson, follows, mark, taught

        assert data.train is not None
        planted = mark(subject, data, rng)
        names = methods_of(subject, self.methods)
        if planted is None:
            return _undefined(names, "no column varies, or no known word is rare")
        # the rarest answer is the one that a mark, and nothing else, turns most examples to
        counts = np.bincount(subject.scores(data).argmax(1).numpy(), minlength=len(subject.classes))
        answer = int(counts.argmin())
        lesson = Lesson(self.learned, self.steps, self.batch, self.rate)
        seed = int(rng.integers(2**31))
        copy, twin = (taught(subject, data.train, planted, answer, lesson, kind, seed) for kind in (True, False))
        size = self.examples if subject.modality is Modality.TABULAR else self.media
        pool = data.sample(4 * size, rng)
        followed = follows(copy, pool, planted, answer)
        learned = statistics.proportion(int(followed.sum()), len(followed))
        baseline = follows(twin, pool, planted, answer)
        estimates = {
            "learned": learned,
            "followed_by_twin": statistics.proportion(int(baseline.sum()), len(baseline)),
        }
        if learned.low is None or learned.low <= 0.5:
            shown = "none" if learned.value is None else f"{learned.value:.0%}"
            reason = f"the copy did not learn the shortcut: {shown} of its answers follow the mark; try more steps"
            missing = _undefined(names, reason)
            return missing.model_copy(update={"estimates": {**estimates, **missing.estimates}})
        rows = _turning(copy, pool, planted, answer, size)
        found, refused = self._explained(copy, twin, rows, data.train, planted, answer, names, rng)
        lines = []
        for name, (of_copy, of_twin) in found.items():
            first, share = _places(of_copy, planted)
            _, clean = _places(of_twin, planted)
            hit = statistics.proportion(int((first == 1).sum()), len(first))
            area = statistics.auroc(share, clean)
            place = statistics.quantile(first, 0.5)
            estimates |= {f"hit_rate@{name}": hit, f"auroc@{name}": area, f"rank@{name}": place}
            lines.append((METHODS[name].title, hit, area, place, statistics.mean(share, "fraction")))
        bars = tuple(
            Bar(label=line[0], value=line[1].value, low=line[1].low, high=line[1].high)
            for line in lines
            if line[1].value is not None
        )
        return Measured(
            estimates=estimates,
            headline=("learned", *(f"hit_rate@{name}" for name in found if name != "random")),
            tables=(
                Table(
                    title="Who finds the planted shortcut",
                    columns=("method", "ranked first", "area: copy against twin", "median rank", "share of magnitudes"),
                    rows=tuple(lines),
                    note=f"Of about {np.mean([len(v) for v in next(iter(found.values()))[0]]):.0f} features, cells or words."
                    if found
                    else "",
                ),
            ),
            figures=(
                Bars(
                    title="Examples in which the mark is ranked first",
                    x_title="share of examples",
                    bars=bars,
                    percent=True,
                ),
            )
            if bars
            else (),
            notes=(
                f"The mark is {planted.name}; it gives {data.classes[answer]!r} away. {learned.value or 0:.0%} of other answers "
                f"turn to it in the copy, {estimates['followed_by_twin'].value or 0:.0%} in the twin.",
                f"{len(rows)} test examples; {self.steps} steps of {self.batch} rows taught the copies.",
                *(f"{METHODS[name].title} refuses the copy: {why}" for name, why in refused.items()),
            ),
        )

    def _explained(
        self,
        copy: Subject,
        twin: Subject,
        rows: Dataset,
        train: Dataset,
        mark: Mark,
        answer: int,
        names: list[str],
        rng: np.random.Generator,
    ) -> tuple[dict[str, tuple[Values, Values]], dict[str, str]]:
        """Values of the marked rows by each method, for the copy and for its twin; who refuses, and why."""
        import torch

        from audit.checks.explain._planting import marked
        from audit.explaining.attributions import attribute_each

        shown = marked(rows, mark, on=True)
        background = marked(train.sample(self.background, rng), mark, on=False)
        seed = int(rng.integers(2**31))
        of_both: list[dict[str, Attributions]] = []
        refused: dict[str, str] = {}
        for one, targets in (
            (copy, torch.full((len(rows),), answer, dtype=torch.int64)),
            (twin, twin.predict(shown.inputs).argmax(1)),
        ):
            draws = np.random.default_rng(seed)
            found, refusals = attribute_each(names, one, shown, targets, draws, background, self.evaluations)
            of_both.append(found)
            refused |= refusals
        first, second = of_both
        return {name: (first[name].values, second[name].values) for name in first if name in second}, refused


def _turning(copy: Subject, pool: Dataset, mark: Mark, answer: int, size: int) -> Dataset:
    """Rows that the mark, and nothing else, turns to the answer."""
    before = copy.predict(mark.off(pool.inputs)).argmax(1).numpy()
    after = copy.predict(mark.on(pool.inputs)).argmax(1).numpy()
    return pool.take(np.flatnonzero((before != answer) & (after == answer))[:size])


def _places(values: Values, mark: Mark) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rank of the mark among each example's players (1 is the strongest; ties at their worst), and its share."""
    ranks, shares = [], []
    for of_row in values:
        size, own = np.abs(of_row), mark.players(len(of_row))
        strongest = float(size[own].max(initial=0.0))
        ranks.append(1.0 + int((size[~own] >= strongest).sum()))
        shares.append(float(size[own].sum() / size.sum()) if size.sum() > 0 else 0.0)
    return np.array(ranks), np.array(shares)


def _undefined(names: list[str], reason: str) -> Measured:
    estimates: dict[str, Estimate] = {
        f"{what}@{name}": statistics.undefined(reason) for name in names for what in ("hit_rate", "auroc", "rank")
    }
    return Measured(estimates=estimates, headline=tuple(f"hit_rate@{name}" for name in names if name != "random"))
