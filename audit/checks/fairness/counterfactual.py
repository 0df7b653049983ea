"""Whether the same person is treated otherwise as a member of another group."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from audit import statistics
from audit.check import Check, Effort
from audit.checks.fairness._bounded import drawn
from audit.checks.fairness._groups import told, withheld
from audit.errors import DataError
from audit.fairness.attributes import NO_GROUPS, positive
from audit.fairness.individuals.paired import net, one_way, sign_flip
from audit.subject import Modality
from reports.record import Bar, Bars, Cell, Estimate, Measured, Table

if TYPE_CHECKING:
    from audit.checks.fairness._versions import Comparison
    from audit.datasets import Dataset
    from audit.fairness.attributes import Levels
    from audit.subject import Subject

UNSEEN = (
    "the model is not given {} and cannot react to it itself; stand-ins are measured in explain.proxies and "
    "fairness.traces"
)
#: characters of a text that are shown
SHOWN = 160


@dataclass(frozen=True)
class Counterfactual(Check):
    """The same person in another group.

    What it measures:
        Tables: every row gets each other value of a protected attribute, while all else stays. Texts: identity terms
        (he, she, Muslim, Christian, ...) are exchanged with their grammar. Then: the share of rows whose answer at
        least one other version changes; for each group, the share of its members to whom membership gives the
        favourable answer less the share from whom it takes it (net favour, an average over the other groups); and the
        mean effect of membership on the favourable probability (tables) or log-odds (texts). In texts, every text
        that names one group more than others is taken in the version of each group.
    Why it matters:
        It asks who is treated differently because of the attribute alone, and in which direction. Group rates cannot say:
        they differ for many reasons, and can agree while individuals are treated unequally.
    How to read it:
        Net favour below 0: members lose by being members. Answers can change both ways and cancel out; the share that
        changes shows it. P-values ask whether changes go one way (McNemar's mid-p for answers between two groups,
        random signs otherwise); p-values and intervals of groups allow for all groups of all attributes. What stands
        in for the attribute is not changed with it: no change here is no proof of fairness. Swapped texts can read
        oddly, which moves scores by itself, though seldom one way; and what is found holds for these terms, not for
        all that a group is called.

    References:
        Kusner et al. 2017 (counterfactual fairness); Garg et al. 2019 (counterfactual token fairness); Fagerland et al.
        2013 (McNemar mid-p); Agresti and Min 2005; Fisher 1935; Holm 1979.
    """

    modalities: ClassVar[frozenset[Modality]] = frozenset(Modality)
    efforts: ClassVar[Mapping[Effort, Mapping[str, Any]]] = {
        Effort.QUICK: {"people": 10_000, "texts": 100, "permutations": 999},
        Effort.EXHAUSTIVE: {"people": 100_000, "texts": 5000, "permutations": 99_999},
    }

    #: rows of a table that get every value, texts that are searched for terms
    people: int = 20_000
    #: texts of each family of terms
    texts: int = 1000
    permutations: int = 9999
    #: rows below which groups are joined; texts below which a family of terms is not compared
    least: int = 20
    #: families of one's own, a row of terms each: "caste: Brahmin | Dalit"; rows of one family stand one to one
    terms: tuple[str, ...] = ()
    #: texts shown
    examples: int = 6

    def unfit(self, subject: Subject, data: Dataset) -> str | None:
        """Tables need a protected attribute among the inputs; a picture cannot be given another group."""
        if data.modality is Modality.TEXT:
            return None
        if not data.groups:
            return NO_GROUPS
        if data.modality is Modality.IMAGE:
            return "a picture cannot be given another group: nobody knows what else would change in it"
        if not any(feature.name in data.groups for feature in data.features):
            return UNSEEN.format(" and ".join(data.groups))
        return None

    def run(self, subject: Subject, data: Dataset, rng: np.random.Generator) -> Measured:
        """See the class."""
        _, sample, parts = drawn(data, self.people, self.least, rng)
        estimates: dict[str, Estimate] = {}
        favourable = f"The favourable class is {data.classes[positive(data)]!r}"
        notes = [f"{favourable}{'' if data.favourable is not None else ', the last: none is declared'}."]
        if isinstance(sample.inputs, list):
            compared = self._texts(subject, sample, estimates, notes, rng)
        else:
            compared = self._table(subject, sample, parts, estimates, notes)
        tests = [(one, group) for one in compared for group in self._groups(one)]
        if not tests:
            return Measured(estimates=estimates, notes=tuple(notes))
        found = [self._group(one, group, len(tests), rng) for one, group in tests]
        p_answers, p_scores = (statistics.holm([p[which] for _, _, p in found]) for which in (0, 1))
        lines: list[tuple[Cell, ...]] = []
        changed = "log_odds_effect" if data.modality is Modality.TEXT else "probability_effect"
        for one in compared:
            turned = one.answers.turned()
            estimates[f"answers_changed@{one.name}"] = statistics.proportion(int(turned.sum()), len(turned))
        for i, ((one, group), (favour, effect, _)) in enumerate(zip(tests, found, strict=True)):
            at, of_group = f"{one.name}={one.groups[group]}", one.answers.own == group
            turned = one.answers.turned()[of_group]
            share = None if one.before else statistics.proportion(int(turned.sum()), len(turned))
            estimates |= {f"net_favour@{at}": favour, f"{changed}@{at}": effect}
            estimates |= {f"answers_changed@{at}": share} if share else {}
            p = (told(float(p_answers[i])), told(float(p_scores[i])))
            lines.append((one.name, one.groups[group], share, favour, p[0], effect, p[1]))
        # the group that is most surely worse off
        ends = {name: e.high for name, e in estimates.items() if name.startswith("net_favour@") and e.high is not None}
        worst = min(ends, key=lambda name: ends[name], default=None)
        columns = ("attribute", "group", "answers turned", "net favour", "p, answers", "effect on scores", "p, scores")
        table = Table(
            title="What membership of a group does",
            columns=columns,
            rows=tuple(lines),
            note="Below 0: being of the group costs. P-values are adjusted over all groups of all attributes.",
        )
        headline = (*(f"answers_changed@{one.name}" for one in compared), *((worst,) if worst else ()))
        return Measured(
            estimates=estimates,
            headline=headline,
            tables=(table, *self._shown(compared)),
            figures=tuple(bars for bars in self._bars(tests, estimates, changed) if bars.bars),
            notes=(*notes, *withheld(data)),
        )

    def _table(
        self,
        subject: Subject,
        sample: Dataset,
        parts: Mapping[str, Levels],
        estimates: dict[str, Estimate],
        notes: list[str],
    ) -> list[Comparison]:
        from audit.checks.fairness._versions import of_table

        seen = {feature.name: feature for feature in sample.features if feature.name in sample.groups}
        for name in sample.groups:
            if name not in seen:
                estimates[f"answers_changed@{name}"] = statistics.undefined(
                    UNSEEN.format(name), n=len(sample), unit="fraction"
                )
                unseen = UNSEEN.format(name)
                notes.append(f"{unseen[0].upper()}{unseen[1:]}.")
        found = [of_table(subject, sample, feature, parts[name]) for name, feature in seen.items()]
        notes.append(f"{len(sample):,} test rows, each given the values of all other groups.")
        return [one for one in found if len(one.groups) > 1]

    def _texts(
        self,
        subject: Subject,
        sample: Dataset,
        estimates: dict[str, Estimate],
        notes: list[str],
        rng: np.random.Generator,
    ) -> list[Comparison]:
        from audit.checks.fairness._versions import of_texts
        from audit.fairness.individuals.swaps import lexicon

        assert isinstance(sample.inputs, list)
        words = lexicon(self._own())
        found, tied = [], 0
        for name, family in words.families.items():
            one, number = of_texts(subject, sample.inputs, family, positive(sample), self.texts, rng)
            estimates[f"texts@{name}"] = statistics.exact(number, len(sample), unit="texts")
            if one is not None and number < self.least:
                reason = f"needs {self.least} texts that name a group, found {number}"
                estimates[f"answers_changed@{name}"] = statistics.undefined(reason, n=number, unit="fraction")
            elif one is not None:
                found.append(one)
                tied += int((one.answers.own < 0).sum())
        spoken = sum(any(family.find(text) for family in words.families.values()) for text in sample.inputs)
        estimates["texts_without_terms"] = statistics.exact(len(sample) - spoken, len(sample), unit="texts")
        notes.append(
            f"{len(sample):,} texts were searched with version {words.version} of the lexicon of English identity terms; "
            f"{len(sample) - spoken:,} hold none and are not scored. At most {self.texts} of each family are."
        )
        if tied:
            notes.append(
                f"{tied} texts name two groups equally often: their answers are watched, but have no direction."
            )
        if sample.groups:
            notes.append(
                "Terms in the texts are exchanged; the declared groups of their authors or subjects are not used."
            )
        return found

    def _own(self) -> dict[str, list[list[str]]]:
        """The terms of the plan, by family.

        Raises:
            DataError: one is not written "family: term | term".
        """
        found: dict[str, list[list[str]]] = {}
        for row in self.terms:
            name, colon, words = row.partition(":")
            if not colon or "|" not in words or not name.strip():
                raise DataError(f"Expected terms such as 'caste: Brahmin | Dalit', found {row!r}; try writing it so.")
            found.setdefault(name.strip(), []).append([word.strip() for word in words.split("|")])
        return found

    def _groups(self, one: Comparison) -> list[int]:
        """Groups that are held against the others: those of members, and in texts one of two, which says it all."""
        if not one.before:
            return list(range(len(one.groups)))
        there = (~np.isnan(one.answers.score[one.answers.own >= 0])).sum(0)
        groups = [group for group in range(len(one.groups)) if there[group]]
        return groups[-1:] if len(one.groups) == 2 else groups

    def _group(
        self, one: Comparison, group: int, of: int, rng: np.random.Generator
    ) -> tuple[Estimate, Estimate, tuple[float, float]]:
        """Net favour, mean effect, and the p-values of both before adjustment."""
        rows = one.answers.own >= 0 if one.before else one.answers.own == group
        favour, effect = one.answers.favour(group, rows), one.answers.effect(group, rows)
        favour, effect = favour[~np.isnan(favour)], effect[~np.isnan(effect)]
        p = one_way(favour, self.permutations, rng), sign_flip(effect, self.permutations, rng)
        unit = "log-odds" if one.before else "fraction"
        return net(favour, of), statistics.mean(effect, unit, of), p

    def _shown(self, compared: list[Comparison]) -> list[Table]:
        """The texts whose score a swap moves most."""
        lines = []
        for one in compared:
            for row, versions in enumerate(one.after):
                moved = np.abs(one.answers.score[row] - one.answers.now[row])
                if np.nanmax(moved) > 0:
                    at = int(np.nanargmax(moved))
                    change = float(one.answers.score[row, at] - one.answers.now[row])
                    turned = "yes" if one.answers.answer[row, at] != one.answers.before[row] else ""
                    cells = (one.name, one.before[row][:SHOWN], (versions[at] or "")[:SHOWN], round(change, 3), turned)
                    lines.append((-abs(change), cells))
        lines.sort(key=lambda line: (line[0], line[1][1]))
        if not lines:
            return []
        return [
            Table(
                title="Texts that a swap moves most",
                columns=("family", "as it is", "swapped", "change of the log-odds", "turns the answer"),
                rows=tuple(cells for _, cells in lines[: self.examples]),
            )
        ]

    def _bars(self, tests: list[tuple[Comparison, int]], estimates: dict[str, Estimate], changed: str) -> list[Bars]:
        titles = {
            "net_favour": ("Net favour of membership", "share who win the favourable answer less share who lose it"),
            changed: ("Effect of membership", changed.replace("_", " ").replace(" effect", "")),
        }
        return [
            Bars(
                title=title,
                x_title=x_title,
                bars=tuple(
                    Bar(
                        label=f"{one.name} = {one.groups[group]}",
                        value=e.value,
                        low=e.low,
                        high=e.high,
                        series=one.name,
                    )
                    for one, group in tests
                    for e in [estimates[f"{kind}@{one.name}={one.groups[group]}"]]
                    if e.value is not None
                ),
                reference=0.0,
                percent=kind != "log_odds_effect",
                note="Below 0, being of the group costs; intervals hold together.",
            )
            for kind, (title, x_title) in titles.items()
        ]
