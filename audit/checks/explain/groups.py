"""For whom the explanations are good, and whether the same reasons count for everyone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from audit import statistics
from audit.check import Check, Effort
from reports.record import Bar, Bars, Cell, Estimate, Measured, Table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from audit.datasets import Dataset
    from audit.explaining.examples import Examples
    from audit.fairness.attributes import Levels
    from audit.subject import Subject

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

#: what is measured of every example -> its title and unit
KINDS = {
    "faithfulness": ("faithfulness", "log-odds"),
    "half_width": ("relative half width", "fraction"),
    "repeatability": ("rank correlation between seeds", ""),
}


@dataclass(frozen=True)
class Groups(Check):
    """Explanations for every group.

    What it measures:
        SHAP values of equally many examples of each protected group. Their faithfulness is the gain over random rankings
        when features are taken away and put back; the half width of their intervals is relative to the largest value
        of an example; the repeatability is the rank correlation between two seeds. Each group is held against the
        largest one. Then the features are ranked by their mean magnitude in each group, and the two rankings are compared.
    Why it matters:
        People have a right to the reasons for a decision about them. An explanation that is good on average can be poor
        for a minority, and a model can judge one group by other features than the rest.
    How to read it:
        A difference whose interval excludes 0 and whose adjusted p-value is small is no accident of the sample; both
        allow for the number of groups of the attribute. Groups
        that get surer answers have more log-odds to explain, and so a larger gain.
        A rank correlation of the features near 1 says that the same things count for both groups; its p-value asks
        whether as low a correlation arises when people are put into the groups at random. Small groups
        make wide intervals: no difference found is not proof of none.

    References:
        Balagopalan et al. 2022 (the road to explainability is paved with bias); Dai et al. 2022 (fairness via
        explanation quality); Newcombe 1998 (intervals of differences); Holm 1979.
    """

    version: ClassVar[int] = 2
    efforts: ClassVar[Mapping[Effort, Mapping[str, Any]]] = {
        Effort.QUICK: {"each": 40, "evaluations": 96, "background": 8, "permutations": 499, "random": 3},
        Effort.EXHAUSTIVE: {"each": 300, "evaluations": 1024, "background": 32, "permutations": 9999},
    }

    method: str = "kernel_shap"
    #: examples of each group
    each: int = 80
    #: coalitions asked for in each example
    evaluations: int = 256
    #: training rows that stand for "removed" (tables)
    background: int = 16
    #: random rankings of each example
    random: int = 5
    #: steps from all players to none
    steps: int = 10
    permutations: int = 1999
    #: rows below which groups are joined
    least: int = 20
    resamples: int = 200
    #: features named for each group
    top: int = 3

    def unfit(self, subject: Subject, data: Dataset) -> str | None:
        """Needs an attribute with two groups."""
        from audit.fairness.attributes import lacking

        return lacking(data, self.least)

    def run(self, subject: Subject, data: Dataset, rng: np.random.Generator) -> Measured:
        """See the class."""
        from audit.explaining.examples import Examples
        from audit.fairness.attributes import groups as people

        every = people(data, least=self.least)
        groups = {name: found for name, found in every.items() if len(found.names) > 1}
        drawn = {
            name: [self._draw(found, group, rng) for group in range(len(found.names))] for name, found in groups.items()
        }
        rows = np.unique(np.concatenate([of_group for of_name in drawn.values() for of_group in of_name]))
        place = {row: i for i, row in enumerate(rows.tolist())}
        sample = data.take(rows)
        background = (data if data.train is None else data.train).sample(self.background, rng)
        chosen = Examples(subject, sample, subject.scores(sample).argmax(1), background)
        quality, shares, players = self._quality(chosen, rng)
        estimates: dict[str, Estimate] = {}
        tables, figures, headline = [], [], []
        for name, found in groups.items():
            members = [np.array([place[row] for row in of_group.tolist()]) for of_group in drawn[name]]
            of_name, table, bars = self._compare(name, found, members, quality, shares, players, rng)
            estimates |= of_name
            tables.append(table)
            figures.append(bars)
            worst = [key for key in of_name if key.startswith("faithfulness_difference@")]
            headline.append(max(worst, key=lambda key: abs(of_name[key].value or 0.0)))
        return Measured(
            estimates=estimates,
            headline=tuple(headline),
            tables=tuple(tables),
            figures=tuple(figure for figure in figures if figure.bars),
            notes=(
                f"{len(rows)} test examples, at most {self.each} of each group, {self.evaluations} coalitions asked for in "
                "each; explained is the log-odds of the predicted class.",
                *([] if shares is not None else ["Words differ from text to text, so no ranking of them is compared."]),
            ),
        )

    def _draw(self, groups: Levels, group: int, rng: np.random.Generator) -> Ints:
        rows = np.flatnonzero(groups.code == group)
        return np.sort(rng.choice(rows, size=min(self.each, len(rows)), replace=False))

    def _quality(
        self, chosen: Examples, rng: np.random.Generator
    ) -> tuple[dict[str, Floats], Floats | None, tuple[str, ...]]:
        """Each kind of quality, (n,) NaN where undefined; shares of magnitudes (n, players) where players are shared."""
        from audit.explaining.examples import rank_correlation
        from audit.explaining.rankings import curves, gains

        first, second = (chosen.attribute(self.method, rng, self.evaluations) for _ in range(2))
        sizes = [len(of_row) for of_row in first.values]
        rankings = {
            "method": [of_row[None] for of_row in first.values],
            "random": [rng.random((self.random, size)) for size in sizes],
        }
        walk = curves(chosen, rankings, self.steps, rng)
        gain = np.mean(gains(walk["method"], walk["random"]), axis=0)
        largest = [float(np.abs(of_row).max(initial=0.0)) for of_row in first.values]
        half = [
            float((high - low).mean()) / 2 if len(high) else 0.0
            for low, high in zip(first.low, first.high, strict=True)
        ]
        quality = {
            "faithfulness": np.where(np.array(sizes) > 1, gain, np.nan),
            "half_width": np.array([h / big if big > 0 else np.nan for h, big in zip(half, largest, strict=True)]),
            "repeatability": np.array(
                [rank_correlation(a, b) for a, b in zip(first.values, second.values, strict=True)]
            ),
        }
        if len(set(first.names)) > 1:
            return quality, None, ()
        size = np.abs(np.stack(first.values))
        total = size.sum(1, keepdims=True)
        return quality, size / np.where(total > 0, total, 1), first.names[0]

    def _compare(
        self,
        name: str,
        groups: Levels,
        members: list[Ints],
        quality: Mapping[str, Floats],
        shares: Floats | None,
        players: tuple[str, ...],
        rng: np.random.Generator,
    ) -> tuple[dict[str, Estimate], Table, Bars]:
        """Every group's figures, and how they differ from those of the largest group."""
        sizes = np.bincount(groups.code[groups.code >= 0], minlength=len(groups.names))
        reference = int(sizes.argmax())
        others = [group for group in range(len(groups.names)) if group != reference]
        found: dict[str, Estimate] = {}
        for kind, (_, unit) in KINDS.items():
            for group, label in enumerate(groups.names):
                values = quality[kind][members[group]]
                found[f"{kind}@{name}={label}"] = statistics.mean(values[np.isfinite(values)], unit)
        p_gain, p_order = [], []
        for group in others:
            at = f"{name}={groups.names[group]}"
            for kind, (_, unit) in KINDS.items():
                both = (quality[kind][members[which]] for which in (group, reference))
                # the largest of these differences is shown, so that their intervals must hold together
                own, usual = (statistics.mean(v[np.isfinite(v)], unit, len(others)) for v in both)
                found[f"{kind}_difference@{at}"] = statistics.difference(own, usual, len(others))
            p_gain.append(self._apart(quality["faithfulness"], members[group], members[reference], rng))
            if shares is not None:
                order, p = self._order(shares, members[group], members[reference], rng)
                found[f"same_features@{at}"] = order
                p_order.append(p)
        adjusted = dict(zip(others, statistics.holm(p_gain).round(4).tolist(), strict=True))
        adjusted_order = dict(zip(others, statistics.holm(p_order).round(4).tolist(), strict=False))
        lines: list[tuple[Cell, ...]] = []
        for group in (reference, *others):
            at = f"{name}={groups.names[group]}"
            order_of = np.zeros(0) if shares is None else -shares[members[group]].mean(0)
            best = np.argsort(order_of, kind="stable")[: self.top]
            lines.append(
                (
                    groups.names[group],
                    *(found[f"{kind}@{at}"] for kind in KINDS),
                    adjusted.get(group),
                    found.get(f"same_features@{at}"),
                    adjusted_order.get(group),
                    ", ".join(players[i] for i in best),
                )
            )
        titles = [title for title, _ in KINDS.values()]
        table = Table(
            title=f"Explanations by {name}",
            columns=("group", *titles, "p faithfulness", "rank correlation of features", "p features", "strongest"),
            rows=tuple(lines),
            note=f"P-values and correlations are against the first group, the largest, adjusted for {len(others)} comparisons.",
        )
        bars = tuple(
            Bar(label=label, value=e.value, low=e.low, high=e.high)
            for label in groups.names
            for e in [found[f"faithfulness@{name}={label}"]]
            if e.value is not None
        )
        return (
            found,
            table,
            Bars(
                title=f"Faithfulness by {name}", x_title="gain over random rankings, log-odds", bars=bars, reference=0.0
            ),
        )

    def _apart(self, values: Floats, group: Ints, reference: Ints, rng: np.random.Generator) -> float:
        """P-value of a difference in means under permutations of who is in which group."""
        both = values[np.concatenate([group, reference])]
        first = np.arange(len(both)) < len(group)
        first, both = first[np.isfinite(both)], both[np.isfinite(both)]
        if first.all() or not first.any():
            return 1.0
        draws = rng.permuted(np.tile(first, (self.permutations + 1, 1)), axis=1)
        draws[0] = first
        apart = np.abs(draws @ both / first.sum() - ~draws @ both / (~first).sum())
        return float((apart >= apart[0] * (1 - 1e-12)).mean())

    def _order(self, shares: Floats, group: Ints, reference: Ints, rng: np.random.Generator) -> tuple[Estimate, float]:
        """Rank correlation of mean shares with its bootstrap interval, and how often random groups have as low a one."""
        from audit.explainers.quality import rank_correlation

        a, b = shares[group], shares[reference]
        value = float(rank_correlation(a.mean(0), b.mean(0)))
        if not np.isfinite(value):
            return statistics.undefined("the features cannot be ranked", n=len(group)), 1.0
        both = np.concatenate([a, b])
        first = rng.permuted(np.tile(np.arange(len(both)) < len(a), (self.permutations, 1)), axis=1)
        null = rank_correlation(first @ both / len(a), ~first @ both / len(b))
        drawn = [
            float(
                rank_correlation(a[rng.integers(0, len(a), len(a))].mean(0), b[rng.integers(0, len(b), len(b))].mean(0))
            )
            for _ in range(self.resamples)
        ]
        low, high = np.nanquantile(drawn, [0.025, 0.975])
        method = f"bootstrap 95 % ({self.resamples} resamples)"
        estimate = Estimate(
            value=value, low=min(float(low), value), high=max(float(high), value), n=len(a), method=method
        )
        return estimate, float((1 + (null <= value + 1e-12).sum()) / (1 + len(null)))
