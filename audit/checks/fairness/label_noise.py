"""How many labels seem wrong in every group."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from audit.check import Check, Effort
from audit.checks.fairness._bounded import drawn
from audit.checks.fairness._groups import told, withheld
from audit.fairness.attributes import NO_GROUPS
from reports.record import Bar, Bars, Cell, Estimate, Measured, Table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from audit.datasets import Dataset
    from audit.fairness.attributes import Levels
    from audit.fairness.individuals.label_noise import Noise
    from audit.subject import Subject

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

#: classes that are shown apart, at most
CLASSES = 10


@dataclass(frozen=True)
class LabelNoise(Check):
    """Doubtful labels by protected group.

    What it measures:
        Confident learning on the test rows, within each group: a label is doubted where the model is surer of another
        class than it usually is of rows that carry that class. The share of doubted labels is given for each group and
        class, with the difference from all other groups together; beside it what the method finds where labels are
        drawn from the model's own probabilities, so that none is wrong, and by how much the doubt goes beyond that.
    Why it matters:
        Where one group's labels are worse, every figure of this report about that group is worse founded: its errors may be
        the label's and not the model's, and a model trained on such labels repeats them.
    How to read it:
        Doubt is no proof. Where classes overlap, hard rows are doubted though their labels are right: a share no larger than
        that of drawn labels may be overlap alone, and groups may differ because their overlap does (the comparison
        trusts the model to be calibrated; see fairness.calibration). A model that has
        learnt from labels with the same errors agrees with them, and a model biased against a group makes its right labels
        look wrong: have the rows most in doubt looked at by people before anything is concluded.

    References:
        Northcutt, Jiang and Chuang 2021 (confident learning); Westfall and Young 1993 (max-T).
    """

    efforts: ClassVar[Mapping[Effort, Mapping[str, Any]]] = {
        Effort.QUICK: {"rows": 10_000, "replicates": 100},
        Effort.EXHAUSTIVE: {"rows": 200_000, "replicates": 2000},
    }

    #: test rows
    rows: int = 20_000
    #: bootstrap resamples, and draws of labels
    replicates: int = 400
    #: rows below which groups are joined
    least: int = 20
    #: rows most in doubt that are listed
    listed: int = 20

    def unfit(self, subject: Subject, data: Dataset) -> str | None:
        """Skip where nobody is to be compared."""
        return None if data.groups else NO_GROUPS

    def run(self, subject: Subject, data: Dataset, rng: np.random.Generator) -> Measured:
        """See the class."""
        from audit.fairness.attributes import Levels
        from audit.fairness.individuals.label_noise import label_noise

        rows, sample, parts = drawn(data, self.rows, self.least, rng)
        scores = subject.scores(data).double().softmax(1).numpy()[rows]
        labels = sample.labels.numpy()
        everyone = Levels(np.zeros(len(rows), dtype=np.int64), ("all",))
        whole = label_noise(scores, labels, everyone.code, everyone.names, rng, self.replicates)
        estimates: dict[str, Estimate] = {"label_noise": whole.shares[0], "label_noise_overlap": whole.overlap[0]}
        lines = [_line("all", "all", whole, 0, data.classes)]
        bars: list[Bar] = []
        for attribute, part in parts.items():
            found = label_noise(scores, labels, part.code, part.names, rng, self.replicates)
            for group, name in enumerate(part.names):
                at = f"{attribute}={name}"
                estimates |= {
                    f"label_noise@{at}": found.shares[group],
                    f"label_noise_overlap@{at}": found.overlap[group],
                    f"label_noise_beyond_overlap@{at}": found.beyond[group],
                    f"label_noise_difference@{at}": found.differences[group],
                }
                lines.append(_line(attribute, name, found, group, data.classes))
                for series, e in (("labels as given", found.shares[group]), ("drawn labels", found.overlap[group])):
                    if e.value is not None:
                        bars.append(
                            Bar(label=f"{attribute} = {name}", value=e.value, low=e.low, high=e.high, series=series)
                        )
        shown = data.classes if len(data.classes) <= CLASSES else ()
        ends = {name: e.low for name, e in estimates.items() if "_beyond_overlap@" in name and e.low is not None}
        # the group of whose labels most are surely doubtful for another reason than overlap
        worst = max(ends, key=lambda name: ends[name], default=None)
        tables = [
            Table(
                title="Labels in doubt",
                columns=(
                    "attribute",
                    "group",
                    "labels in doubt",
                    "of drawn labels",
                    "difference from drawn",
                    "difference from all others",
                    "p",
                    *(f"of those labelled {name}" for name in shown),
                ),
                rows=tuple(lines),
                note="Drawn labels are right by construction. Differences from all others and p-values hold for all groups of an "
                "attribute together, the other intervals each by itself.",
            )
        ]
        # where small groups may not be told, neither may whom a single row is about
        named = {} if data.smallest_group > 1 else parts
        listed = self._listed(scores, labels, named, rows)
        if listed:
            tables.append(
                Table(
                    title="Rows most in doubt",
                    columns=("test row, counted from 0", *named, "label", "the model says"),
                    rows=tuple((*row[:-2], *(data.classes[at] for at in row[-2:])) for row in listed),
                )
            )
        figure = Bars(
            title="Labels in doubt by group",
            x_title="share of labels",
            bars=tuple(bars),
            percent=True,
            note="Drawn labels come from the model's own probabilities, so that none is wrong: what is in doubt there is "
            "overlap of the classes.",
        )
        return Measured(
            estimates=estimates,
            headline=("label_noise", *((worst,) if worst else ())),
            tables=tuple(tables),
            figures=(figure,) if bars else (),
            notes=(f"{len(rows):,} test rows, which the model is taken not to have learnt from.", *withheld(data)),
        )

    def _listed(self, scores: Floats, labels: Ints, parts: Mapping[str, Levels], rows: Ints) -> list[tuple[Any, ...]]:
        """The test rows most in doubt, whom they are about, their label, and what the model says."""
        from audit.fairness.individuals.label_noise import doubtful

        def group(part: Levels, row: int) -> str:
            return part.names[part.code[row]] if part.code[row] >= 0 else ""

        return [
            (int(rows[i]), *(group(part, i) for part in parts.values()), int(labels[i]), int(scores[i].argmax()))
            for i in doubtful(scores, labels, np.zeros(len(labels), dtype=np.int64), self.listed).tolist()
        ]


def _line(attribute: str, name: str, found: Noise, group: int, classes: tuple[str, ...]) -> tuple[Cell, ...]:
    p = found.p[group]
    shown = found.by_class[group] if len(classes) <= CLASSES else ()
    alone = attribute == "all"
    return (
        attribute,
        name,
        found.shares[group],
        found.overlap[group],
        found.beyond[group],
        None if alone else found.differences[group],
        None if p is None else told(p),
        *shown,
    )
