"""Whether explanations point at what moves the answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from audit import statistics
from audit.check import Check, Effort
from audit.explaining.methods import method, methods_of
from audit.explaining.rankings import curves, gains, operators
from audit.subject import Modality
from reports.record import Curves, Estimate, Measured, Metric, Point, Score, Scoreboard, ScoreRow, Table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from audit.datasets import Dataset
    from audit.subject import Subject

    Floats = NDArray[np.float64]

UNIT = "log-odds"

#: what stands for what was taken away
NOTES = {
    "background": "rows of the training data",
    "mean": "the mean",
    "neighbours": "the nearest rows of the training data",
    "blur": "the picture's own blur",
    "pictures": "other pictures",
    "road": "what the neighbouring pixels suggest (ROAD)",
    "mask": "the mask token",
    "delete": "nothing, the text closes up",
    "words": "words of other texts",
}


@dataclass(frozen=True)
class Faithfulness(Check):
    """Faithfulness of the explanations.

    What it measures:
        Features, cells or words are taken away from the one an explanation ranks highest downwards (deletion), and
        put back in the same order (insertion), while the log-odds of the predicted class are watched. A faithful ranking
        makes them fall fast and rise fast. The gain is the area between the curve of the explanation and the
        one of random rankings of the same examples; faithfulness is the mean of the two gains. It is measured with
        several things standing for what was taken away, and for fakes that never saw the model: a picture's edges and
        lightness, a table's values, the length of words.
    Why it matters:
        A picture of an explanation always looks plausible. Only a test on the model itself tells an explanation that
        names what the model uses from one that does not.
    How to read it:
        Above 0 the explanation is better than chance, in units of log-odds averaged over the whole curve; an interval that
        includes 0 is no evidence that it says anything. Compare methods on the same model only. Removing makes
        unusual inputs, each way of removing others, and the first one shown is the one SHAP plays with, which favours
        it: trust a verdict that all of them support. Attention rollout knows no sign, so it cannot tell what speaks for a
        class from what speaks against it. In pictures an edge detector may beat chance because the thing itself has edges,
        so an explanation that is no better than the best fake has shown the input, not the model.

    References:
        Samek et al. 2017 and Petsiuk et al. 2018 (deletion and insertion); Rong et al. 2022 (ROAD); Tomsett et al. 2020
        (limits).
    """

    version: ClassVar[int] = 3
    efforts: ClassVar[Mapping[Effort, Mapping[str, Any]]] = {
        Effort.QUICK: {
            "methods": ("kernel_shap", "lime", "integrated_gradients", "attention_rollout"),
            "rows": 48,
            "media": 16,
            "evaluations": 256,
            "background": 16,
            "random": 5,
            "compared": 8,
        },
        Effort.EXHAUSTIVE: {
            "rows": 512,
            "media": 128,
            "evaluations": 2048,
            "background": 64,
            "random": 20,
            "compared": 64,
        },
    }

    methods: tuple[str, ...] = (
        "kernel_shap",
        "lime",
        "integrated_gradients",
        "deep_lift",
        "saliency",
        "attention_rollout",
        "gradient_rollout",
    )
    #: examples of tables
    rows: int = 128
    #: examples of pictures and texts
    media: int = 32
    #: of these, how many meet the other ways of taking away, some of which cost eight times as much
    compared: int = 16
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
        from audit.explaining.examples import examples
        from audit.explaining.fakes import TITLES, controls

        chosen = examples(subject, data, rng, self.rows, self.media, self.background)
        found, refused = chosen.attribute_each(methods_of(subject, self.methods), rng, self.evaluations)
        fakes = controls(chosen)
        rankings: dict[str, list[Floats]] = {name: [v[None] for v in of.values] for name, of in found.items()}
        rankings |= {name: [v[None] for v in values] for name, values in fakes.items()}
        sizes = [len(of_row) for of_row in next(iter(fakes.values()))]
        rankings["chance"] = [rng.random((self.random, size)) for size in sizes]
        played = np.array(sizes) > 1  # nothing can be ranked in a text of one word
        usual, *others = operators(subject.modality)
        most = len(sizes) if subject.modality is Modality.TABULAR else self.compared
        walks, left_out = {}, []
        for operator, number in ((usual, len(sizes)), *((operator, most) for operator in others)):
            some = {name: of_rows[:number] for name, of_rows in rankings.items()}
            try:
                walk = curves(chosen.first(number), some, self.steps, rng, operator)
            except ValueError as refusal:  # the data have nothing that could stand for what is taken away
                if operator == usual:
                    raise
                left_out.append(f"Not taken away in favour of {NOTES[operator]}: {refusal}")
                continue
            walks[operator] = {name: of_name[played[:number]] for name, of_name in walk.items()}
        titles = {**{name: method(name).title for name in found}, **TITLES}
        shown = [name for name in rankings if name != "chance"]
        leads = {
            (name, operator): statistics.mean(np.mean(gains(walk[name], walk["chance"]), axis=0), UNIT)
            for operator, walk in walks.items()
            for name in shown
        }
        estimates = self._estimates(list(found), walks[usual], leads)
        estimates |= _above_fakes(list(found), list(fakes), walks[usual])
        verdicts = {name: [_verdict(leads[name, operator]) for operator in walks] for name in shown}
        estimates["better_under_every_operator"] = _everywhere([verdicts[name] for name in found], bool(played.any()))
        return Measured(
            estimates=estimates,
            headline=(*(f"faithfulness@{name}" for name in found), "better_under_every_operator"),
            tables=(self._table(titles, found, estimates),),
            figures=(
                Scoreboard(
                    title="The verdict under each way of taking away",
                    metrics=tuple(Metric(label=operator, note=NOTES[operator]) for operator in walks),
                    rows=tuple(
                        ScoreRow(
                            label=titles[name],
                            scores=tuple(_score(leads[name, operator]) for operator in walks),
                        )
                        for name in shown
                    ),
                    note="Mean gain over random rankings, in log-odds. A verdict that changes from column to column is one "
                    "about the removal, not about the explanation. Rows without a model are fakes: where one of them is "
                    "better than chance, being so is no merit here.",
                ),
                *((self._figure(walks[usual], titles, k) for k in (0, 1)) if played.any() else ()),
            ),
            notes=(
                f"{int(played.sum())} test examples, at most {most} of them under the other operators; {self.random} random "
                "rankings of each.",
                f"Curves have {self.steps} steps from all to none, however many features, cells or words there are.",
                *(f"{titles[name]}: {_changes(verdicts[name])}." for name in found),
                *left_out,
                *refused.values(),
            ),
        )

    def _estimates(
        self, methods: Sequence[str], walk: Mapping[str, Floats], leads: Mapping[tuple[str, str], Estimate]
    ) -> dict[str, Estimate]:
        usual = next(iter(leads))[1]
        found: dict[str, Estimate] = {}
        for name in methods:
            deletion, insertion = gains(walk[name], walk["chance"])
            found[f"faithfulness@{name}"] = leads[name, usual]
            found[f"deletion_gain@{name}"] = statistics.mean(deletion, UNIT)
            found[f"insertion_gain@{name}"] = statistics.mean(insertion, UNIT)
        others = {f"faithfulness@{n},{operator}": e for (n, operator), e in leads.items() if operator != usual}
        return found | {name: e for name, e in others.items() if name.split("@")[1].split(",")[0] in methods}

    def _table(self, titles: Mapping[str, str], methods: Iterable[str], estimates: Mapping[str, Estimate]) -> Table:
        kinds = ("faithfulness", "deletion_gain", "insertion_gain", "above_fakes")
        return Table(
            title="Gain over random rankings",
            columns=("method", "faithfulness", "deletion gain", "insertion gain", "faithfulness above the best fake"),
            rows=tuple((titles[name], *(estimates[f"{kind}@{name}"] for kind in kinds)) for name in methods),
            note="Area between the curves, in log-odds of the predicted class; intervals over examples, paired.",
        )

    def _figure(self, walk: Mapping[str, Floats], titles: Mapping[str, str], which: int) -> Curves:
        points = [
            Point(x=step / self.steps, y=round(float(y), 4), series=titles.get(name, name))
            for name, of_name in walk.items()
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


def _above_fakes(methods: Sequence[str], fakes: Sequence[str], walk: Mapping[str, Floats]) -> dict[str, Estimate]:
    """By how much each method is more faithful than the best explanation that never saw the model, paired."""
    gain = {name: np.mean(gains(walk[name], walk["chance"]), axis=0) for name in (*methods, *fakes)}
    best = max(fakes, key=lambda name: float(gain[name].sum()))
    return {f"above_fakes@{name}": statistics.mean(gain[name] - gain[best], UNIT) for name in methods}


def _everywhere(verdicts: Sequence[Sequence[str]], played: bool) -> Estimate:
    """Share of the methods that are better than chance under all operators: a count, for methods are no sample."""
    if not played:
        return statistics.undefined("no example has two features, cells or words to rank", unit="fraction")
    better = sum(set(of_method) == {"better"} for of_method in verdicts)
    return statistics.exact(better / len(verdicts), len(verdicts), "fraction", method="count of methods")


def _verdict(lead: Estimate) -> str:
    """Better or worse than chance, or open: the interval decides."""
    if lead.low is None or lead.high is None:
        return "open"
    return "better" if lead.low > 0 else "worse" if lead.high < 0 else "open"


def _changes(verdicts: Sequence[str]) -> str:
    """How the verdicts of one method compare, in words."""
    counts = {word: verdicts.count(word) for word in ("better", "worse", "open")}
    if counts["better"] == len(verdicts):
        return f"better than chance under all {len(verdicts)} operators"
    said = ", ".join(f"{word} under {count}" for word, count in counts.items() if count)
    return f"the verdict depends on the operator: {said}" if len(set(verdicts)) > 1 else f"{verdicts[0]} under all"


def _score(lead: Estimate) -> Score | None:
    return None if lead.value is None else Score(value=lead, lead=lead)
