"""How much of a protected attribute is left in the inputs, in the network and in the scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from audit import statistics
from audit.check import Check, Effort
from audit.checks.fairness._bounded import drawn
from audit.checks.fairness._groups import percent, told, withheld
from audit.fairness import attributes
from reports.record import Bar, Bars, Cell, Estimate, Measured, Table

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from audit.checks.fairness._readable import Readable
    from audit.datasets import Dataset
    from audit.fairness.attributes import Levels
    from audit.fairness.probes import Told
    from audit.subject import Subject

    Floats = NDArray[np.float64]

INPUTS, EMBEDDING, SCORES = "inputs", "embedding", "scores"
CURVED = "curved"
Row = tuple[Cell, ...]


@dataclass(frozen=True)
class Traces(Check):
    """Traces of protected attributes.

    What it measures:
        How well a person's group can be told from the inputs without the attribute itself, from what the network holds
        just before its scores, and from the scores alone: the area under the ROC curve of each group against all others,
        and the balanced accuracy, of a linear probe (ridge regression; at higher effort also one with curves) on rows
        that it was not fitted to. Each is held against the same probe fitted anew to groups dealt at random. For the
        inputs it is also tested which of them tell the group by themselves.
    Why it matters:
        Leaving an attribute out does not keep a model from it. What tells the group is there to be used, by this model
        or by whatever is built on its embedding.
    How to read it:
        An area of 0.5 is chance, 1 is certainty; balanced accuracy is chance at one over the number of groups. An
        embedding that tells more than the inputs means that the attribute was an input or that the network sharpened it;
        one that tells less, that the network let go of it. Telling is not using: which features carry the attribute into
        the answers, and how much, is what explain.proxies measures. Whether a group is told at all is for the p-values,
        which are adjusted over groups and sources, to say: the intervals leave out how the probe varies with the rows it
        is fitted to, so that one near 0.5 may miss it by chance.

    References:
        Alain and Bengio 2017 (linear probes); Elazar and Goldberg 2018 (attributes left in embeddings); Westfall and Young
        1993 (max-T); Rahimi and Recht 2007 (random cosines).
    """

    efforts: ClassVar[Mapping[Effort, Mapping[str, Any]]] = {
        Effort.QUICK: {"people": 1500, "permutations": 99, "waves": 0},
        Effort.EXHAUSTIVE: {"people": 10000, "permutations": 999, "waves": 1024},
    }

    #: rows that are looked at
    people: int = 4000
    permutations: int = 199
    #: random cosines of the probe with curves; 0: a linear probe only
    waves: int = 256
    #: rows below which groups are joined
    least: int = 20
    #: groups, and single inputs, shown for each attribute
    top: int = 8

    def unfit(self, subject: Subject, data: Dataset) -> str | None:
        """Needs an attribute with two groups."""
        return attributes.lacking(data, self.least)

    def run(self, subject: Subject, data: Dataset, rng: np.random.Generator) -> Measured:
        """See the class."""
        from audit.checks.fairness._embedding import embedding

        _, sample, parts = drawn(data, self.people, self.least, rng)
        # at most 25 groups of an attribute: a probe of a few rows tells nothing
        least = max(self.least, len(sample) // 25)
        held = embedding(subject, sample)
        scores = subject.predict(sample.inputs).double().log_softmax(1).numpy()
        estimates: dict[str, Estimate] = {}
        headline: list[str] = []
        areas, accuracies, singles = list[Row](), list[Row](), list[Row]()
        for name, whole in parts.items():
            groups = attributes.joined(whole, least)
            headline += [f"told_by_{source}@{name}" for source in (INPUTS, EMBEDDING, SCORES)]
            rows = groups.code >= 0
            inputs = _rows(sample, name, rows)
            within = {} if isinstance(held, str) else {EMBEDDING: held[rows]}
            matrices = {INPUTS: inputs.matrix, **within, SCORES: scores[rows]}
            if len(groups.names) < 2:
                reason = f"needs two groups of at least {self.least} rows"
                estimates |= {key: statistics.undefined(reason, n=len(sample)) for key in headline[-3:]}
                continue
            if isinstance(held, str):
                estimates[f"told_by_{EMBEDDING}@{name}"] = statistics.undefined(held, n=int(rows.sum()))
            found = self._told(matrices, groups.code[rows], len(groups.names), rng)
            for source, one in found.items():
                measured = _areas(one, groups, rows)
                estimates[f"told_by_{source}@{name}"] = _mean(list(measured.values()))
                shown = sorted(measured, key=lambda group: -(measured[group].value or 0.0))[: self.top]
                estimates |= {f"told_by_{source}@{name}={groups.names[g]}": measured[g] for g in shown}
                areas += [(name, source, groups.names[g], measured[g], told(float(one.p[g]))) for g in shown]
                width = matrices[source.removesuffix(f"_{CURVED}")].shape[1]
                accuracy = _balanced(one, groups, rows)
                estimates[f"balanced_accuracy_{source}@{name}"] = accuracy
                accuracies.append((name, source, accuracy, percent(1 / len(groups.names)), width))
            singles += self._singles(name, inputs, groups, rows, rng)
        return self._measured(estimates, headline, areas, accuracies, singles, held, withheld(data))

    def _told(
        self, matrices: dict[str, Floats], code: NDArray[np.int64], groups: int, rng: np.random.Generator
    ) -> dict[str, Told]:
        from audit.fairness.probes import lifted, told

        if self.waves:
            matrices = matrices | {
                f"{source}_{CURVED}": lifted(matrix, self.waves, rng) for source, matrix in matrices.items()
            }
        return told(matrices, code, groups, self.permutations, rng)

    def _singles(
        self, name: str, inputs: Readable, groups: Levels, rows: NDArray[np.bool_], rng: np.random.Generator
    ) -> list[Row]:
        """The inputs that tell most by themselves."""
        import numpy as np

        from audit.fairness.probes import dealings, folds, singled

        if not inputs.names:
            return []
        code = groups.code[rows]
        dealt = dealings(code, folds(code, rng), self.permutations, rng)
        explained, p = singled(inputs.matrix, inputs.columns, code, dealt)
        order = np.lexsort((-explained, p))[: self.top]
        return [(name, inputs.names[i], percent(float(explained[i])), told(float(p[i]))) for i in order]

    def _measured(
        self,
        estimates: dict[str, Estimate],
        headline: list[str],
        areas: list[Row],
        accuracies: list[Row],
        singles: list[Row],
        held: Floats | str,
        hidden: tuple[str, ...],
    ) -> Measured:
        tables = [
            Table(
                title="How well each group is told from all others",
                columns=("attribute", "from", "group", "area under the ROC curve", "p"),
                rows=tuple(areas),
                note=f"At most {self.top} groups of each attribute and source, the best told first.",
            ),
            Table(
                title="How often a row's group is named rightly, each group counting the same",
                columns=("attribute", "from", "balanced accuracy", "by chance", "numbers per row"),
                rows=tuple(accuracies),
            ),
            Table(
                title="Single inputs that tell most",
                columns=("attribute", "input", "of the groups' variance", "p"),
                rows=tuple(singles),
                note="The share of the groups' variance along the input alone; p is adjusted over all inputs.",
            ),
        ]
        bars = tuple(
            Bar(label=f"{key.split('@')[1]}: {key.split('@')[0][8:]}", value=e.value, low=e.low, high=e.high)
            for key, e in estimates.items()
            if key.startswith("told_by_") and "=" not in key and e.value is not None
        )
        figure = Bars(title="What tells the group", x_title="mean area under the ROC curve", bars=bars, reference=0.5)
        return Measured(
            estimates=estimates,
            headline=tuple(headline),
            tables=tuple(table for table in tables if table.rows),
            figures=(figure,) if bars else (),
            notes=(*((f"Nothing is said of the embedding: {held}.",) if isinstance(held, str) else ()), *hidden),
        )


def _rows(sample: Dataset, name: str, rows: NDArray[np.bool_]) -> Readable:
    """The inputs of some rows, the attribute itself left out."""
    from dataclasses import replace

    from audit.checks.fairness._readable import readable

    found = readable(sample, name)
    return replace(found, matrix=found.matrix[rows])


def _areas(one: Told, groups: Levels, rows: NDArray[np.bool_]) -> dict[int, Estimate]:
    code = groups.code[rows]
    return {g: statistics.auroc(one.scores[code == g, g], one.scores[code != g, g]) for g in groups.compared}


def _mean(found: list[Estimate]) -> Estimate:
    """Mean over groups; the means of the ends are wide enough however the groups hang together."""
    ends = [(e.value, e.low, e.high) for e in found if e.value is not None and e.low is not None and e.high is not None]
    if not ends:
        return statistics.undefined("no group could be told from others")
    value, low, high = (sum(x) / len(ends) for x in zip(*ends, strict=True))
    return Estimate(value=value, low=low, high=high, n=found[0].n, method=found[0].method)


def _balanced(one: Told, groups: Levels, rows: NDArray[np.bool_]) -> Estimate:
    code, named = groups.code[rows], one.scores.argmax(1)
    parts = [
        statistics.proportion(int((named[code == g] == g).sum()), int((code == g).sum()))
        for g in range(len(groups.names))
    ]
    mean = _mean(parts)
    return Estimate(
        value=mean.value, low=mean.low, high=mean.high, n=len(code), method="mean of Wilson 95 %", unit="fraction"
    )
