"""Which features stand in for a protected attribute, and whether the model makes use of that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from audit import statistics
from audit.check import Check, Effort
from audit.subject import Modality
from reports.record import Bar, Bars, Cell, Estimate, Measured, Table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from audit.checks.explain._carried import Response
    from audit.datasets import Dataset, Feature
    from audit.fairness.attributes import Levels
    from audit.subject import Subject

    Floats = NDArray[np.float64]

UNIT = "log-odds"


@dataclass(frozen=True)
class Proxies(Check):
    """Proxies of protected attributes.

    What it measures:
        How well all inputs together, and the model's answers alone, tell the protected attribute: the area under the ROC
        curve on rows not used to learn it, the attribute itself left out. For each feature of a table two things are
        then tested against permutations of the groups: whether its values go with the attribute, and how
        much the log-odds of the favourable class would move if the feature came from one group instead of the
        others, all else as it is (what it carries). It is named a proxy where both hold and the model relies on it: so
        many answers change when the feature is dealt from other rows that the whole interval lies above the margin.
    Why it matters:
        A model that is not given the attribute can still tell people apart by it, through a postcode, a job or a
        marital status. Deleting the attribute does not help then.
    How to read it:
        A feature that goes with the attribute but moves nothing is a harmless companion; one that moves a lot but goes
        with nobody is no proxy. A carried effect of 0.7 doubles the odds or halves them. An area of 0.5 is chance, 1
        is certainty. Naming is a finding of fact: whether the use is lawful is for people to say. P-values are adjusted
        for the number of features and groups.

    References:
        Westfall and Young 1993 (adjusted permutation tests, sharper than Holm's); Goldstein et al. 2015 (individual
        conditional expectations); Datta et al. 2017 (proxies: association and use); Prince and Schwarcz 2020.
    """

    efforts: ClassVar[Mapping[Effort, Mapping[str, Any]]] = {
        Effort.QUICK: {"rows": 256, "people": 4000, "permutations": 199},
        Effort.EXHAUSTIVE: {"rows": 2048, "people": 50000, "permutations": 4999},
    }

    #: rows whose answers are watched
    rows: int = 512
    #: rows that say how features and groups go together
    people: int = 10000
    permutations: int = 999
    #: chance of a false alarm for each attribute
    alpha: float = 0.05
    #: share of answers that must hang on a feature for the model to rely on it
    margin: float = 0.05
    #: rows below which groups are joined
    least: int = 20
    resamples: int = 200
    #: features shown for each attribute
    top: int = 12

    def unfit(self, subject: Subject, data: Dataset) -> str | None:
        """Needs an attribute with two groups."""
        from audit.fairness.attributes import lacking

        return lacking(data, self.least)

    def run(self, subject: Subject, data: Dataset, rng: np.random.Generator) -> Measured:
        """See the class."""
        from audit.fairness.attributes import groups

        sample = data.sample(self.people, rng)
        rows = np.sort(rng.choice(len(sample), size=min(self.rows, len(sample)), replace=False))
        responses = self._responses(subject, sample, rows)
        estimates: dict[str, Estimate] = {}
        headline: list[str] = []
        tables: list[Table] = []
        figures: list[Bars] = []
        for name, people in groups(sample, least=self.least).items():
            if len(people.names) < 2:
                reason = f"needs two groups of at least {self.least} rows"
                estimates[f"attribute_in_inputs@{name}"] = statistics.undefined(reason, n=len(sample))
                continue
            estimates |= self._told(subject, sample, name, people, rng)
            headline += [f"attribute_in_inputs@{name}", f"attribute_in_answers@{name}"]
            others = {feature: r for feature, r in responses.items() if feature.name != name}
            if others:
                found, table, bars = self._named(sample, name, people, others, rng)
                estimates |= found
                headline = [f"proxies@{name}", f"strongest_proxy@{name}", *headline]
                tables.append(table)
                figures.extend([bars] if bars.bars else [])
        kind = {Modality.IMAGE: "the mean colours of a picture's cells", Modality.TEXT: "the words of a text"}
        note = (
            f"What tells the attribute is a logistic regression on half of {len(sample)} test rows, read on the other."
        )
        without = kind.get(subject.modality)
        return Measured(
            estimates=estimates,
            headline=tuple(headline),
            tables=tuple(tables),
            figures=tuple(figures),
            notes=(note, *([f"Inputs are {without}; no single one of them is tested as a proxy."] if without else [])),
        )

    def _responses(self, subject: Subject, sample: Dataset, rows: NDArray[np.int64]) -> dict[Feature, Response]:
        import torch

        from audit.checks.explain._carried import respond

        if not sample.features:
            return {}
        own = subject.scores(sample)[torch.from_numpy(rows)].argmax(1)
        targets = own if sample.favourable is None else torch.full_like(own, sample.favourable)
        return {feature: respond(subject, sample, rows, targets, feature) for feature in sample.features}

    def _told(
        self, subject: Subject, sample: Dataset, name: str, groups: Levels, rng: np.random.Generator
    ) -> dict[str, Estimate]:
        """How well all inputs, and the answers, tell the attribute."""
        from audit.checks.explain._telling import Teller, readable

        own = [column for feature in sample.features if feature.name == name for column in feature.columns]
        answers, inputs = subject.scores(sample).double().log_softmax(1).numpy(), readable(sample, own)
        alone = statistics.undefined("the attribute is the only input", n=len(sample))
        return {
            f"attribute_in_inputs@{name}": Teller(inputs, groups, rng).estimate() if inputs.shape[1] else alone,
            f"attribute_in_answers@{name}": Teller(answers, groups, rng).estimate(),
        }

    def _named(
        self,
        sample: Dataset,
        name: str,
        groups: Levels,
        responses: Mapping[Feature, Response],
        rng: np.random.Generator,
    ) -> tuple[dict[str, Estimate], Table, Bars]:
        """The proxies of one attribute, and what every other feature tells and carries."""
        from audit.checks.explain._carried import tested
        from audit.checks.explain._telling import Teller, readable

        found = tested(list(responses.values()), groups, self.permutations, self.resamples, rng)
        own = [c for feature in sample.features if feature.name == name for c in feature.columns]
        place = {c: i for i, c in enumerate(np.delete(np.arange(readable(sample, []).shape[1]), own).tolist())}
        lost = Teller(readable(sample, own), groups, rng).losses(
            [[place[c] for c in feature.columns] for feature in responses], rng
        )
        lines: list[tuple[bool, float, str, tuple[Cell, ...]]] = []
        estimates: dict[str, Estimate] = {}
        for i, (feature, response) in enumerate(responses.items()):
            changed = statistics.clustered_proportion(response.changed, 1)
            of_groups = (found.p_tells[i] <= self.alpha) & (found.p_carries[i] <= self.alpha)
            relied = changed.low is not None and changed.low > self.margin
            # the group it says most about, a proven one first
            group = int(np.lexsort((found.carries[i], of_groups))[-1])
            carries = Estimate(
                value=float(found.carries[i, group]),
                low=float(found.low[i, group]),
                high=float(found.high[i, group]),
                n=len(sample),
                method=f"bootstrap 95 % ({self.resamples} resamples)",
                unit=UNIT,
            )
            proxy = bool(of_groups[group]) and relied
            estimates[f"carried@{name}:{feature.name}"] = carries
            verdict = "proxy" if proxy else ("companion" if found.p_tells[i, group] <= self.alpha else "")
            cells: tuple[Cell, ...] = (
                feature.name,
                verdict,
                groups.names[group],
                carries,
                changed,
                round(float(found.p_tells[i, group]), 4),
                round(float(found.p_carries[i, group]), 4),
                round(float(lost[i]), 3),
            )
            lines.append((proxy, float(found.carries[i, group]), feature.name, cells))
        lines.sort(key=lambda line: (not line[0], -line[1], line[2]))
        shown = lines[: max(self.top, sum(line[0] for line in lines))]
        estimates = {f"carried@{name}:{line[2]}": estimates[f"carried@{name}:{line[2]}"] for line in shown}
        proxies = [line for line in lines if line[0]]
        nothing = statistics.exact(0.0, len(sample), UNIT, method="no feature is named")
        strongest = estimates[f"carried@{name}:{proxies[0][2]}"] if proxies else nothing
        count = statistics.exact(len(proxies), len(lines), method="features that tell, carry and are relied on")
        table = Table(
            title=f"What stands in for {name}",
            columns=(
                "feature",
                "named",
                "group",
                "carries",
                "answers that hang on it",
                "p tells",
                "p carries",
                "area lost without it",
            ),
            rows=tuple(line[3] for line in shown),
            note="A companion tells the attribute, but the model does not make its answers hang on it. The area is that of "
            "all features together in telling the attribute; what others tell too is not lost.",
        )
        bars = tuple(
            Bar(
                label=line[2],
                value=e.value,
                low=e.low,
                high=e.high,
                series="proxy" if line[0] else "not named",
            )
            for line in shown
            for e in [estimates[f"carried@{name}:{line[2]}"]]
            if e.value
        )
        figure = Bars(
            title=f"What each feature carries of {name}",
            x_title="mean change of the log-odds if it came from one group instead of the others",
            bars=bars,
        )
        return {f"proxies@{name}": count, f"strongest_proxy@{name}": strongest, **estimates}, table, figure
